"""Scores of jobs as points with whiskers over their 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from lmrun.display.format import job_name
from lmrun.tui.state import JobLine
from lmrun.tui.text import fit, one_line
from lmrun.tui.words import job_score

SCORE = 20
"""Cells of a score in words."""
TICKS = (0, 25, 50, 75, 100)


class ScorePlot(Widget):
    """A line per job, tasks together, from 0 to 100%; what is no percentage has words only."""

    DEFAULT_CSS = "ScorePlot { height: auto; text-wrap: nowrap; }"

    def __init__(self) -> None:
        super().__init__()
        self._jobs: Sequence[JobLine] = ()

    def show(self, jobs: Sequence[JobLine]) -> None:
        """Jobs of the run."""
        scored = [job for job in jobs if job.value is not None]
        if scored != self._jobs:
            self._jobs = scored
            self.refresh(layout=True)

    def render(self) -> RenderResult:
        """All lines."""
        if not self._jobs:
            return Content.styled("no job has a score yet", "dim")
        return Content("\n").join(plotted(self._jobs, self.content_size.width or self.app.size.width))

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """A line per job and one for the scale."""
        return len(self._jobs) + 2 if self._jobs else 1


def plotted(jobs: Sequence[JobLine], width: int) -> list[Content]:
    """The plot, with its scale above and below."""
    several = len({job.model for job in jobs}) > 1
    order = {label: place for place, label in reversed(list(enumerate(job.label for job in jobs)))}
    grouped = sorted(jobs, key=lambda job: order[job.label])
    task = _widest([job_name(job.label) for job in jobs], width // 4)
    model = _widest([job.model for job in jobs], width // 6) if several else 0
    axis = max(11, width - task - 1 - (model + 1 if model else 0) - SCORE - 2)
    lines, last = [_scale(task, model, axis)], ""
    for job in grouped:
        name = "" if job.label == last else one_line(job_name(job.label))
        last = job.label
        parts = [Content.styled(fit(name, task), "bold"), Content(" ")]
        if model:
            parts += [Content.styled(fit(one_line(job.model), model), "dim"), Content(" ")]
        lines.append(Content("").join([*parts, _line(job, axis), Content(f"  {fit(job_score(job), SCORE)}")]))
    return [*lines, _scale(task, model, axis)]


def _widest(words: Sequence[str], most: int) -> int:
    return min(most, max(map(cell_len, words)))


def _scale(task: int, model: int, axis: int) -> Content:
    line = [" "] * axis
    for tick in TICKS:
        words, place = str(tick), _cell(tick / 100, axis)
        start = max(0, min(place - len(words) // 2, axis - len(words)))
        line[start : start + len(words)] = words
    return Content.styled(" " * (task + 1 + (model + 1 if model else 0)) + "".join(line), "dim")


def _cell(share: float, axis: int) -> int:
    return round(share * (axis - 1))


def _line(job: JobLine, axis: int) -> Content:
    grid = [" "] * axis
    for tick in TICKS:
        grid[_cell(tick / 100, axis)] = "┊"
    if not job.percent or job.value is None:
        return Content.styled(fit(f"{job.metric}: no percentage", axis), "dim italic")
    middle = _cell(job.value, axis)
    low, high = (_cell(bound, axis) for bound in job.interval or (job.value, job.value))
    whisker = ["─"] * (high - low + 1)
    if high > low:
        whisker[0], whisker[-1] = "├", "┤"
    whisker[max(0, min(middle - low, len(whisker) - 1))] = "●"
    before, after = "".join(grid[:low]), "".join(grid[high + 1 :])
    return Content.assemble((before, "dim"), ("".join(whisker), "$primary"), (after, "dim"))
