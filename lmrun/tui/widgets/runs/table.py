"""The table of runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lmrun.display.format import brief, dollars, duration
from lmrun.tui.run_list import RunLine
from lmrun.tui.text import one_line
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable

_STYLES = {"✓": "good", "!": "warn", "■": "warn", "✗": "bad", "●": "strong"}


def _columns(order: str) -> list[Column]:
    columns = [
        Column("", 1),
        Column("▾" if order == "status" else "", 1),
        Column("started", 11),
        Column("name", 0),
        Column("models", 18, least=110),
        Column("first score", 18),
        Column("tasks", 5, right=True),
        Column("n", 7, right=True, least=90),
        Column("cost", 7, right=True, least=100),
        Column("errors", 7, right=True),
        Column("time", 7, right=True),
        Column("status", 11, least=130),
    ]
    titles = {column.title: f"{column.title}▾" for column in columns if column.title == order}
    return [
        Column(titles.get(column.title, column.title), column.width, column.right, column.least) for column in columns
    ]


class RunTable(VirtualTable):
    """Runs with their marks."""

    def __init__(self) -> None:
        super().__init__(_columns("started"), self._rows, id="runs")
        self._runs: Sequence[RunLine] = ()
        self._marked: Collection[Path] = ()

    def show(self, runs: Sequence[RunLine], marked: Collection[Path], order: str) -> None:
        """Other runs, or the same anew. The cursor stays on its run."""
        here = self.line
        self._runs, self._marked = runs, marked
        self.renew(len(runs), columns=_columns(order))
        if here:
            place = next((place for place, line in enumerate(runs) if line.run.path == here.run.path), None)
            if place is not None and place != self.cursor:
                self.move_to(place)

    @property
    def line(self) -> RunLine | None:
        """The run under the cursor."""
        return self._runs[self.cursor] if self.cursor < len(self._runs) else None

    def _rows(self, start: int, stop: int) -> list[Row]:
        now = time.time()
        return [_row(line, marked=line.run.path in self._marked, now=now) for line in self._runs[start:stop]]


def _row(line: RunLine, *, marked: bool, now: float) -> Row:
    summary, seconds = line.summary, line.seconds(now)
    start = [
        Cell("◆" if marked else "", "strong"),
        Cell(line.mark, _STYLES.get(line.mark, "")),
        Cell(f"{line.started:%m-%d %H:%M}", "dim"),
        Cell(one_line(line.name), "strong" if line.live else ""),
    ]
    status = Cell(line.status, _STYLES.get(line.mark, ""))
    if summary is None:
        return [*start, Cell(""), Cell("broken", "bad"), *[Cell("")] * 5, status]
    return [
        *start,
        Cell(one_line(", ".join(summary.models)), "dim"),
        Cell(_score(summary.headline)),
        Cell(f"{summary.jobs}"),
        Cell(brief(summary.samples)),
        Cell("" if not summary.usd else dollars(summary.usd)),
        Cell(f"{summary.errors or ''}", "bad"),
        Cell("" if seconds is None else duration(seconds)),
        status,
    ]


def _score(headline: str) -> str:
    """Metric and value of ``arc_easy acc 0.5200 ± 0.0502``; which task it is of, the detail says."""
    return one_line(" ".join(headline.partition(" ± ")[0].split()[-2:]))
