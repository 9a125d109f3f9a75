"""The page compare: two runs, or two models of one, task by task and sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from types import MappingProxyType

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ContentSwitcher, Static
from textual.worker import Worker, WorkerState

from lmrun.display.format import job_name
from lmrun.store.pairs import Quadrant, Side, TaskPair
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.runs import RunDirectory, all_runs
from lmrun.tui.filters import Keys, parse_filter
from lmrun.tui.pages.base import Page
from lmrun.tui.run_list import Stamp, stamp
from lmrun.tui.state import RunView
from lmrun.tui.text import one_line
from lmrun.tui.widgets.compare.choose import Candidate, ChooseSides
from lmrun.tui.widgets.compare.columns import why_not
from lmrun.tui.widgets.compare.pairs import PairList
from lmrun.tui.widgets.compare.tasks import TaskList
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.virtual import VirtualTable

_QUADRANTS: Mapping[Quadrant, str] = MappingProxyType(
    {"all": "all", "both": "both right", "a": "only A right", "b": "only B right", "none": "none right"}
)
_KEYS: Keys = MappingProxyType({"task": ()})
_NOTHING = """Nothing to compare yet.

Press c to choose two sides, each a model of a run;
or mark two runs on page 2 with space, and press d there."""


class ComparePage(Page):
    """Tasks of both sides, and from each its samples."""

    page = "compare"
    DEFAULT_CSS = """
    ComparePage #sides-line { height: 2; padding: 0 1; }
    ComparePage #nothing { height: 1fr; content-align: center middle; color: $text-muted; }
    ComparePage ContentSwitcher { height: 1fr; }
    ComparePage.-short #quadrants { height: 1; border: none; }
    ComparePage.-short PairList #pairs { height: 1fr; }
    ComparePage.-short PairView #texts { margin: 0; }
    ComparePage.-short PairView #texts Static { border: none; border-top: solid $primary-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._sides: tuple[Side, Side] | None = None
        self._offered: RunDirectory | None = None
        """The open run whose models were taken as sides without being asked for."""
        self._opened: TaskPair | None = None
        self._quadrant: Quadrant = "all"
        self._stamps: list[Stamp] = []
        """Of both runs, when their tasks were read."""
        self._stacked = False

    def body(self) -> ComposeResult:
        """Sides, and one of: nothing, tasks, samples."""
        yield Static("", id="sides-line", markup=False)
        with ContentSwitcher(initial="nothing"):
            yield Static(_NOTHING, id="nothing", markup=False)
            with Vertical(id="tasks-level"):
                yield TaskList()
                yield FilterBar(lambda text: parse_filter(text, _KEYS), "part of a task's name, or task:mmlu*")
            with Vertical(id="samples-level"):
                yield PairList()

    # -- the two sides -------------------------------------------------------------------------------------------------

    def compare(self, a: Side, b: Side) -> None:
        """Show these sides."""
        self._sides = a, b
        self._offered = None
        if self.is_mounted:
            self._begin()

    def draw(self, view: RunView | None) -> None:
        """Offer the first two models of the open run, unless sides were chosen."""
        run = self.lmrun.run_directory
        if (self._sides is None or self._offered) and run and self._offered != run:
            self._offered = run
            models = _models(run)
            if len(models) > 1:
                self._sides = Side(run, models[0]), Side(run, models[1])
                self._begin()

    def on_mount(self) -> None:
        """Sides may have been chosen before the page was shown."""
        if self._sides:
            self._begin()

    def on_screen_resume(self) -> None:
        """The page is shown (again); runs that go on may have more to show than before."""
        super().on_screen_resume()
        if self._sides and self._opened is None and self._stamps != self._stamps_now():
            self._begin()

    def _stamps_now(self) -> list[Stamp]:
        return [stamp(side.run) for side in self._sides or ()]

    def _begin(self) -> None:
        assert self._sides
        self._stamps = self._stamps_now()
        self._opened = None
        self.query_one(TaskList).open(self._sides)
        self._level("tasks")

    def _level(self, name: str) -> None:
        self.query_one(ContentSwitcher).current = f"{name}-level"
        table = self._task_list.table if name == "tasks" else self._pair_list.table
        table.focus()
        self._draw_sides()
        self.refresh_bindings()

    @property
    def _task_list(self) -> TaskList:
        return self.query_one(TaskList)

    @property
    def _pair_list(self) -> PairList:
        return self.query_one(PairList)

    def _draw_sides(self, words: str = "") -> None:
        """Both sides, and where one is."""
        if self._sides is None:
            return
        where = ["", ""]
        if self._opened:
            where = [one_line(job_name(self._opened.label)), f"{_QUADRANTS[self._quadrant]}{words}"]
        width = max(len(side.model) for side in self._sides)
        lines = []
        for letter, side, note in zip("AB", self._sides, where, strict=True):
            name = Content.assemble(
                (f"{letter}  ", "bold $text-primary"),
                (one_line(side.model).ljust(width), "bold"),
                (f"   {one_line(side.run.id)}", "$foreground-muted"),
            )
            room = max(2, self.size.width - 3 - name.cell_length - len(note))
            lines.append(Content.assemble(name, " " * room, note))
        self.query_one("#sides-line", Static).update(Content("\n").join(lines))

    # -- what the lists say --------------------------------------------------------------------------------------------

    def on_virtual_table_chosen(self, event: VirtualTable.Chosen) -> None:
        """Enter on a task."""
        self.action_open()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Fewer tasks, or more."""
        wanted = parse_filter(event.text, _KEYS)
        count, total = self._task_list.filter(lambda task: wanted.matches({"task": task.label}))
        event.bar.say(f"{count} of {total} tasks" if wanted else "")

    def on_pair_list_counted(self, event: PairList.Counted) -> None:
        """How many samples are listed."""
        self._draw_sides(f" · {event.count:,}" + ("" if event.done else " …"))

    def on_pair_list_failed(self, event: PairList.Failed) -> None:
        """Say it."""
        self.notify(one_line(event.words), severity="error", markup=False)

    def on_task_list_failed(self, event: TaskList.Failed) -> None:
        """Say it."""
        self.notify(one_line(event.words), severity="error", markup=False)

    def on_resize(self) -> None:
        """The line of the sides is as wide as the page."""
        super().on_resize()
        self._draw_sides()
        self._split()

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done where one is."""
        if action in ("quadrant", "split", "back", "scroll_down", "scroll_up"):
            return self._opened is not None
        if action in ("open", "filter"):
            return self._opened is None and self._sides is not None
        return self._sides is not None if action == "flip" else True

    def offers(self, action: str) -> bool:
        """Enter opens a task; below a task there is nothing to open."""
        return action != "choose" or self._opened is None

    def action_choose_runs(self) -> None:
        """Choose both sides from all runs; they are read beside the loop."""
        runs_dir, current = self.lmrun.runs_dir, self.lmrun.run_directory
        runs = list(all_runs(runs_dir))
        if current and current.path.resolve() not in {run.path.resolve() for run in runs}:
            runs.insert(0, current)
        self.run_worker(lambda: _candidates(runs), name="candidates", exclusive=True, thread=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """The runs have been read."""
        if event.worker.name == "candidates" and event.state is WorkerState.SUCCESS:
            self.app.push_screen(ChooseSides(event.worker.result or [], self._sides), self._chosen)

    def _chosen(self, sides: tuple[Side, Side] | None) -> None:
        if sides:
            self.compare(*sides)

    def action_flip(self) -> None:
        """A becomes B."""
        if self._sides is None:
            return
        a, b = self._sides
        task, quadrant = self._opened, self._quadrant
        self._sides = b, a
        self._task_list.open(self._sides)
        if task is None:
            self._level("tasks")
        else:
            swapped: dict[Quadrant, Quadrant] = {"a": "b", "b": "a"}
            self._quadrant = swapped.get(quadrant, quadrant)
            self._list()

    def action_open(self) -> None:
        """The samples of the task under the cursor."""
        task = self._task_list.current
        if self._opened or task is None:
            return
        if reason := why_not(task):
            self.notify(f"not comparable: {reason}", severity="warning", markup=False)
            return
        self._opened, self._quadrant = task, "all"
        self._level("samples")
        self._split()
        self._list()

    def _list(self) -> None:
        assert self._opened and self._sides
        try:
            self._pair_list.open(self._sides, self._opened, self._quadrant)
        except UNREADABLE as error:
            self.notify(one_line(str(error)), severity="error", markup=False)
        self._draw_sides()

    def action_quadrant(self) -> None:
        """All, both right, only A, only B, none, and again."""
        names = list(_QUADRANTS)
        self._quadrant = names[(names.index(self._quadrant) + 1) % len(names)]
        self._list()

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def action_split(self) -> None:
        """The two outputs beside each other, or one above the other."""
        self._stacked = not self._stacked
        self._split()

    def _split(self) -> None:
        narrow = self.has_class("-narrow")
        self._pair_list.view.set_class(self._stacked or narrow, "-stacked")

    def action_scroll_down(self) -> None:
        """Further down in the texts."""
        self._pair_list.view.scroll_relative(y=3, animate=False)

    def action_scroll_up(self) -> None:
        """Back up."""
        self._pair_list.view.scroll_relative(y=-3, animate=False)

    def action_back(self) -> None:
        """From samples to tasks."""
        if self._opened:
            self._opened = None
            self._level("tasks")


def _models(run: RunDirectory) -> list[str]:
    try:
        with closing(RunReader(run)) as reader:
            return [str(model["name"]) for model in reader.models()]
    except UNREADABLE:
        return []


def _candidates(runs: list[RunDirectory]) -> list[Candidate]:
    found = []
    for run in runs:
        started = datetime.strptime(run.id[:15], "%Y%m%d-%H%M%S").strftime("%Y-%m-%d %H:%M")
        found += [Candidate(Side(run, model), run.id[16:-5], started) for model in _models(run)]
    return found
