"""The list of samples: only numbers are held, they come in while one looks, and lines are read for what is seen."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from lmrun.display.format import job_name
from lmrun.store.browse import SampleLine
from lmrun.store.reader import UNREADABLE, RunReader, SampleQuery
from lmrun.store.runs import RunDirectory
from lmrun.tui.stored import PATIENCE_MS
from lmrun.tui.text import one_line
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable

_PACE = 0.1
"""Seconds until it is shown for the second time how far reading has come; then it takes twice as long each time."""
_SLOWEST = 1.0
_FIRST, _MOST = 500, 20_000
"""Samples looked at in one go for the next wrong answer."""


class SampleList(Vertical):
    """How many samples fit, and their table."""

    DEFAULT_CSS = """
    SampleList #words { height: 1; padding: 0 1; background: $panel; color: $text-muted; text-wrap: nowrap;
      text-overflow: ellipsis; }
    """

    class Selected(Message):
        """Another sample, or none, is under the cursor."""

        def __init__(self, sample_id: int | None) -> None:
            super().__init__()
            self.sample_id = sample_id

    class Read(Message, bubble=False):
        """More samples that fit."""

        def __init__(self, turn: int, ids: array[int], *, complete: bool, error: str = "") -> None:
            super().__init__()
            self.turn, self.ids, self.complete, self.error = turn, ids, complete, error

    class Counted(Message, bubble=False):
        """How many fit by now."""

        def __init__(self, turn: int, count: int) -> None:
            super().__init__()
            self.turn, self.count = turn, count

    class Found(Message, bubble=False):
        """The next wrong answer; None: there is none in that direction."""

        def __init__(self, turn: int, row: int | None) -> None:
            super().__init__()
            self.turn, self.row = turn, row

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._words = Static("", id="words", markup=False)
        self.table = VirtualTable(_columns(0, 1), self._rows)
        self._run: RunDirectory | None = None
        self._reader: RunReader | None = None
        self._query = SampleQuery()
        self._ids: array[int] = array("q")
        self._turn = 0
        """Counts up with every list; what comes late for an earlier one is dropped."""
        self._complete = True
        self._new = 0
        self._error = ""
        self._models = 1
        self._goal: int | None = None
        """The sample to go back to once it is read again."""
        self._selected: int | None = None

    def compose(self) -> ComposeResult:
        """Words over the table."""
        yield self._words
        yield self.table

    def on_resize(self, event: Resize) -> None:
        """Columns follow the width."""
        self._lay_out()

    def _lay_out(self) -> None:
        self.table.renew(columns=_columns(self.size.width, self._models))

    def on_unmount(self) -> None:
        """Let go of the run's files."""
        if self._reader:
            self._reader.close()

    @property
    def selected(self) -> int | None:
        """The sample under the cursor."""
        row = self.table.cursor
        return self._ids[row] if row < len(self._ids) else None

    # -- reading -------------------------------------------------------------------------------------------------------

    def load(self, run: RunDirectory | None, query: SampleQuery, *, stay: bool = False) -> None:
        """List the samples that fit; with ``stay`` the cursor goes back to its sample where that still fits."""
        if self._reader and self._reader.run != run:
            self._reader.close()
            self._reader = self._selected = None
        self._goal = self.selected if stay else None
        self._run = run
        self._query, self._ids, self._new, self._error = query, array("q"), 0, ""
        self._turn += 1
        self._complete = not (run and self._open(run))
        self.table.renew(0)
        self.workers.cancel_group(self, "count")
        self.workers.cancel_group(self, "wrong")
        if run and self._reader:
            self.run_worker(partial(self._read, run, query, self._turn), group="ids", exclusive=True, thread=True)
        self._tell()

    def _open(self, run: RunDirectory) -> bool:
        if self._reader is None:
            try:
                self._reader = RunReader(run, patience_ms=PATIENCE_MS)  # it is asked while a picture is drawn
                self._models = len(self._reader.models())
            except UNREADABLE as error:
                self._error = one_line(str(error))
                return False
            self._lay_out()
        return True

    def reload(self) -> None:
        """Read the list again: take in what has come since."""
        self.load(self._run, self._query, stay=True)

    def _read(self, run: RunDirectory, query: SampleQuery, turn: int) -> None:
        worker, waiting = get_current_worker(), array("q")
        due, pace = 0.0, _PACE
        error = ""
        try:
            with closing(RunReader(run)) as reader:
                for ids in reader.sample_ids(query):
                    if worker.is_cancelled:
                        return
                    waiting.extend(ids)
                    if waiting and time.monotonic() >= due:
                        self.post_message(self.Read(turn, waiting, complete=False))
                        waiting, due, pace = array("q"), time.monotonic() + pace, min(2 * pace, _SLOWEST)
        except UNREADABLE as problem:
            error = one_line(str(problem))
        self.post_message(self.Read(turn, waiting, complete=True, error=error))

    def on_sample_list_read(self, event: Read) -> None:
        """Take in more rows. What is on the screen stays where it is."""
        if event.turn != self._turn:
            return
        first = not self._ids
        self._ids.extend(event.ids)
        self._complete, self._error = event.complete, event.error
        self.table.grow(len(self._ids))
        if self._goal is not None and self._goal in event.ids:
            self.table.move_to(len(self._ids) - len(event.ids) + event.ids.index(self._goal))
            self._goal = None
        elif first and self._goal is None:
            self.table.move_to(0)
        self._tell()
        if first or event.complete:
            self._select()

    def _select(self) -> None:
        if self.selected != self._selected:
            self._selected = self.selected
            self.post_message(self.Selected(self._selected))

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """The cursor has moved."""
        event.stop()
        self._goal = None
        self._select()
        self._tell()

    # -- while the run goes on -----------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Bring what is seen up to date, and count what fits by now; the rows stay the same."""
        self.table.renew()
        # A search reads all texts: too much to be done again and again.
        is_search = any(term.key == "text" for term in self._query.terms)
        if self._reader and self._complete and not is_search and not self._is_at_work("count"):
            work = partial(self._count, self._reader.run, self._query, self._turn)
            self.run_worker(work, group="count", thread=True)

    def _is_at_work(self, group: str) -> bool:
        return any(w.group == group and w.node is self and not w.is_finished for w in self.workers)

    def _count(self, run: RunDirectory, query: SampleQuery, turn: int) -> None:
        # Where the files cannot be read just now, the next look tells.
        with suppress(*UNREADABLE), closing(RunReader(run)) as reader:
            self.post_message(self.Counted(turn, reader.count(query)))

    def on_sample_list_counted(self, event: Counted) -> None:
        """Say how many are new."""
        if event.turn == self._turn:
            self._new = max(0, event.count - len(self._ids))
            self._tell()

    # -- the next wrong answer -----------------------------------------------------------------------------------------

    def find_wrong(self, step: int) -> None:
        """Move to the next wrong answer, or to the one before."""
        if self._reader is None:
            return
        row = self.table.cursor
        ids = self._ids[row + 1 :] if step > 0 else self._ids[:row][::-1]
        work = partial(self._find, self._reader.run, ids, row, step, self._turn)
        self.run_worker(work, group="wrong", exclusive=True, thread=True)

    def _find(self, run: RunDirectory, ids: array[int], row: int, step: int, turn: int) -> None:
        worker, at, size = get_current_worker(), 0, _FIRST
        with suppress(*UNREADABLE), closing(RunReader(run)) as reader:
            while at < len(ids) and not worker.is_cancelled:
                some = ids[at : at + size]
                wrong = reader.wrong_among(some)
                if place := next((place for place, i in enumerate(some, start=at + 1) if i in wrong), None):
                    self.post_message(self.Found(turn, row + step * place))
                    return
                at, size = at + size, min(2 * size, _MOST)
        if not worker.is_cancelled:
            self.post_message(self.Found(turn, None))

    def on_sample_list_found(self, event: Found) -> None:
        """Go there."""
        if event.turn != self._turn:
            return
        if event.row is None:
            self.notify("no other wrong answer in this direction", markup=False)
        else:
            self.table.move_to(event.row)

    # -- what is seen --------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        count = len(self._ids)
        if self._error:
            words = f"! {self._error}"
        elif not count:
            words = "no sample fits" if self._complete else "looking …"
        else:
            words = f"{self.table.cursor + 1:,} of {count:,} samples{'' if self._complete else ' …'}"
        if self._new:
            words += f" · {self._new:,} new, u shows them"
        self._words.update(words, layout=False)

    def _rows(self, start: int, stop: int) -> Sequence[Row]:
        if self._reader is None:
            return []
        try:
            lines = {line.id: line for line in self._reader.sample_lines(self._ids[start:stop])}
        except UNREADABLE as error:
            return [(Cell("!", "bad"), Cell(""), Cell(""), Cell(one_line(str(error)), "bad"))]
        return [_row(lines[i]) if i in lines else (Cell("·", "dim"),) for i in self._ids[start:stop]]


def _columns(width: int, models: int) -> list[Column]:
    """Texts share what numbers leave; what matters least goes first where there is little room."""
    text = max(9, min(28, (width - 32) // 4))
    return [
        Column("", 1),
        Column("doc", 6, right=True),
        Column("model", text, least=72 if models > 1 else 1 << 20),
        Column("task", 0, middle=True),
        Column("gold", text),
        Column("predicted", text),
        Column("margin", 7, right=True, least=60),
        Column("tokens", 6, right=True, least=68),
        Column("label", 10, least=78),
    ]


def _row(line: SampleLine) -> Row:
    mark, style = _mark(line)
    wrong = "bad" if line.correct is False else ""
    return (
        Cell(mark, style),
        Cell(str(line.doc_id), "dim"),
        Cell(one_line(line.model, 60), "dim"),
        Cell(one_line(job_name(line.label), 80)),
        Cell(one_line(line.target, 60)),
        Cell("no match", "warn") if line.no_match else Cell(one_line(line.answer, 60), wrong),
        Cell("" if line.margin is None else f"{line.margin:+.2f}", "dim"),
        Cell(f"{line.tokens:,}+" if line.truncated else f"{line.tokens:,}", "warn" if line.truncated else "dim"),
        Cell(f"★ {one_line(line.note_label, 40)}" if line.note_label else "", "warn"),
    )


def _mark(line: SampleLine) -> tuple[str, str]:
    if line.status == "error":
        return "!", "bad"
    if line.status == "pending":
        return "…", "dim"
    return {True: ("✓", "good"), False: ("✗", "bad"), None: ("·", "dim")}[line.correct]
