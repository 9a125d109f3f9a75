"""The log of a run as the page for it shows it: its end, and before that what went wrong."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lmrun.tui.text import one_line

KEPT = 10_000
"""Lines that are kept, and as many warnings and errors of those before."""
LEVELS = ("debug", "info", "warning", "error")
"""From details to what costs answers."""

_TAIL = 4 << 20  # bytes at the end that are read whole; before that, only warnings and errors are looked for
_BLOCK = 1 << 20
_STEP = 64 << 20  # bytes of one look: the page shows how far it is
_LONGEST = 1 << 20  # bytes of a line that are understood
_FIELDS, _WIDEST = 16, 160  # of a line that is kept: how many, and characters of each
_NOTABLE = re.compile(rb'"level": "(?:warning|error)"')
_STATUS = re.compile(r"\bhttp[ _](\d{3})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line, and where it stands. Of long values, only the beginning: the file has the rest."""

    offset: int
    size: int
    time: float | None
    level: str
    """One of ``LEVELS``."""
    event: str
    fields: Mapping[str, str]

    @property
    def text(self) -> str:
        """Its fields in one line."""
        return "  ".join(f"{name}={value}" for name, value in self.fields.items())

    @property
    def told(self) -> dict[str, str]:
        """What a filter can ask for."""
        return {**self.fields, "level": self.level, "event": self.event}

    @property
    def bad(self) -> bool:
        """A warning or an error."""
        return self.level in ("warning", "error")

    @property
    def kind(self) -> tuple[str, str, str]:
        """Event, class and status: errors that have them in common are one kind."""
        status = _STATUS.search(self.text)
        found = self.fields.get("kind") or self.fields.get("class", "")
        return self.event, found, self.fields.get("status") or (status[1] if status else "")


@dataclass(frozen=True, slots=True)
class Log:
    """The log at one moment."""

    lines: Sequence[LogLine] = field(default=(), repr=False)
    """In the order of the file: warnings and errors of old, then every one of the last."""
    total: int = 0
    """Lines that were read."""
    left: int = 0
    """Bytes that have not been read yet."""


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Warnings or errors of one kind."""

    kind: tuple[str, str, str]
    count: int
    last: LogLine


def kinds(lines: Iterable[LogLine]) -> list[ErrorKind]:
    """Warnings and errors by kind, the most frequent first."""
    found: dict[tuple[str, str, str], list[LogLine]] = {}
    for line in lines:
        if line.bad:
            found.setdefault(line.kind, []).append(line)
    return sorted((ErrorKind(kind, len(own), own[-1]) for kind, own in found.items()), key=lambda one: -one.count)


class LogTail:
    """Reads a log as it grows. Not shared between threads at one time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._position = self._start = self._total = 0  # next byte to read; start of the line that has no end yet
        self._part = b""  # of that line, what has been read
        self._recent: deque[LogLine] = deque(maxlen=KEPT)
        self._notable: deque[LogLine] = deque(maxlen=KEPT)

    def read(self) -> Log | None:
        """The log with what was written since the last look; None where nothing was."""
        try:
            with self.path.open("rb") as file:
                return self._read(file)
        except OSError:  # not there yet, or not any more
            known = self._file is not None
            self._forget()
            return Log() if known else None

    def _read(self, file: BinaryIO) -> Log | None:
        state = os.fstat(file.fileno())
        if (state.st_dev, state.st_ino) != self._file or self._rewritten(file, state.st_size):
            self._forget()
            self._file = (state.st_dev, state.st_ino)
        elif state.st_size == self._position:
            return None
        file.seek(self._position)
        end = min(state.st_size, self._position + _STEP)
        while block := file.read(min(_BLOCK, end - self._position)):
            self._take(block, whole=state.st_size - self._position <= _TAIL)
            self._position += len(block)
        return self._log(state.st_size - self._position)

    def _rewritten(self, file: BinaryIO, size: int) -> bool:
        """Whether this is not what was read so far: shorter, or no line ends where one ended."""
        if size < self._position:
            return True
        file.seek(max(0, self._start - 1))
        return self._start > 0 and file.read(1) != b"\n"

    def _take(self, block: bytes, *, whole: bool) -> None:
        """Read a piece of the file; ``whole``: every line, not only warnings and errors."""
        self._total += block.count(b"\n")
        if whole or len(self._part) == _LONGEST:
            self._take_lines(block)
        else:
            self._skim(self._part + block)
        self._part = self._part[:_LONGEST]

    def _take_lines(self, block: bytes) -> None:
        at = self._position
        *ended, rest = block.split(b"\n")
        for piece in ended:
            at += len(piece) + 1
            raw = self._part + piece
            if raw and not raw.isspace():
                line = parse(self._start, at - self._start - 1, raw[:_LONGEST])
                self._recent.append(line)
                if line.bad:
                    self._notable.append(line)
            self._start, self._part = at, b""
        self._part += rest

    def _skim(self, text: bytes) -> None:
        """Take only warnings and errors: there may be gigabytes of lines before those that are kept."""
        rest, end = text.rfind(b"\n") + 1, -1
        for found in _NOTABLE.finditer(text, 0, rest):
            if found.start() > end:
                begin, end = text.rfind(b"\n", 0, found.start()) + 1, text.index(b"\n", found.start())
                line = parse(self._start + begin, end - begin, text[begin:end][:_LONGEST])
                if line.bad:
                    self._notable.append(line)
        self._start, self._part = self._start + rest, text[rest:]

    def _log(self, left: int) -> Log:
        first = self._recent[0].offset if self._recent else self._position
        old = [line for line in self._notable if line.offset < first]
        return Log([*old, *self._recent], self._total, left)


def parse(offset: int, size: int, raw: bytes) -> LogLine:
    """Understand a line; one that is not lmrun's is a warning."""
    found = _object(raw)
    if found is None:
        return LogLine(offset, size, None, "warning", "unreadable", {"text": _short(raw.decode("utf-8", "replace"))})
    when, level = found.pop("time", None), str(found.pop("level", ""))
    fields = {"event": _short(found.pop("event", ""))}
    for name, value in found.items():
        if len(fields) > _FIELDS:
            break
        if isinstance(value, dict) and isinstance(value.get("traceback"), str):  # an exception as the engine logs it
            last = value["traceback"].rstrip().rpartition("\n")[2]
            fields["class"] = _short(last.partition(":")[0].rpartition(".")[2])
            value = value.get("message", "")  # noqa: PLW2901
        fields[_short(name)] = _short(value)
    return LogLine(
        offset,
        size,
        float(when) if isinstance(when, int | float) and abs(when) < 1e11 else None,
        level if level in LEVELS else "info",
        fields.pop("event"),
        fields,
    )


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _short(value: object) -> str:
    return one_line(value if isinstance(value, str) else _json(value), _WIDEST)


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def details(path: Path, line: LogLine) -> str:
    """The line as it stands in the file, in many lines; text that has lines itself is shown with them."""
    try:
        with path.open("rb") as file:
            file.seek(line.offset)
            raw = file.read(min(line.size, _LONGEST))
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    found = _object(raw)
    return "\n".join(_pretty(found, 0)) if found else raw.decode("utf-8", "replace")


def _pretty(found: Mapping[str, Any], depth: int) -> Iterable[str]:
    space = "  " * depth
    for name, value in found.items():
        if isinstance(value, dict) and value and depth < 8:
            yield f"{space}{name}:"
            yield from _pretty(value, depth + 1)
        elif isinstance(value, str) and "\n" in value:
            yield f"{space}{name}:"
            yield from (f"{space}  │ {part}" for part in value.rstrip("\n").split("\n"))
        else:
            yield f"{space}{name}: {_json(value)}"
