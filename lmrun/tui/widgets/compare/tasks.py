"""The tasks of two sides with their scores, and who was right where on the one under the cursor."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from lmrun.display.format import job_name
from lmrun.store.pairs import PairReader, Side, TaskPair
from lmrun.store.reader import UNREADABLE
from lmrun.tui.text import one_line
from lmrun.tui.widgets.compare.columns import headline, metric_words, remarks, task_columns, task_row
from lmrun.tui.widgets.virtual import Row, VirtualTable

_BAR = 48
_FILLS = ("█", "▓", "▒", "░")
"""Both, A only, B only, none: they differ without colour."""


class TaskList(Vertical):
    """Reads and shows the tasks of two sides."""

    DEFAULT_CSS = """
    TaskList { height: 1fr; }
    TaskList #quadrants { height: 7; border: round $primary-muted; border-title-color: $text-primary; padding: 0 1; }
    """

    class Found(Message):
        """A task has been read."""

        def __init__(self, sides: tuple[Side, Side], task: TaskPair) -> None:
            super().__init__()
            self.sides, self.task = sides, task

    class Failed(Message):
        """The sides cannot be read."""

        def __init__(self, sides: tuple[Side, Side], words: str) -> None:
            super().__init__()
            self.sides, self.words = sides, words

    def __init__(self) -> None:
        super().__init__()
        self._sides: tuple[Side, Side] | None = None
        self._all: list[TaskPair] = []
        self._listed: list[TaskPair] = []
        self._fits: Callable[[TaskPair], bool] = lambda _task: True

    def compose(self) -> ComposeResult:
        """Table and quadrants."""
        yield VirtualTable([column.column for column in task_columns([])], self._rows, id="tasks")
        yield Static("", id="quadrants", markup=False)

    @property
    def table(self) -> VirtualTable:
        """The list."""
        return self.query_one("#tasks", VirtualTable)

    @property
    def current(self) -> TaskPair | None:
        """The task under the cursor."""
        return self._listed[self.table.cursor] if self._listed else None

    def open(self, sides: tuple[Side, Side]) -> None:
        """Show these sides."""
        self._sides = sides
        self._all = []
        self._list()
        self.run_worker(lambda: self._read(sides), group="tasks", exclusive=True, thread=True)

    def filter(self, fits: Callable[[TaskPair], bool]) -> tuple[int, int]:
        """Show only these tasks; how many there are, and of how many."""
        self._fits = fits
        self._list()
        return len(self._listed), len(self._all)

    def _read(self, sides: tuple[Side, Side]) -> None:
        worker = get_current_worker()
        try:
            reader = PairReader(*sides)
            try:
                for task in reader.tasks():
                    if worker.is_cancelled:
                        return
                    self.post_message(self.Found(sides, task))
            finally:
                reader.close()
        except UNREADABLE as error:
            self.post_message(self.Failed(sides, str(error)))

    def on_task_list_found(self, event: Found) -> None:
        """Add it, unless other sides are wanted by now."""
        event.stop()
        if event.sides is self._sides:
            self._all.append(event.task)
            self._list()

    def _list(self) -> None:
        self._listed = [task for task in self._all if self._fits(task)]
        columns = [column.column for column in task_columns(self._all)]
        self.table.renew(len(self._listed), columns=columns)
        self._draw_quadrants()

    def _rows(self, start: int, stop: int) -> list[Row]:
        columns = task_columns(self._all)
        return [task_row(task, columns) for task in self._listed[start:stop]]

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """Say more of the task under the cursor."""
        event.stop()
        self._draw_quadrants()

    def on_resize(self) -> None:
        """The quadrants take one line or several."""
        self.call_after_refresh(self._draw_quadrants)

    def _draw_quadrants(self) -> None:
        panel, task = self.query_one("#quadrants", Static), self.current
        panel.border_title = Content(one_line(job_name(task.label))) if task else ""
        short = self.screen.has_class("-short")
        panel.update((short_words(task) if short else quadrant_words(task)) if task else "")


def short_words(task: TaskPair) -> Content:
    """Task, metric and remarks in one line."""
    return Content.assemble((f"{one_line(job_name(task.label))}  ", "$text-primary"), _title(task))


def _title(task: TaskPair) -> Content:
    metric = headline(task)
    name = f"{metric_words(metric)}  " if metric else ""
    return Content.assemble((name, "bold"), (remarks(task), "$foreground-muted"))


def quadrant_words(task: TaskPair) -> Content:
    """The metric, the four counts, a bar of them, and the remarks."""
    title = _title(task)
    if not task.judged:
        words = "no answers that are right or wrong: only the scores can be compared" if task.common else ""
        return Content("\n").join([title, Content.styled(words, "$foreground-muted")])
    total = task.judged
    lines = [
        title,
        Content.styled(f"{'':8}{'B right':>18}{'B wrong':>18}", "$foreground-muted"),
        Content.assemble(("A right ", "$foreground-muted"), _share(task.both, total), _share(task.only_a, total)),
        Content.assemble(("A wrong ", "$foreground-muted"), _share(task.only_b, total), _share(task.none, total)),
        _bar(task),
    ]
    return Content("\n").join(lines)


def _share(count: int, total: int) -> str:
    return f"{count:>11,}{count / total:>7.1%}"


def _bar(task: TaskPair) -> Content:
    """How the four counts share a bar; each that is not 0 can be seen."""
    names = ("both", "A only", "B only", "none")
    counts = (task.both, task.only_a, task.only_b, task.none)
    widths = [max(1, round(_BAR * count / task.judged)) if count else 0 for count in counts]
    styles = ("$text-success", "$text-primary", "$text-secondary", "$foreground-muted")
    parts = [(fill * width, style) for fill, width, style in zip(_FILLS, widths, styles, strict=True)]
    legend = "  ".join(f"{fill} {name}" for fill, name in zip(_FILLS, names, strict=True))
    return Content.assemble(*parts, ("  " + legend, "$foreground-muted"))
