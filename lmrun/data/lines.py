"""Splits over text files: JSON, JSON lines and plain text, also gzipped.

Line files are indexed once and read again line by line, so rows never pile up in memory.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import IO, Any

from lmrun.data.fingerprint import Identity
from lmrun.data.shape import Shape
from lmrun.data.split import BaseSplit, Row
from lmrun.errors import DataError, Location, Problem

_BOM = b"\xef\xbb\xbf"


class LineFile:
    """Random access to the lines of a text file. A gzipped file is unpacked to a temporary file for that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q")
        self._lengths = array("Q")
        self._unpacked: Path | None = _unpack(path) if path.suffix == ".gz" else None
        if self._unpacked is not None:
            weakref.finalize(self, self._unpacked.unlink, missing_ok=True)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        with self.open() as file:
            return self._read(file, index)

    def __iter__(self) -> Iterator[bytes]:
        with self.open() as file:
            for index in range(len(self)):
                yield self._read(file, index)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes; a DataError that names the file where it cannot be opened."""
        try:
            with (self._unpacked or self.path).open("rb") as file:
                yield file
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def scan(self) -> Iterator[tuple[int, int, bytes]]:
        """Every line with its number (from 1) and place, to be kept with :meth:`keep`."""
        with self.open() as file:
            start = 0
            for number, line in enumerate(file, start=1):
                yield number, start, line
                start += len(line)

    def keep(self, start: int, line: bytes) -> None:
        """Make a scanned line the next row."""
        self._starts.append(start)
        self._lengths.append(len(line))

    def _read(self, file: IO[bytes], index: int) -> bytes:
        file.seek(self._starts[index])
        return file.read(self._lengths[index])


class JsonSplit(BaseSplit):
    """Rows of JSON files: an object per line, or one document that is a list of objects (or of texts).

    Types are made common over all files as in :mod:`lmrun.data.shape`. A document, unlike lines, is held in memory.
    """

    def __init__(self, files: Sequence[Path], field: str | None = None, revision: str | None = None) -> None:
        self._parts: list[LineFile | list[Row]] = []
        shapes: dict[str, Shape] = {}
        for file in files:
            lines = LineFile(file)
            part = _json_part(lines, shapes) if field is None else _json_document(lines, field)
            if isinstance(part, list):
                for row in part:
                    _observe(row, shapes)
            self._parts.append(part)
        self._converters = {name: shape.converter() for name, shape in shapes.items()}
        super().__init__(tuple(shapes), Identity(tuple(files), f"json {field}"), revision)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[Row]:
        for part in self._parts:
            for row in part:
                yield self._conform(row)

    def _row(self, index: int) -> Row:
        for part in self._parts:
            if index < len(part):
                return self._conform(part[index])
            index -= len(part)
        raise IndexError(index)

    def _conform(self, raw: bytes | Row) -> Row:
        # Decoded anew each time, or copied: whoever gets a row may change it.
        row: Row = json.loads(raw) if isinstance(raw, bytes) else deepcopy(raw)
        return {
            name: row.get(name) if convert is None else convert(row.get(name))
            for name, convert in self._converters.items()
        }


class TextSplit(BaseSplit):
    """A row ``{"text": line}`` for each line, without its line break."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._parts = [LineFile(file) for file in files]
        for part in self._parts:
            for number, start, line in part.scan():
                _decode(part.path, number, line)
                part.keep(start, line)
        super().__init__(("text",), Identity(tuple(files), "text"), None)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[Row]:
        for part in self._parts:
            for line in part:
                yield _text_row(line)

    def _row(self, index: int) -> Row:
        for part in self._parts:
            if index < len(part):
                return _text_row(part[index])
            index -= len(part)
        raise IndexError(index)


def _text_row(line: bytes) -> Row:
    text = line.decode("utf-8")
    return {"text": text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith("\n") else text}


def _json_part(lines: LineFile, shapes: dict[str, Shape]) -> LineFile | list[Row]:
    for number, start, raw in lines.scan():
        bom = len(_BOM) if number == 1 and raw.startswith(_BOM) else 0
        line = raw[bom:].rstrip()
        if not line:
            continue
        if not lines and line.lstrip().startswith(b"["):
            return _json_document(lines, None)
        try:
            row = json.loads(_decode(lines.path, number, line))
        except json.JSONDecodeError as error:
            if not lines and line.lstrip().startswith(b"{"):  # perhaps one object over several lines
                return _json_document(lines, None)
            raise _bad_json(lines.path, number, error) from error
        if not isinstance(row, dict):
            raise _not_an_object(lines.path, number, row)
        _observe(row, shapes)
        lines.keep(start + bom, line)
    return lines


def _json_document(lines: LineFile, field: str | None) -> list[Row]:
    file = lines.path
    with lines.open() as opened:
        text = _decode(file, 1, opened.read().removeprefix(_BOM))
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_json(file, 1, error) from error
    if field is not None:
        if not isinstance(document, dict) or field not in document:
            raise DataError(f"{file} has no field {field!r} at its top level", hint="see `field` in dataset_kwargs")
        document = document[field]
    rows = [document] if isinstance(document, dict) and field is None else document
    if not isinstance(rows, list):
        raise _not_an_object(file, 1, rows)
    rows = [{"text": row} if isinstance(row, str) else row for row in rows]
    for row in rows:
        if not isinstance(row, dict):
            raise _not_an_object(file, None, row)
    return rows


def _observe(row: Row, shapes: dict[str, Shape]) -> None:
    for name, value in row.items():
        shapes.setdefault(name, Shape()).observe(value)


def _decode(file: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        number += line.count(b"\n", 0, error.start)
        raise _at(file, number, None, "not UTF-8 text", "UTF-8") from error


def _bad_json(file: Path, number: int, error: json.JSONDecodeError) -> DataError:
    return _at(file, number + error.lineno - 1, error.colno, f"not JSON: {error.msg}", "one JSON object per line")


def _not_an_object(file: Path, number: int | None, value: Any) -> DataError:
    return _at(file, number, None, f"a row is {type(value).__name__}", "a JSON object for each row")


def _at(file: Path, line: int | None, column: int | None, message: str, expected: str) -> DataError:
    problem = Problem(message, Location(file, line, column), expected=expected)
    return DataError(f"{problem.location}: {message}", hint=f"expected {expected}", problems=(problem,))


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot read {path}: {error}", hint="check that the file is there, readable and complete")


def _unpack(path: Path) -> Path:
    with tempfile.NamedTemporaryFile(prefix="lmrun-", delete=False) as target:
        unpacked = Path(target.name)
        try:
            with gzip.open(path) as source:
                shutil.copyfileobj(source, target)
        except (OSError, EOFError, zlib.error) as error:
            unpacked.unlink()
            raise _unreadable(path, error) from error
    return unpacked
