"""Every key and value of a TOML document is found where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.manifest import toml
from lmrun.manifest.positions import Lines, Spot, TomlPath, scan


@pytest.mark.parametrize(
    ("text", "path", "key", "value"),
    [
        ("a = 1", ("a",), (1, 1), (1, 5)),
        ("\n  # a = 2\n  a=1", ("a",), (3, 3), (3, 5)),
        ("a.b . c = 1", ("a", "b", "c"), (1, 7), (1, 11)),
        ("a.b . c = 1", ("a",), (1, 1), (1, 1)),
        ("[t]\nx = 1", ("t",), (1, 2), (1, 1)),
        ("[t]\nx = 1", ("t", "x"), (2, 1), (2, 5)),
        ("[ t . u ]\nx = 1", ("t", "u"), (1, 7), (1, 1)),
        ("[t.u]\n[t]\nx = 1", ("t",), (2, 2), (2, 1)),
        ("[[m]]\nx = 1\n[[m]]\nx = 2", ("m", 1), (3, 1), (3, 1)),
        ("[[m]]\nx = 1\n[[m]]\nx = 2", ("m", 1, "x"), (4, 1), (4, 5)),
        ("[[m]]\n[[m.n]]\n[[m]]\n[[m.n]]\n  x = 2", ("m", 1, "n", 0, "x"), (5, 3), (5, 7)),
        ("[[m]]\n[m.t]\nx = 2", ("m", 0, "t", "x"), (3, 1), (3, 5)),
        ("a = [1, [2, 3], # 9, ]\n 4,\n]", ("a", 1, 1), (1, 13), (1, 13)),
        ("a = [1, [2, 3], # 9, ]\n 4,\n]", ("a", 2), (2, 2), (2, 2)),
        ("a = { b = 1, c.d = { e = [ {f = 2} ] } }", ("a", "c", "d", "e", 0, "f"), (1, 29), (1, 33)),
        ('a = """x = 1\n"" \\""" b = 2"""""\nb = 3', ("b",), (3, 1), (3, 5)),
        ("a = '''\n# ' '' '''''\nb = 3", ("b",), (3, 1), (3, 5)),
        ("a = 1979-05-27 07:32:00Z # x\nb = 3", ("b",), (2, 1), (2, 5)),
        ('"a\\u0020b" = 1\n\'c"d\' = 2', ("a b",), (1, 1), (1, 14)),
        ('"a\\u0020b" = 1\n\'c"d\' = 2', ('c"d',), (2, 1), (2, 9)),
        ('"é" = "ü"\nb.c = 1', ("b", "c"), (2, 3), (2, 7)),
        ("a = [\n]\nb = {}", ("b",), (3, 1), (3, 5)),
    ],
)
def test_a_place_is_the_line_and_column_that_an_editor_shows(
    text: str, path: TomlPath, key: tuple[int, int], value: tuple[int, int]
) -> None:
    lines, spot = Lines(text), scan(text)[path]
    assert (lines.line_column(spot.key), lines.line_column(spot.value)) == (key, value)


def test_an_invalid_document_is_refused_rather_than_looped_over() -> None:
    with pytest.raises(ValueError, match="not a valid TOML document"):
        scan("= 1")


@dataclass
class Writer:
    """Writes a TOML document piece by piece and notes where each key and value goes."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    text: str = ""
    spots: dict[TomlPath, Spot] = field(default_factory=dict)
    names: int = 0

    def pick(self, *options: str) -> str:
        choice: str = self.draw(st.sampled_from(options))
        return choice

    def key(self) -> tuple[str, int]:
        """Write a key that is new to the document, in one of the three notations."""
        self.names += 1
        plain = f"{self.pick('k', 'a-b', '9', 'true')}{self.names}"
        offset = len(self.text)
        notation = self.pick("bare", "basic", "literal")
        if notation == "basic":
            plain += self.pick("", ".", '"', "#=[", "\t", "é")
            self.text += json.dumps(plain)
        elif notation == "literal":
            plain += self.pick("", ".", '"', "#=]", "\\")
            self.text += f"'{plain}'"
        else:
            self.text += plain
        return plain, offset

    def gap(self) -> None:
        self.text += self.pick("", " ", "\t ")

    def lines(self) -> None:
        self.text += self.pick("", "\n", "\n\n  ", " # [x] = 1, }\n", "\n\t# '''\n ")

    def dotted(self, path: TomlPath) -> tuple[TomlPath, int]:
        """Write a key of one to three parts; all but the last become tables."""
        parts = self.draw(st.integers(1, 3))
        for index in range(parts):
            name, offset = self.key()
            path = (*path, name)
            self.gap()
            if index < parts - 1:
                self.spots[path] = Spot(offset, offset)
                self.text += "."
                self.gap()
        return path, offset

    def pair(self, path: TomlPath, depth: int) -> None:
        path, offset = self.dotted(path)
        self.text += "="
        self.gap()
        self.value(path, offset, depth)

    def value(self, path: TomlPath, key: int | None, depth: int) -> None:
        at = len(self.text)
        self.spots[path] = Spot(at if key is None else key, at)
        kind = self.pick("scalar", "scalar", "array", "inline") if depth else "scalar"
        if kind == "scalar":
            self.text += self.pick(*SCALARS)
        elif kind == "array":
            self.text += "["
            for index in range(self.draw(st.integers(0, 3))):
                self.lines()
                self.value((*path, index), None, depth - 1)
                self.lines()
                self.text += ","
            self.lines()
            self.text += "]"
        else:
            self.text += "{"
            for index in range(self.draw(st.integers(0, 3))):
                self.text += "," if index else ""
                self.gap()
                self.pair(path, depth - 1)
                self.gap()
            self.text += "}"

    def body(self, path: TomlPath) -> None:
        for _ in range(self.draw(st.integers(0, 3))):
            self.lines()
            self.text += self.pick("", "\n") if not self.text or self.text.endswith("\n") else "\n"
            self.gap()
            self.pair(path, 2)
            self.text += self.pick("\n", "  # c = 1\n")

    def new_line(self) -> None:
        if self.text and not self.text.endswith("\n"):
            self.text += "\n"
        self.gap()

    def table(self, path: TomlPath) -> None:
        self.new_line()
        bracket = len(self.text)
        self.text += "["
        self.gap()
        above = path
        for part in above:
            if isinstance(part, str):
                self.text += f"{json.dumps(part)} ."
        path, offset = self.dotted(path)
        self.spots[path] = Spot(offset, bracket)
        self.text += "]\n"
        self.body(path)

    def array_of_tables(self, path: TomlPath, depth: int) -> None:
        name: str | None = None
        for index in range(self.draw(st.integers(1, 3))):
            self.new_line()
            bracket = len(self.text)
            self.text += "[["
            for part in path:
                if isinstance(part, str):
                    self.text += f"{json.dumps(part)}."
            if name is None:
                name, offset = self.key()
                self.spots[(*path, name)] = Spot(offset, bracket)
            else:
                self.text += json.dumps(name)
            self.text += "]]\n"
            self.spots[(*path, name, index)] = Spot(bracket, bracket)
            self.body((*path, name, index))
            if self.draw(st.booleans()):
                self.table((*path, name, index))
            if depth and self.draw(st.booleans()):
                self.array_of_tables((*path, name, index), depth - 1)


SCALARS = (
    "1",
    "-0.5e3",
    "true",
    "inf",
    "0xFF",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00.9",
    '"x # y = [1] \\" \\\\"',
    "'C:\\'",
    '""',
    '"""a\n["b"] \\""" = 1\n"""""',
    "'''\n[x]\ny = 'z''''",
    '""""q" \\\n  """',
    '"üñ, ]}"',
)


@st.composite
def documents(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Writer:
    writer = Writer(draw)
    writer.body(())
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            writer.table(())
        else:
            writer.array_of_tables((), 1)
    return writer


def _paths(value: Any, path: TomlPath = ()) -> set[TomlPath]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(inner for key, member in members for inner in _paths(member, (*path, key)))}


@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_key_is_found_where_it_was_written(written: Writer) -> None:
    assert _paths(toml.loads(written.text)) == {(), *written.spots}, "the test writes other TOML than it thinks"
    assert scan(written.text) == written.spots


@given(st.text(alphabet="ab\n", max_size=30), st.data())
def test_lines_and_columns_count_from_one(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    line, column = Lines(text).line_column(offset)
    assert line == text.count("\n", 0, offset) + 1
    assert column == len(text[:offset].rpartition("\n")[2]) + 1
