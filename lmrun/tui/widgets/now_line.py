"""What goes on right now, or what the user must know first, in one line."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from lmrun.display.format import job_name
from lmrun.tui.state import LIVE, JobLine, RunView
from lmrun.tui.text import one_line


class NowLine(Widget):
    """Trouble first: a dead engine, files that cannot be read, silence; then the phase, and the newest note."""

    DEFAULT_CSS = """
    NowLine { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; color: $text-muted; }
    NowLine.-bad { background: $error-muted; color: $text-error; text-style: bold; }
    NowLine.-warn { color: $text-warning; }
    """
    words: reactive[str] = reactive("")

    def show(self, view: RunView | None, job: JobLine | None) -> None:
        """The run as it is now, and the job under the cursor."""
        style, words = said(view, job)
        self.set_class(style == "bad", "-bad")
        self.set_class(style == "warn", "-warn")
        self.words = one_line(words, 500)

    def render(self) -> RenderResult:
        """The line."""
        return Content(self.words)


def said(view: RunView | None, job: JobLine | None) -> tuple[str, str]:
    """How the line is drawn (``bad``, ``warn`` or plainly), and its words."""
    if view is None:
        return "", "no run is open · 2 lists runs · 5 starts a manifest"
    if view.problem:
        return "bad", f"✗ {view.problem}"
    if view.state == "dead":
        return "bad", "✗ the engine is gone · R goes on with the run: what has an answer is not asked again"
    if view.state == "paused":
        return "warn", "‖ paused: nothing is asked · p goes on"
    if view.stalled:
        return "warn", f"! {view.stalled}"
    # What is left to do comes before what is doubtful about one job.
    first = f"{_phase(view)} · " if view.state in ("interrupted", "incomplete") else ""
    if job and job.error and job.state == "failed":
        return "warn", f"{first}✗ {job_name(job.label)}: {job.error}"
    if job and job.remarks:
        return "warn", f"{first}! {job_name(job.label)}: {job.remarks}"
    return "", _phase(view)


def _phase(view: RunView) -> str:
    if view.state == "interrupted":
        stopped = view.facts.get("stopped")
        return f"■ stopped{f' by {stopped}' if stopped else ''} · R goes on with the run"
    if view.state == "incomplete":
        return "! some samples are errors · e shows them · E asks them again"
    if view.state not in LIVE:
        return "✓ everything is answered and scored · ⏎ shows samples of a job · v plots the scores"
    parts = [view.phase, view.detail, view.notes[-1].splitlines()[0] if view.notes else ""]
    return " · ".join(part for part in parts if part)
