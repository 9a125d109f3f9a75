"""Where every key and value of a TOML document stands.

``tomllib`` gives values without positions. The scanner here gives positions without values: it reads a document that
``tomllib`` has accepted already, so it never has to diagnose anything, and stays small.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TypeAlias

from lmrun.manifest import toml

TomlPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root of a document down to a value."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
# Up to two quotes may stand right before the closing three, hence the `"{0,2}` after them.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}' r"|'''.*?''''{0,2}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


@dataclass(frozen=True, slots=True)
class Spot:
    """Character offsets, from 0, of a key and of its value.

    A list element has no key: both are where the element starts. A table written as ``[header]`` has its value at the
    opening bracket; a table that exists only through a dotted key has both at that part of the key.
    """

    key: int
    value: int


@dataclass(slots=True)
class _Scanner:
    text: str
    at: int = 0
    spots: dict[TomlPath, Spot] = field(default_factory=dict)
    last_element: dict[TomlPath, int] = field(default_factory=dict)
    """Position of the newest element of every array of tables."""

    def document(self) -> None:
        table: TomlPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not a valid TOML document at offset {self.at}")
        self.at = match.end()
        return match.group()

    def _key(self) -> list[tuple[str, int]]:
        """Parts of a dotted key, each with its offset; stops at what follows the key."""
        parts = []
        while True:
            self._skip(_SPACES)
            start = self.at
            raw = self._skip(_KEY_PART)
            parts.append((_plain(raw), start))
            self._skip(_SPACES)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _header(self) -> TomlPath:
        bracket = self.at
        width = 2 if self.text.startswith("[[", bracket) else 1
        self.at += width
        *parents, (name, offset) = self._key()
        self.at += width
        path: TomlPath = ()
        for parent, parent_offset in parents:
            path = self._enter((*path, parent), parent_offset)
        path = (*path, name)
        if width == 1:
            self.spots[path] = Spot(offset, bracket)
            return path
        self.spots.setdefault(path, Spot(offset, bracket))
        self.last_element[path] = self.last_element.get(path, -1) + 1
        path = (*path, self.last_element[path])
        self.spots[path] = Spot(bracket, bracket)
        return path

    def _enter(self, path: TomlPath, offset: int) -> TomlPath:
        """Go down one part of a dotted key; in an array of tables that means its newest element."""
        self.spots.setdefault(path, Spot(offset, offset))
        return (*path, self.last_element[path]) if path in self.last_element else path

    def _pair(self, table: TomlPath) -> None:
        *parents, (name, offset) = self._key()
        path = table
        for parent, parent_offset in parents:
            path = self._enter((*path, parent), parent_offset)
        self.at += 1  # the equals sign
        self._skip(_SPACES)
        self._value((*path, name), offset)

    def _value(self, path: TomlPath, key: int | None) -> None:
        self.spots[path] = Spot(self.at if key is None else key, self.at)
        start = self.text[self.at]
        if start in "\"'":
            self._skip(_STRING)
        elif start == "[":
            self._members(path, "]")
        elif start == "{":
            self._members(path, "}")
        else:
            self._skip(_BARE_VALUE)

    def _members(self, path: TomlPath, closing: str) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == closing:
                self.at += 1
                return
            if closing == "]":
                self._value((*path, index), None)
                index += 1
            else:
                self._pair(path)
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1


def _plain(raw: str) -> str:
    if raw[0] not in "\"'":
        return raw
    return str(toml.loads(f"key = {raw}")["key"])


def scan(text: str) -> dict[TomlPath, Spot]:
    """Offsets of every key, table and list element of ``text``.

    ``text`` must be a document that ``tomllib`` accepts, with ``\\n`` line ends.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.spots


class Lines:
    """Turns offsets of a text into lines and columns, both counted from 1, in characters."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def line_column(self, offset: int) -> tuple[int, int]:
        """Line and column of the character at ``offset``."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1
