"""The tasks of a stored run, as their files state them now."""

from __future__ import annotations

from pathlib import Path

from lmrun.store.records import JobView
from lmrun.tasks import TaskCatalog, TaskConfig


def current_config(catalog: TaskCatalog, job: JobView) -> TaskConfig | None:
    """What the task file of a job says now; None where it is gone. Raises :class:`~lmrun.errors.TaskError`."""
    name = job.setting["name"]
    if name not in catalog.names() and job.task not in catalog.names() and not Path(name).exists():
        return None
    tasks = catalog.resolve(name, metadata=job.setting.get("metadata")).tasks
    return next((task for task in tasks if task.task == job.task), None)
