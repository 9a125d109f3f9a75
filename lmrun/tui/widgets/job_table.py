"""The jobs of a run, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from lmrun.display.format import brief, job_name
from lmrun.tui.actions import TABLE, bindings
from lmrun.tui.job_list import ENDED, ORDERS, current, progress
from lmrun.tui.state import JobLine
from lmrun.tui.text import one_line
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable
from lmrun.tui.words import bar, job_score, percentage, remaining, speed

BAR = 10
WIDE = 100
NEVER = 9999
"""Of columns that are left out at any width."""
MARKS = {
    "done": ("✓", "good"),
    "failed": ("✗", "bad"),
    "skipped": ("‖", "warn"),
    "answering": ("▸", "live"),
    "scoring": ("▸", "live"),
    "rendering": ("▸", "live"),
    "looking up": ("▸", "live"),
}
"""By state: sign and style; those that wait have ``·``."""


def columns(jobs: Sequence[JobLine], order: str, width: int) -> tuple[Column, ...]:
    """Columns for what there is to show: several models, scores, doubts …"""
    several = len({job.model for job in jobs}) > 1
    live = any(job.state not in ENDED for job in jobs)
    titles = {title: f"{title} ▾" if title == order else title for title in ORDERS}
    model = min(24 if width >= 120 else 18 if width >= WIDE else 10, max((len(job.model) for job in jobs), default=0))
    return (
        Column("", 1),
        Column(titles["task"], 0, middle=True),
        Column(titles["model"], max(7, model), least=60 if several else NEVER),
        Column(titles["progress"], BAR, least=76),
        Column("", 4),
        Column("requests", 13, right=True, least=90),
        Column("metric", min(16, max(6, *(len(job.metric) for job in jobs), 0)), least=WIDE + 14 * several),
        Column(titles["score"], 20, least=50),
        Column(titles["tok/s"], 7, right=True, least=WIDE if live else NEVER),
        Column("hits", 6, right=True, least=124),
        Column(titles["err"], 5, right=True, least=60),
        Column(titles["ETA"], 6, right=True, least=76 if live else NEVER),
        Column("remarks", 40, least=165),
    )


def cells(job: JobLine) -> Row:
    """A job in cells."""
    ended = job.state in ENDED
    # A server gets the requests of all jobs at once: those whose turn has not come wait as others do.
    untouched = job.state in ("answering", "looking up") and not job.done
    mark, style = ("·", "dim") if untouched else MARKS.get(job.state, ("·", "dim"))
    quiet = "" if ended or (job.state in MARKS and not untouched) else "dim"
    done = progress(job)
    requests = f"{job.done:,}" if job.state == "done" or not job.requests else f"{job.done:,}/{brief(job.requests)}"
    started = bool(job.requests) or job.state == "done"
    return (
        Cell(mark, style),
        Cell(one_line(job_name(job.label)), quiet),
        Cell(one_line(job.model), "dim"),
        Cell(bar(done, BAR) if started else job.state, "full" if ended else "bar" if started else "dim"),
        Cell(f"{int(100 * done):3d}%" if started else "", quiet),
        Cell(requests if started else f"{job.docs:,} docs" if job.docs else "", quiet),
        Cell(one_line(job.metric), "dim"),
        Cell(job_score(job) or one_line(job.error), "bad" if job.value is None else "strong"),
        Cell(speed(job.tokens_per_second)),
        Cell(percentage(job.cache_hits, job.requests) if job.cache_hits else "", "dim"),
        Cell(f"{job.errors:,}" if job.errors else "", "bad"),
        Cell("" if ended else remaining(job.eta)),
        Cell(one_line(job.error if job.state == "failed" else job.remarks), "warn"),
    )


class JobTable(VirtualTable, inherit_bindings=False):
    """Draws again only the lines of jobs that changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"virtual--bar", "virtual--full", "virtual--live"}
    DEFAULT_CSS = """
    JobTable .virtual--bar { color: $primary; }
    JobTable .virtual--full { color: $primary 35%; }
    JobTable .virtual--live { color: $text-accent; text-style: bold; }
    """

    # Enter is the page's: it says what it does there.
    BINDINGS: ClassVar[list[BindingType]] = bindings("table", tuple(a for a in TABLE if a.name != "choose"))

    def __init__(self) -> None:
        super().__init__((), lambda start, stop: (), id="jobs")
        self.jobs: Sequence[JobLine] = ()
        self._drawn_as: tuple[Column, ...] = ()
        self._put = 0
        self._moved = False
        """The user has moved the cursor: it stays on its job."""

    def show(self, jobs: Sequence[JobLine], order: str) -> None:
        """Jobs as they are now, in the order to be shown."""
        before, at = self.jobs, self.job
        self.jobs = jobs
        titles = columns(jobs, order, self.size.width)
        if titles != self._drawn_as or len(jobs) != len(before):
            self._drawn_as = titles
            self.renew(len(jobs), columns=titles)
        else:
            self._renew_changed(before)
        self._keep(at)

    @property
    def job(self) -> JobLine | None:
        """The job under the cursor."""
        return self.jobs[self.cursor] if self.cursor < len(self.jobs) else None

    def follow(self) -> None:
        """Stay with what is worked on, until the user moves the cursor."""
        self._moved = False

    def _renew_changed(self, before: Sequence[JobLine]) -> None:
        seen = self.visible_rows
        for place in range(seen.y, min(seen.bottom, len(self.jobs))):
            if self.jobs[place] != before[place]:
                self.refresh_line(place + 1)

    def _row(self, row: int) -> Row:
        """All jobs are here: what is drawn again is made again, and nothing else."""
        return cells(self.jobs[row])

    def _keep(self, at: JobLine | None) -> None:
        """The cursor stays on its job where the user has put it; otherwise it goes to what is worked on."""
        if self.cursor != self._put:
            self._moved = True
        place = current(self.jobs)
        if self._moved and at is not None:
            same = [place for place, job in enumerate(self.jobs) if (job.model, job.label) == (at.model, at.label)]
            place = same[0] if same else self.cursor
        if place != self.cursor:
            self.move_to(place)
            if not self._moved:  # with some of what comes next
                self.scroll_to(y=max(0, place - self._height() // 2), animate=False, force=True)
        self._put = self.cursor
