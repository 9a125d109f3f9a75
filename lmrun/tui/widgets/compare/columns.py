"""Columns of the table that compares two sides task by task.

The table is made from :func:`task_columns`: a list of columns, each with a title and a function that makes its cell of
a :class:`~lmrun.store.pairs.TaskPair`. A column that says more of the difference (its interval, a test, a verdict) is
one more object in that list; the function is given all tasks, for what depends on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmrun.display.format import brief, job_name
from lmrun.scoring.score import HEADLINES
from lmrun.store.pairs import MetricPair, TaskPair
from lmrun.tui.text import one_line
from lmrun.tui.widgets.virtual import Cell, Column


@dataclass(frozen=True, slots=True)
class TaskColumn:
    """A column, and how its cells come from tasks."""

    column: Column
    cell: Callable[[TaskPair], Cell]


def task_columns(tasks: Sequence[TaskPair]) -> list[TaskColumn]:
    """The columns of the table of these tasks."""
    return [
        TaskColumn(Column("task", 0, middle=True), _task),
        TaskColumn(Column("metric", 16, least=100), _metric),
        TaskColumn(Column("A", 7, right=True), lambda task: _score(task, "a")),
        TaskColumn(Column("B", 7, right=True), lambda task: _score(task, "b")),
        TaskColumn(Column("Δ B−A", 8, right=True), _difference),
        TaskColumn(Column("n", 6, right=True), lambda task: _count(task.common, counts=_is_common(task))),
        TaskColumn(Column("both", 6, right=True), lambda task: _quadrant(task, task.both)),
        TaskColumn(Column("A only", 6, right=True), lambda task: _quadrant(task, task.only_a)),
        TaskColumn(Column("B only", 6, right=True), lambda task: _quadrant(task, task.only_b)),
        TaskColumn(Column("none", 6, right=True), lambda task: _quadrant(task, task.none)),
    ]


def task_row(task: TaskPair, columns: Sequence[TaskColumn]) -> list[Cell]:
    """A line of the table; dim where there is nothing to compare."""
    cells = [column.cell(task) for column in columns]
    return cells if task.common else [Cell(cell.text, "dim") for cell in cells]


def headline(task: TaskPair) -> MetricPair | None:
    """The metric that stands for the task: the one that says right or wrong, else the task's first."""
    order = {name: place for place, name in enumerate(HEADLINES)}
    return min(task.metrics, key=lambda metric: order.get(metric.metric, len(order)), default=None)


def why_not(task: TaskPair) -> str:
    """Why a task cannot be compared; empty if it can."""
    if task.docs_a is None:
        return "only in B"
    if task.docs_b is None:
        return "only in A"
    if task.common:
        return ""
    return "docs differ" if task.differing else "no docs in common"


def remarks(task: TaskPair) -> str:
    """What to know of a comparison: what was left out, and what was not the same."""
    if reason := why_not(task):
        return f"not comparable: {reason}"
    found = []
    if task.differing:
        found.append(f"{brief(task.differing)} not comparable (the docs differ)")
    for side, docs in (("A", task.docs_a), ("B", task.docs_b)):
        if alone := (docs or 0) - task.common - task.differing:
            found.append(f"{brief(alone)} only in {side}")
    if unscored := task.common - task.scored:
        found.append(f"{brief(unscored)} not scored on both sides")
    if task.other_prompts:
        found.append(f"≠ {brief(task.other_prompts)} asked with another prompt")
    return " · ".join(found)


def metric_words(metric: MetricPair) -> str:
    """``exact_match (strict-match) ↑``."""
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    pipeline = f" ({metric.filter})" if metric.filter not in ("none", "") else ""
    return one_line(metric.metric + pipeline) + arrow


def score_words(value: object) -> str:
    """A score in seven characters."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 10_000 else f"{value:.1e}"


def difference_words(metric: MetricPair) -> str:
    """B less A with its sign, e.g. ``+0.0133``."""
    if not metric.paired or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in (metric.a, metric.b)
    ):
        return "–"
    words = score_words(metric.b - metric.a)
    return words if words.startswith("-") else f"+{words}" if metric.b != metric.a else "0"


def _task(task: TaskPair) -> Cell:
    reason = why_not(task)
    mark = "≠ " if task.other_prompts else ""
    return Cell(mark + one_line(job_name(task.label)) + (f"  {reason}" if reason else ""))


def _metric(task: TaskPair) -> Cell:
    metric = headline(task)
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better] if metric else ""
    return Cell(one_line(metric.metric) + arrow if metric else "", "dim")


def _score(task: TaskPair, side: str) -> Cell:
    metric = headline(task)
    if metric is None:
        return Cell("–" if task.common else "")
    return Cell(score_words(metric.a if side == "a" else metric.b), "" if metric.paired else "dim")


def _difference(task: TaskPair) -> Cell:
    metric = headline(task)
    return Cell(difference_words(metric) if metric else "", "strong")


def _is_common(task: TaskPair) -> bool:
    return task.docs_a is not None and task.docs_b is not None


def _count(count: int, *, counts: bool) -> Cell:
    return Cell(brief(count) if counts else "")


def _quadrant(task: TaskPair, count: int) -> Cell:
    return _count(count, counts=task.judged > 0)
