"""Tables: drawn with rich on a terminal, aligned text that programs can cut in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TextIO

from lmrun.display.format import safe

Style = Literal["", "bold", "dim", "red", "yellow", "green"]

_MOST_DRAWN = 1000
"""Rich takes seconds for some thousand rows."""

_GAP = 2
"""Spaces between columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and on which side its cells stand."""

    title: str
    right: bool = False
    spare: int = 0
    """On a terminal that is too narrow columns are left out, the highest number first; 0: never."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells and how the row is drawn on a terminal."""

    cells: Sequence[str]
    style: Style = ""


@dataclass(slots=True)
class Table:
    """Rows under columns. A column in which every cell is empty is not shown."""

    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list)

    def add(self, *cells: object, style: Style = "") -> None:
        """Append a row."""
        self.rows.append(Row([_one_line(str(cell)) for cell in cells], style))

    def _used(self) -> list[int]:
        return [i for i in range(len(self.columns)) if not self.rows or any(row.cells[i] for row in self.rows)]

    def _width(self, i: int) -> int:
        return max(len(cell) for cell in (self.columns[i].title, *(row.cells[i] for row in self.rows)))

    def _fitting(self, width: int) -> list[int]:
        """The columns that are used, without those that can be spared where they do not fit."""
        used = self._used()
        spare = sorted((i for i in used if self.columns[i].spare), key=lambda i: self.columns[i].spare)
        while spare and sum(self._width(i) + _GAP for i in used) - _GAP > width:
            used.remove(spare.pop())
        return used

    def plain(self) -> str:
        """Aligned text: two spaces between columns, a line under the titles."""
        columns = []
        for i in self._used():
            title, right = self.columns[i].title, self.columns[i].right
            cells = [title, *(row.cells[i] for row in self.rows)]
            width = self._width(i)
            cells.insert(1, "-" * width)
            columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
        return "\n".join((" " * _GAP).join(line).rstrip() for line in zip(*columns, strict=True))

    def show(self, stream: TextIO | None = None) -> None:
        """Write the table to ``stream`` (stdout), drawn for what it is; a very long one is never drawn by rich."""
        stream = stream or sys.stdout
        if not stream.isatty() or len(self.rows) > _MOST_DRAWN:
            stream.write(self.plain() + "\n")
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        console = Console(file=stream)
        used = self._fitting(console.width)
        table = RichTable(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        for i in used:
            column = self.columns[i]
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(row.cells[i], style=row.style) for i in used))
        console.print(table)
        if left_out := [self.columns[i].title for i in self._used() if i not in used]:
            console.print(f"not shown for want of room: {', '.join(left_out)}", style="dim")


def _one_line(text: str) -> str:
    return text if text.isprintable() else safe(text).replace("\n", " ")
