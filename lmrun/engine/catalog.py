"""The tasks that can be named, bundled ones and those of the user's folders, and those that a manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmrun import bundled
from lmrun.errors import LmrunError, Location, Problem
from lmrun.manifest import TaskSetting
from lmrun.tasks import Selection, TaskCatalog


def task_catalog(extra: Sequence[Path]) -> TaskCatalog:
    """Bundled tasks and those of extra folders, which win."""
    return TaskCatalog([bundled.tasks_dir(), *extra])


def select_tasks(
    settings: Sequence[TaskSetting], catalog: TaskCatalog
) -> tuple[list[tuple[TaskSetting, Selection]], list[Problem]]:
    """What each setting means, and what is wrong with those that mean nothing."""
    selected: list[tuple[TaskSetting, Selection]] = []
    problems: list[Problem] = []
    for setting in settings:
        base = setting.location.file.parent if setting.location else None
        try:
            selected.append((setting, catalog.resolve(setting.name, base, setting.metadata)))
        except LmrunError as error:
            problems.extend(placed(error, setting))
    return selected, problems


def placed(error: LmrunError, setting: TaskSetting, place: Location | None = None) -> tuple[Problem, ...]:
    """The problems of an error, at ``place`` or in the manifest where they have none of their own."""
    place = place or setting.location
    if not error.problems:
        return (Problem(error.message, place, hint=error.hint),)
    return tuple(p if p.location else Problem(p.message, place, p.expected, p.hint) for p in error.problems)
