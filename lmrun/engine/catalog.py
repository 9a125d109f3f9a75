"""The tasks that can be named: bundled ones and those of the user's folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmrun import bundled
from lmrun.tasks import TaskCatalog


def task_catalog(extra: Sequence[Path]) -> TaskCatalog:
    """Bundled tasks and those of extra folders, which win."""
    return TaskCatalog([bundled.tasks_dir(), *extra])
