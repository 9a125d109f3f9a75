"""The page runs: all runs of a folder; open, compare, resume and delete them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from lmrun.engine.remove import remove_run
from lmrun.errors import LmrunError
from lmrun.store.pairs import Side
from lmrun.store.reader import UNREADABLE
from lmrun.store.runs import RunDirectory
from lmrun.tui.filters import Filter, parse_filter
from lmrun.tui.pages.base import Page
from lmrun.tui.pages.compare import ComparePage
from lmrun.tui.run_list import KEYS, ORDERS, RunLine, RunList, listed
from lmrun.tui.text import one_line
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.runs.detail import run_detail
from lmrun.tui.widgets.runs.table import RunTable
from lmrun.tui.widgets.typed_confirm import TypedConfirm
from lmrun.tui.widgets.virtual import VirtualTable

REFRESH = 2.0
"""Seconds between two looks at the folder, while the page is shown."""
HINT = "words, status:incomplete, model:qwen*, name:…"


class RunsPage(Page):
    """List and detail."""

    page = "runs"
    DEFAULT_CSS = """
    RunsPage #both { layout: vertical; height: 1fr; }
    RunsPage RunTable { height: 1fr; }
    RunsPage #detail { height: 14; border: round $primary-muted; border-title-color: $text-primary; padding: 0 1;
      scrollbar-size-vertical: 1; }
    RunsPage.-short #detail { height: 7; }
    RunsPage.-wide #both { layout: horizontal; }
    RunsPage.-wide RunTable { width: 111; }
    RunsPage.-wide #detail { width: 1fr; height: 1fr; }
    RunsPage #detail Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    RunsPage #none { height: 1fr; content-align: center middle; color: $text-muted; display: none; }
    RunsPage.-empty #none { display: block; }
    RunsPage.-empty #both { display: none; }
    """

    class Detailed(Message):
        """A run has been read."""

        def __init__(self, line: RunLine, content: Content) -> None:
            super().__init__()
            self.line, self.content = line, content

    class Removed(Message):
        """A run is deleted, or why not."""

        def __init__(self, run: RunDirectory, problem: str = "") -> None:
            super().__init__()
            self.run, self.problem = run, problem

    def __init__(self) -> None:
        super().__init__()
        self._list: RunList | None = None
        self._lines: list[RunLine] = []
        self._marks: list[Path] = []
        """Of at most two runs, in the order of marking."""
        self._filter = Filter(keys=KEYS)
        self._order = "started"
        self._detailed: RunLine | None = None

    def body(self) -> ComposeResult:
        """Runs, and the one under the cursor."""
        yield Static("", id="none", markup=False)
        with Container(id="both"):
            yield RunTable()
            with VerticalScroll(id="detail", can_focus=False):
                yield Static("", markup=False)
        yield FilterBar(lambda text: parse_filter(text, KEYS), HINT)

    def on_mount(self) -> None:
        """Read, and go on reading while the page is shown."""
        self.set_interval(REFRESH, self._refresh)
        self.table.focus()

    def on_screen_resume(self) -> None:
        """The page is shown (again)."""
        super().on_screen_resume()
        self._refresh()

    def on_resize(self) -> None:
        """Beside each other where there is room."""
        super().on_resize()
        self.set_class(self.size.width >= 180, "-wide")

    @property
    def table(self) -> RunTable:
        """The list."""
        return self.query_one(RunTable)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        busy = any(worker.name == "runs" and not worker.is_finished for worker in self.workers)
        if not self.is_current or busy:
            return
        self._list = self._list or RunList(self.lmrun.runs_dir)
        self.run_worker(self._list.read, name="runs", group="runs", thread=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """The folder has been read."""
        if event.worker.name == "runs" and event.state is WorkerState.SUCCESS:
            lines = event.worker.result or []
            if lines != self._lines or any(line.live for line in lines) or not lines:
                self._lines = lines
                self._show()

    def _show(self) -> None:
        found = listed(self._lines, self._filter, self._order)
        self._marks = [path for path in self._marks if any(line.run.path == path for line in self._lines)]
        self.set_class(not self._lines, "-empty")
        self.query_one("#none", Static).update(f"No runs in {one_line(str(self.lmrun.runs_dir))} yet. 5 starts one.")
        self.table.show(found, self._marks, self._order)
        self.refresh_bindings()
        self.query_one(FilterBar).say(f"{len(found)} of {len(self._lines)} runs" if self._filter else "")
        self._detail()

    def _detail(self) -> None:
        """Read the run under the cursor beside the loop."""
        line = self.table.line
        if line is None or line == self._detailed:
            return
        if self._detailed is None or line.run != self._detailed.run:
            self.query_one("#detail").border_title = one_line(line.run.id)
        self._detailed = line
        self.run_worker(partial(self._read_detail, line), group="detail", exclusive=True, thread=True)

    def _read_detail(self, line: RunLine) -> None:
        try:
            content = run_detail(line, time.time())
        except UNREADABLE as error:
            # Whatever stands in the files of a run, the page goes on.
            content = Content(f"✗ {one_line(str(error))}")
        self.post_message(self.Detailed(line, content))

    def on_runs_page_detailed(self, event: Detailed) -> None:
        """Show it, unless the cursor has gone on."""
        if event.line is self._detailed:
            self.query_one("#detail Static", Static).update(event.content)

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """Another run."""
        self.query_one("#detail").scroll_home(animate=False)
        self.refresh_bindings()
        self._detail()

    # -- what is listed ------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """List others."""
        self._filter = parse_filter(event.text, KEYS)
        self._show()

    def action_sort(self) -> None:
        """The next column."""
        orders = list(ORDERS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show()

    def action_scroll_down(self) -> None:
        """Further down in the detail."""
        self.query_one("#detail").scroll_relative(y=3, animate=False)

    def action_scroll_up(self) -> None:
        """Back up."""
        self.query_one("#detail").scroll_relative(y=-3, animate=False)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _say(self, words: str) -> None:
        self.notify(one_line(words, 500), severity="warning", markup=False)

    def _readable(self) -> RunLine | None:
        """The run under the cursor; words and nothing where it cannot be read."""
        line = self.table.line
        if line is not None and line.summary is None:
            self._say(f"{line.run.id} cannot be used: {line.problem}")
            return None
        return line

    def on_virtual_table_chosen(self, event: VirtualTable.Chosen) -> None:
        """Enter."""
        self.action_open()

    def action_open(self) -> None:
        """Show the run on all pages, beginning with the dashboard."""
        if line := self._readable():
            try:
                self.lmrun.open_run(line.run)
            except LmrunError as error:
                self._say(str(error))
                return
            self.lmrun.go("dashboard")

    def action_mark(self) -> None:
        """Mark a run, or unmark it; a third mark takes the place of the first."""
        if not (line := self._readable()):
            return
        path = line.run.path
        self._marks = [m for m in self._marks if m != path] if path in self._marks else [*self._marks, path][-2:]
        self.table.show(listed(self._lines, self._filter, self._order), self._marks, self._order)
        self.refresh_bindings()
        self.table.action_cursor_down()

    def action_compare(self) -> None:
        """The marked runs; or the marked one, or else the open one, with that under the cursor."""
        if len(self._marks) < 2 and not self._readable():
            return
        sides = self._pair()
        if sides is None:
            self._say("mark two runs with space, or put the cursor on another run than the open one")
            return
        page = self.lmrun.go("compare")
        assert isinstance(page, ComparePage)
        page.compare(*sides)

    def _pair(self) -> tuple[Side, Side] | None:
        """What a comparison would be of."""
        wanted, line = list(self._marks), self.table.line
        if len(wanted) < 2 and line:
            opened = self.lmrun.run_directory
            wanted += [opened.path] if opened and not wanted else []
            wanted += [line.run.path]
        by_path = {line.run.path.resolve(): line for line in self._lines}
        return _sides([by_path[path.resolve()] for path in dict.fromkeys(wanted) if path.resolve() in by_path])

    def offers(self, action: str) -> bool:
        """What can be done with the run under the cursor."""
        line = self.table.line
        if action in ("choose", "mark", "resume") and (line is None or line.summary is None):
            return False
        if action == "resume":
            return line is not None and not line.live and line.state != "complete"
        return action != "compare" or self._pair() is not None

    def action_resume(self) -> None:
        """Go on with a run that is neither complete nor at work."""
        if not (line := self._readable()):
            return
        if line.live:
            self._say(f"an engine works on {line.run.id}: enter watches it")
        elif line.state == "complete":
            self._say(f"{line.run.id} is complete: there is nothing left to ask")
        else:
            self.lmrun.resume(line.run)

    def action_delete(self) -> None:
        """Delete a run, once its id or the word is typed."""
        line = self.table.line
        if line is None:
            return
        if line.live:
            self._say(f"an engine works on {line.run.id}: stop it first")
            return
        question = f"{line.run.path}\n\nThe folder and everything in it will be gone.\nType delete, or the run's id:"
        screen = TypedConfirm("delete a run", question, {"delete", line.run.id})
        self.app.push_screen(screen, partial(self._delete, line))

    def _delete(self, line: RunLine, sure: bool | None) -> None:
        if not sure:
            return
        opened = self.lmrun.run_directory
        if opened and opened.path.resolve() == line.run.path.resolve():
            self.lmrun.open_run(None)  # nobody looks at it while it goes
        self.run_worker(partial(self._remove, line.run, self.lmrun.runs_dir), thread=True)

    def _remove(self, run: RunDirectory, runs_dir: Path) -> None:
        try:
            remove_run(run, runs_dir)
        except LmrunError as error:
            self.post_message(self.Removed(run, str(error)))
        else:
            self.post_message(self.Removed(run))

    def on_runs_page_removed(self, event: Removed) -> None:
        """Say what became of it."""
        if event.problem:
            self._say(event.problem)
            return
        self._lines = [line for line in self._lines if line.run != event.run]
        self._show()
        self.notify(f"{event.run.id} is deleted", markup=False)


def _sides(lines: list[RunLine]) -> tuple[Side, Side] | None:
    """Two runs as sides: a model that both have, or the first of each; of one run, its first two models."""
    models = [list(line.summary.models) if line.summary else [] for line in lines]
    if len(lines) == 1 and len(models[0]) > 1:
        return Side(lines[0].run, models[0][0]), Side(lines[0].run, models[0][1])
    if len(lines) != 2 or not all(models):
        return None
    common = next((model for model in models[0] if model in models[1]), None)
    a, b = (common or names[0] for names in models)
    return Side(lines[0].run, a), Side(lines[1].run, b)
