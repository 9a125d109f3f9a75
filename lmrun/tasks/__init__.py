"""Task YAML to prompts and requests.

The names below are imported when they are asked for: a listing of tasks needs the index alone, and does not wait.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.tasks.catalog import TaskCatalog
    from lmrun.tasks.config import FewshotConfig, TaskConfig
    from lmrun.tasks.index import Entry
    from lmrun.tasks.python_task import build_task
    from lmrun.tasks.render import PromptSettings, Renderer
    from lmrun.tasks.select import AggregateSpec, Group, Selection
    from lmrun.tasks.task import Task, TaskFacts

_HOMES = {
    "catalog": ("TaskCatalog",),
    "config": ("FewshotConfig", "TaskConfig"),
    "index": ("Entry",),
    "python_task": ("build_task",),
    "render": ("PromptSettings", "Renderer"),
    "select": ("AggregateSpec", "Group", "Selection"),
    "task": ("Task", "TaskFacts"),
}

__all__ = [
    "AggregateSpec",
    "Entry",
    "FewshotConfig",
    "Group",
    "PromptSettings",
    "Renderer",
    "Selection",
    "Task",
    "TaskCatalog",
    "TaskConfig",
    "TaskFacts",
    "build_task",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"lmrun.tasks.{home}"), name)
    raise AttributeError(name)
