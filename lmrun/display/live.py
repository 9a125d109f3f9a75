"""A live table on a terminal: one line per job, two for the whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmrun.display.base import stall
from lmrun.display.format import duration, job_name, safe, spending
from lmrun.engine.progress import JobProgress, Snapshot

_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "answering": ("▸", "cyan"), "scoring": ("▸", "cyan")}


class LiveSink:
    """Redraws four times a second at the bottom of the terminal; notes scroll above."""

    interval = 0.25

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._notes = 0

    def draw(self, snapshot: Snapshot) -> None:
        """Redraw."""
        for note in snapshot.notes[self._notes :]:
            self._console.print(Text(safe(note)))
        self._notes = len(snapshot.notes)
        self._live.update(self._render(snapshot), refresh=True)

    def close(self, snapshot: Snapshot) -> None:
        """Remove the live part; the results take its place."""
        self.draw(snapshot)
        self._live.stop()

    def _render(self, snapshot: Snapshot) -> RenderableType:
        rows = max(3, min(16, self._console.height - 7))
        status = [Text(f"  {line}", style="bold") for line in _status(snapshot)]
        for line in status:
            # A line as wide as the terminal would break where Ctrl-C echoes, and leave a piece of the table behind.
            line.truncate(self._console.width - 6, overflow="ellipsis")
        return Group(_jobs_table(_visible(snapshot.jobs, rows), len(snapshot.jobs)), *status)


def _visible(jobs: Sequence[JobProgress], rows: int) -> Sequence[JobProgress]:
    """The window of jobs around the first unfinished one."""
    current = next((i for i, job in enumerate(jobs) if job.state not in ("done", "failed")), len(jobs))
    start = max(0, min(current - rows // 2, len(jobs) - rows))
    return jobs[start : start + rows]


def _jobs_table(jobs: Sequence[JobProgress], total: int) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    several = len({job.model for job in jobs}) > 1
    table.add_column("", min_width=1, no_wrap=True)
    # The columns that give way on a narrow terminal, the wider one first; their text is cut, not wrapped.
    table.add_column("task")
    if several:
        table.add_column("model", no_wrap=True)
    table.add_column("progress", min_width=14, no_wrap=True)
    counted = {
        "requests": [f"{job.done:,}/{job.requests:,}" if job.requests else "" for job in jobs],
        "cache": [f"{job.cache_hits:,}" if job.cache_hits else "" for job in jobs],
        "errors": [f"[red]{job.errors:,}[/]" if job.errors else "" for job in jobs],
    }
    counted = {name: cells for name, cells in counted.items() if any(cells)}
    for name in counted:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("score")
    for place, job in enumerate(jobs):
        mark, style = _MARKS.get(job.state, ("·", "dim"))
        table.add_row(
            Text(mark, style=style),
            Text(job_name(job.label), style="" if job.state != "waiting" else "dim", no_wrap=True, overflow="ellipsis"),
            *([Text(job.model, style="dim")] if several else []),
            ProgressBar(total=max(1, job.requests), completed=job.done, width=14) if job.requests else Text(job.state),
            *(cells[place] for cells in counted.values()),
            _score(job),
        )
    if total > len(jobs):
        table.caption = f"{len(jobs)} of {total} jobs"
    return table


def _score(job: JobProgress) -> Text:
    score = Text.assemble(job.headline, (f"  {job.remarks}" if job.remarks else "", "yellow"))
    score.no_wrap, score.overflow = True, "ellipsis"
    return score


def _status(snapshot: Snapshot) -> list[str]:
    """The whole of the run, and what happens right now."""
    parts = [duration(snapshot.elapsed), "paused" if snapshot.paused else snapshot.phase]
    if snapshot.requests:
        parts.append(f"{snapshot.done:,}/{snapshot.requests:,}")
    if snapshot.rate is not None:
        parts.append(f"{snapshot.rate:,.1f} requests/s")
    if snapshot.eta is not None and snapshot.phase == "answering":
        parts.append(f"ETA {duration(snapshot.eta)}")
    if snapshot.tokens:
        parts.append(spending(snapshot.usd, snapshot.tokens))
    if words := stall(snapshot):
        parts.append(words)
    return [" · ".join(parts), *([safe(snapshot.detail)] if snapshot.detail else [])]
