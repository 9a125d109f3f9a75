"""The samples of one task in pairs, and what both sides made of the doc under the cursor."""

from __future__ import annotations

from array import array

from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from lmrun.store.browse import SampleLine
from lmrun.store.pairs import IdPairs, PairReader, Quadrant, Side, TaskPair
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.records import SampleDetail
from lmrun.tui.stored import PATIENCE_MS
from lmrun.tui.text import one_line
from lmrun.tui.widgets.compare.sample import DrawnPair, draw_pair, mark
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable

_FIXED = 18
"""Cells that the columns other than the answers take."""
_STYLES = {"✓": "good", "✗": "bad", "!": "warn", "·": "dim"}


class PairLines:
    """Lines of the list, read as they come into view."""

    def __init__(self, sides: tuple[Side, Side]) -> None:
        self._pairs = PairReader(*sides)
        self._readers = tuple(RunReader(side.run, patience_ms=PATIENCE_MS) for side in sides)

    def close(self) -> None:
        """Close the files."""
        self._pairs.close()
        for reader in self._readers:
            reader.close()

    def rows(self, ids: IdPairs) -> list[Row]:
        """A line for each pair."""
        others = self._pairs.other_prompts(list(zip(*ids, strict=True)))
        one, two = (reader.sample_lines(found) for reader, found in zip(self._readers, ids, strict=True))
        if len(one) != len(two):  # a resumed engine is rendering them again
            return []
        return [_row(a, b, other_prompt=a.id in others) for a, b in zip(one, two, strict=True)]


def _row(a: SampleLine, b: SampleLine, *, other_prompt: bool) -> Row:
    marks = [mark(line.status, line.correct) for line in (a, b)]
    return [
        *(Cell(sign, _STYLES[sign]) for sign in marks),
        Cell(f"{a.doc_id}"),
        Cell("≠" if other_prompt else "", "warn"),
        Cell(one_line(a.target)),
        Cell(one_line(a.answer)),
        Cell(one_line(b.answer), "dim" if a.answer == b.answer else ""),
    ]


def _detail(side: Side, sample_id: int) -> SampleDetail:
    reader = RunReader(side.run)
    try:
        return reader.sample(sample_id)
    finally:
        reader.close()


def _columns(width: int) -> list[Column]:
    gold = max(10, width // 6)
    answer = max(8, (width - _FIXED - gold) // 2)
    return [
        Column("A", 1),
        Column("B", 1),
        Column("doc", 7, right=True),
        Column("", 1),
        Column("gold", gold),
        Column("answer of A", answer),
        Column("answer of B", 0),
    ]


class PairView(VerticalScroll, can_focus=False):
    """Question and gold, then both outputs with what differs, or the choices with both log-likelihoods."""

    DEFAULT_CSS = """
    PairView { height: 1fr; border: round $primary-muted; border-title-color: $text-primary; padding: 0 1;
      scrollbar-size-vertical: 1; }
    PairView Static { height: auto; }
    PairView #choices { margin: 1 0 0 0; }
    PairView #texts { layout: grid; grid-size: 2; grid-rows: auto; grid-gutter: 0 1; height: auto; margin: 1 0 0 0; }
    PairView.-stacked #texts { layout: vertical; }
    PairView #texts Static { border: round $primary-muted; border-title-color: $foreground; padding: 0 1; width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        """Question, choices, texts."""
        yield Static("", id="question", markup=False)
        yield Static("", id="choices", markup=False)
        with Container(id="texts"):
            yield Static("", id="text-a", markup=False)
            yield Static("", id="text-b", markup=False)

    def show(self, pair: DrawnPair | None) -> None:
        """Another pair, or none."""
        self.scroll_home(animate=False)
        self.query_one("#texts").display = pair is not None
        choices = self.query_one("#choices", Static)
        choices.display = pair is not None and pair.choices is not None
        self.border_title = one_line(pair.title) if pair else ""
        self.query_one("#question", Static).update(pair.question if pair else "no such samples")
        if pair is None:
            return
        choices.update(pair.choices or "")
        for name, title, text in zip("ab", pair.titles, pair.texts, strict=True):
            panel = self.query_one(f"#text-{name}", Static)
            panel.border_title = title
            panel.update(text)


class PairList(Container):
    """List of pairs and view of one."""

    DEFAULT_CSS = """
    PairList { layout: vertical; height: 1fr; }
    PairList #pairs { height: 2fr; }
    PairList PairView { height: 3fr; }
    PairList.-wide { layout: horizontal; }
    PairList.-wide #pairs { width: 2fr; height: 1fr; }
    PairList.-wide PairView { width: 3fr; height: 1fr; }
    """

    class Found(Message):
        """More pairs."""

        def __init__(self, wanted: object, ids: IdPairs | None) -> None:
            super().__init__()
            self.wanted, self.ids = wanted, ids
            """``ids``: None after the last."""

    class Drawn(Message):
        """A pair can be shown."""

        def __init__(self, wanted: tuple[int, int], pair: DrawnPair) -> None:
            super().__init__()
            self.wanted, self.pair = wanted, pair

    class Counted(Message):
        """So many pairs are listed."""

        def __init__(self, count: int, *, done: bool) -> None:
            super().__init__()
            self.count, self.done = count, done

    class Failed(Message):
        """The runs can no longer be read."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    def __init__(self) -> None:
        super().__init__()
        self._lines: PairLines | None = None
        self._sides: tuple[Side, Side] | None = None
        self._wanted: object = None
        self._ids = IdPairs(array("q"), array("q"))
        self._shown: tuple[int, int] | None = None

    def compose(self) -> ComposeResult:
        """List and view."""
        yield VirtualTable(_columns(80), self._rows, id="pairs")
        yield PairView()

    @property
    def table(self) -> VirtualTable:
        """The list."""
        return self.query_one("#pairs", VirtualTable)

    @property
    def view(self) -> PairView:
        """The pair under the cursor."""
        return self.query_one(PairView)

    def open(self, sides: tuple[Side, Side], task: TaskPair, quadrant: Quadrant) -> None:
        """List the pairs of a task."""
        if sides is not self._sides or self._lines is None:
            self.close()
            self._sides, self._lines = sides, PairLines(sides)
        self._wanted = wanted = object()
        self._ids = IdPairs(array("q"), array("q"))
        self._shown = None
        self.table.cursor = 0
        self.table.renew(0)
        read = lambda: self._read(wanted, sides, task.label, quadrant)  # noqa: E731
        self.run_worker(read, group="ids", exclusive=True, thread=True)

    def close(self) -> None:
        """Let go of the files."""
        if self._lines:
            self._lines.close()
        self._lines = None

    def on_unmount(self) -> None:
        """The page is gone."""
        self.close()

    def _read(self, wanted: object, sides: tuple[Side, Side], label: str, quadrant: Quadrant) -> None:
        worker = get_current_worker()
        try:
            reader = PairReader(*sides)
            try:
                for ids in reader.ids(label, quadrant):
                    if worker.is_cancelled:
                        return
                    self.post_message(self.Found(wanted, ids))
            finally:
                reader.close()
            self.post_message(self.Found(wanted, None))
        except UNREADABLE as error:
            self.post_message(self.Failed(str(error)))

    def on_pair_list_found(self, event: Found) -> None:
        """Longer list."""
        event.stop()
        if event.wanted is not self._wanted:
            return
        if event.ids is not None:
            self._ids.a.extend(event.ids.a)
            self._ids.b.extend(event.ids.b)
            self.table.renew(len(self._ids.a))
        self._look()
        self.post_message(self.Counted(len(self._ids.a), done=event.ids is None))

    def _rows(self, start: int, stop: int) -> list[Row]:
        ids = IdPairs(self._ids.a[start:stop], self._ids.b[start:stop])
        if not self._lines or not ids.a:
            return []
        try:
            return self._lines.rows(ids)
        except UNREADABLE as error:
            return [(Cell(one_line(f"! {error}"), "bad"),)]

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """Another pair."""
        event.stop()
        self._look()

    def _look(self) -> None:
        """Show the pair under the cursor; it is read and compared beside the loop."""
        place, sides = self.table.cursor, self._sides
        if not self._ids.a or sides is None:
            self._shown = None
            self.view.show(None)
            return
        wanted = self._ids.a[place], self._ids.b[place]
        if wanted != self._shown:
            self._shown = wanted
            draw = lambda: self._draw(wanted, sides)  # noqa: E731
            self.run_worker(draw, group="pair", exclusive=True, thread=True)

    def _draw(self, wanted: tuple[int, int], sides: tuple[Side, Side]) -> None:
        try:
            a, b = (_detail(side, number) for side, number in zip(sides, wanted, strict=True))
            reader = PairReader(*sides)
            other = bool(reader.other_prompts([wanted]))
            reader.close()
        except UNREADABLE as error:
            self.post_message(self.Failed(str(error)))
            return
        self.post_message(self.Drawn(wanted, draw_pair(a, b, other_prompt=other)))

    def on_pair_list_drawn(self, event: Drawn) -> None:
        """Show it, unless the cursor has gone on."""
        event.stop()
        if event.wanted == self._shown:
            self.view.show(event.pair)

    def on_resize(self) -> None:
        """Beside each other where there is room; the answers share what the list has."""
        self.set_class(self.size.width >= 160, "-wide")
        self.call_after_refresh(lambda: self.table.renew(columns=_columns(self.table.size.width)))
