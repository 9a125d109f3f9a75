"""The page dashboard: how a run goes, and its controls."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Horizontal

from lmrun.store.reader import SampleQuery
from lmrun.tui.filters import Filter, parse_filter
from lmrun.tui.job_list import KEYS, ORDERS, listed
from lmrun.tui.pages.base import Page
from lmrun.tui.state import LIVE, JobLine, RunView
from lmrun.tui.widgets.confirm import Confirm
from lmrun.tui.widgets.devices_strip import DevicesStrip, has_devices
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.job_table import JobTable
from lmrun.tui.widgets.models_strip import ModelsStrip
from lmrun.tui.widgets.now_line import NowLine
from lmrun.tui.widgets.strips import Strip
from lmrun.tui.widgets.totals_strip import TotalsStrip
from lmrun.tui.widgets.virtual import VirtualTable

HINT = "words, task:mmlu*, model:…, state:failed"


class DashboardPage(Page):
    """Models, devices, totals, jobs."""

    page = "dashboard"
    DEFAULT_CSS = """
    DashboardPage #machine { height: auto; }
    DashboardPage DevicesStrip { width: 1fr; }
    DashboardPage TotalsStrip { width: 1fr; }
    DashboardPage.-narrow #machine, DashboardPage.-short #machine { layout: vertical; }
    DashboardPage.-narrow #machine > *, DashboardPage.-short #machine > * { width: 100%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._filter = Filter(keys=KEYS)
        self._order = ""
        self._view: RunView | None = None

    def body(self) -> ComposeResult:
        """Strips above, the jobs below."""
        yield ModelsStrip()
        with Horizontal(id="machine"):
            yield TotalsStrip()
            yield DevicesStrip()
        yield NowLine()
        yield JobTable()
        yield FilterBar(lambda text: parse_filter(text, KEYS), HINT)

    def on_mount(self) -> None:
        """The keys go to the jobs."""
        self.jobs.focus()

    def on_resize(self) -> None:
        """Strips are boxes or bare lines."""
        for strip in self.query(Strip):
            strip.show(self._view)

    def offers(self, action: str) -> bool:
        """The engine's keys while one works, those that start one when there is something left to do."""
        view = self._view
        match action:
            case "pause":
                return view is not None and view.state in LIVE
            case "resume":
                return view is not None and view.state in ("interrupted", "dead")
            case "retry_errors":
                return view is not None and view.state == "incomplete"
            case "samples" | "errors" | "plots":
                return view is not None
        return True

    @property
    def jobs(self) -> JobTable:
        """The table."""
        return self.query_one(JobTable)

    def draw(self, view: RunView | None) -> None:
        """Bring everything up to date."""
        if view is None or self._view is None or view.id != self._view.id:
            self.jobs.follow()
        before, self._view = self._view, view
        if (before and before.state) != (view and view.state):
            self.refresh_bindings()
        self.query_one(ModelsStrip).show(view)
        self.query_one(TotalsStrip).show(view)
        devices = self.query_one(DevicesStrip)
        devices.display = has_devices(view)
        devices.show(view)
        self._show_jobs()

    def _show_jobs(self) -> None:
        jobs = self._view.jobs if self._view else ()
        found = listed(jobs, self._filter, self._order)
        self.jobs.show(found, self._order)
        self.query_one(NowLine).show(self._view, self.jobs.job)
        self.query_one(FilterBar).say(f"{len(found)} of {len(jobs)} jobs" if self._filter else "")

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """Say what is wrong with the job under the cursor."""
        self.query_one(NowLine).show(self._view, self.jobs.job)

    # -- what is listed ------------------------------------------------------------------------------------------------

    def on_virtual_table_chosen(self, event: VirtualTable.Chosen) -> None:
        """Enter on a job."""
        self.action_samples()

    def action_samples(self) -> None:
        """Samples of the job."""
        if job := self.jobs.job:
            self.lmrun.samples(SampleQuery(model=job.model, task=job.label))

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """List others."""
        self._filter = parse_filter(event.text, KEYS)
        self._show_jobs()

    def action_sort(self) -> None:
        """The next column."""
        orders = list(ORDERS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show_jobs()

    def action_errors(self) -> None:
        """Errors by kind."""
        from lmrun.tui.pages.errors import ErrorsScreen

        if run := self.lmrun.run_directory:
            self.app.push_screen(ErrorsScreen(run), self._after_errors)
        else:
            self.lmrun.say("there is no run yet", severity="warning")

    def _after_errors(self, again: bool | None) -> None:
        if again:
            self.action_retry_errors()

    def action_plots(self) -> None:
        """Plots of the run."""
        from lmrun.tui.pages.plots import PlotsScreen  # what draws them takes long to import

        if run := self.lmrun.run_directory:
            self.app.push_screen(PlotsScreen(run))
        else:
            self.lmrun.say("there is no run yet", severity="warning")

    # -- commands ------------------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Pause, or go on."""
        self.lmrun.command("resume" if self._view and self._view.state == "paused" else "pause")

    def action_faster(self) -> None:
        """More at once."""
        self.lmrun.command("faster")

    def action_slower(self) -> None:
        """Fewer at once."""
        self.lmrun.command("slower")

    def action_retry_errors(self) -> None:
        """Ask again what failed: by the engine that works, or by one that is started for it."""
        view, run = self._view, self.lmrun.run_directory
        if view and run and view.state not in LIVE:
            self.lmrun.resume(run)
        else:
            self.lmrun.command("retry_errors")

    def action_skip_job(self) -> None:
        """Leave out a job."""
        if job := self.jobs.job:
            self._ask("skip job", f"Leave out what is left of {_named(job)}?", "skip it", lambda: self._skip(job))

    def _skip(self, job: JobLine) -> None:
        self.lmrun.command("skip_job", model=job.model, label=job.label)

    def action_stop(self) -> None:
        """Stop the run."""
        question = "Stop the run? What is answered is kept, and R goes on with it."
        self._ask("stop", question, "stop it", lambda: self.lmrun.command("stop"))

    def _ask(self, title: str, question: str, yes: str, do: Callable[[], None]) -> None:
        if not (self._view and self._view.state in LIVE):
            self.notify("no engine works on this run; R goes on with it", severity="warning", markup=False)
            return
        self.app.push_screen(Confirm(title, question, yes), lambda agreed: do() if agreed else None)

    def action_resume(self) -> None:
        """Go on with the run."""
        if self._view and self._view.state == "paused":
            self.lmrun.command("resume")
        elif run := self.lmrun.run_directory:
            self.lmrun.resume(run)


def _named(job: JobLine) -> str:
    return f"{job.label} of {job.model}"
