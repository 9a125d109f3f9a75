"""Tables: drawn with rich on a terminal, aligned text that programs can cut in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TextIO

from lmrun.display.format import safe

Style = Literal["", "bold", "dim", "red", "yellow", "green"]


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
        self.rows.append(Row([safe(str(cell)).replace("\n", " ") for cell in cells], style))

    def _used(self) -> list[int]:
        return [i for i in range(len(self.columns)) if not self.rows or any(row.cells[i] for row in self.rows)]

    def plain(self) -> str:
        """Aligned text: two spaces between columns, a line under the titles."""
        used = self._used()
        lines = [[self.columns[i].title for i in used], *([row.cells[i] for i in used] for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(used))]

        def aligned(line: Sequence[str]) -> str:
            cells = [
                cell.rjust(width) if self.columns[i].right else cell.ljust(width)
                for cell, width, i in zip(line, widths, used, strict=True)
            ]
            return "  ".join(cells).rstrip()

        return "\n".join([aligned(lines[0]), "  ".join("-" * w for w in widths), *map(aligned, lines[1:])])

    def show(self, stream: TextIO | None = None) -> None:
        """Write the table to ``stream`` (stdout), drawn for what it is."""
        stream = stream or sys.stdout
        if not stream.isatty():
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
