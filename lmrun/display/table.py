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


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and on which side its cells stand."""

    title: str
    right: bool = False


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

    def plain(self) -> str:
        """Aligned text: two spaces between columns, a line under the titles."""
        columns = []
        for i in self._used():
            title, right = self.columns[i].title, self.columns[i].right
            cells = [title, *(row.cells[i] for row in self.rows)]
            width = max(map(len, cells))
            cells.insert(1, "-" * width)
            columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
        return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))

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

        used = self._used()
        table = RichTable(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for i in used:
            column = self.columns[i]
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(row.cells[i], style=row.style) for i in used))
        Console(file=stream).print(table)


def _one_line(text: str) -> str:
    return text if text.isprintable() else safe(text).replace("\n", " ")
