"""Task YAML to prompts and requests."""

from lmrun.tasks.catalog import TaskCatalog
from lmrun.tasks.config import FewshotConfig, TaskConfig
from lmrun.tasks.index import Entry
from lmrun.tasks.render import PromptSettings, Renderer
from lmrun.tasks.select import AggregateSpec, Group, Selection
from lmrun.tasks.task import Task, TaskFacts

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
]
