"""A manifest as it was written: values that remember their place.

Includes, ``--set`` and list-valued axes move values around. Each value carries its place with it, so that whatever is
found wrong later can be shown where the user wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lmrun.errors import Location, Problem, did_you_mean
from lmrun.manifest import toml
from lmrun.manifest.positions import Lines, TomlPath, scan

Scalar: TypeAlias = Any
"""A TOML value that is neither a table nor an array."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: in a file, or in a ``--set`` on the command line."""

    key: Location | None
    value: Location | None
    folder: Path
    """What relative paths in the value are relative to."""
    override: str | None = None
    """Text of the ``--set``, fit to be shown."""

    def problem(
        self, message: str, *, expected: str | None = None, hint: str | None = None, at_key: bool = False
    ) -> Problem:
        """A problem with this value, or with its key."""
        if self.override is not None:
            return Problem(f"--set {self.override}: {message}", None, expected, hint)
        return Problem(message, self.key if at_key else self.value, expected, hint)


@dataclass(slots=True)
class Node:
    """A value and its place; members of tables and arrays are nodes again."""

    value: dict[str, Node] | list[Node] | Scalar
    place: Place
    faulty: set[str] = field(default_factory=set)
    """Keys of this table that were wrong and taken out: what depends on them is not judged."""

    def table(self) -> dict[str, Node]:
        """Members by key; empty where this is no table."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> list[Node]:
        """Elements in order; empty where this is no array."""
        return self.value if isinstance(self.value, list) else []

    def get(self, *keys: str) -> Node | None:
        """The member at ``keys``, if every one is there."""
        node: Node | None = self
        for key in keys:
            node = node.table().get(key) if node else None
        return node

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class UnreadableError(Exception):
    """A file could not be read as TOML; the parser stops at its first problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_tree(file: Path) -> Node:
    """Read one TOML file, without its includes. Raises :class:`UnreadableError`."""
    text = _read_text(file)
    lines = Lines(text)
    try:
        data = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise UnreadableError(_syntax_problem(file, text, str(error))) from error
    except RecursionError as error:
        raise UnreadableError(Problem("nested too deeply", Location(file), "a manifest with a few levels")) from error

    def at(offset: int) -> Location:
        return Location(file, *lines.line_column(offset))

    spots = {path: Place(at(spot.key), at(spot.value), file.parent) for path, spot in scan(text).items()}
    spots[()] = Place(at(0), at(0), file.parent)
    return _build(data, (), spots)


def unplaced(value: Any, place: Place) -> Node:
    """``value`` with one place for all of it, as for a ``--set``."""
    if isinstance(value, Mapping):
        return Node({key: unplaced(member, place) for key, member in value.items()}, place)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Node([unplaced(member, place) for member in value], place)
    return Node(value, place)


def _build(value: Any, path: TomlPath, places: Mapping[TomlPath, Place]) -> Node:
    if isinstance(value, dict):
        return Node({key: _build(member, (*path, key), places) for key, member in value.items()}, places[path])
    if isinstance(value, list):
        return Node([_build(member, (*path, index), places) for index, member in enumerate(value)], places[path])
    return Node(value, places[path])


def _read_text(file: Path) -> str:
    try:
        # tomllib counts lines after the same change of line ends; editors on Windows may write a byte order mark.
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError as error:
        siblings = [path.name for path in file.parent.glob("*.toml")] if file.parent.is_dir() else []
        hint = did_you_mean(file.name, siblings)
        raise UnreadableError(Problem("no such file", Location(file), "a manifest (TOML)", hint)) from error
    except UnicodeDecodeError as error:
        raise UnreadableError(Problem("not UTF-8 text", Location(file), "a manifest (TOML), saved as UTF-8")) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UnreadableError(Problem(f"cannot be read: {reason}", Location(file), "a manifest (TOML)")) from error


_TOMLLIB_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _syntax_problem(file: Path, text: str, message: str) -> Problem:
    lines = text.split("\n")
    line, column = len(lines), len(lines[-1]) + 1
    match = _TOMLLIB_PLACE.search(message)
    if match and match.group(1):
        line, column = int(match.group(1)), int(match.group(2))
    what = _TOMLLIB_PLACE.sub("", message)
    found = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    expected, hint = _syntax_advice(what, found)
    return Problem(f"not valid TOML: {what[:1].lower()}{what[1:]}", Location(file, line, column), expected, hint)


def _syntax_advice(what: str, found: str) -> tuple[str | None, str | None]:
    """What to write instead. Never repeats what was found: it may be a key that should stay secret."""
    if what.startswith("Invalid value"):
        expected = 'a string in quotes, a number, true, false, a list [1, 2] or a table { key = "value" }'
        word = re.match(r"\w*", found)
        match word.group().lower() if word else "":
            case "true" | "false":
                return expected, "true and false are written in small letters"
            case "none" | "null" | "nil":
                return expected, "TOML has no empty value: leave the key out"
            case "":
                return expected, None
        return expected, 'put strings in quotes: key = "value"'
    if what.startswith(("Cannot declare", "Cannot overwrite", "Cannot mutate")):
        return (
            "each key and [table] once",
            "several models or tasks are written [[models]], [[tasks]]: two brackets each",
        )
    if what.startswith("Expected '=' after a key"):
        return "key = value", None
    if what.startswith(("Unterminated string", "Illegal character")):
        return "a closing quote", 'text of several lines stands between """ and """'
    if what.startswith("Unclosed array"):
        return "a closing ]", None
    return None, None
