"""Which tasks there are, and which of them have data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from lmrun.bundled import tasks_dir
from lmrun.data import DatasetSpec, DataSource
from lmrun.data.local import LOCAL_BUILDERS, is_remote
from lmrun.errors import DataError, LmrunError
from lmrun.tasks import TaskCatalog, TaskConfig
from tests.library.mirror import make_mirror


class Library:
    """The tasks of one folder: lmrun's own, or those that ``--tasks-path`` names."""

    def __init__(self, folder: Path | None, cache: Path) -> None:
        self.folder = (folder or tasks_dir()).resolve()
        self.catalog = TaskCatalog([self.folder], cache)

    def names(self, kind: str, patterns: str) -> list[str]:
        """Names of one kind (``task``, ``python``, ``group``) that fit comma-separated patterns."""
        entries = (entry for entry in self.catalog.entries() if entry.kind == kind)
        return [e.name for e in entries if any(fnmatchcase(e.name, p) for p in patterns.split(","))]

    def leaves(self, group: str) -> tuple[str, ...]:
        """Names of all tasks beneath a group; none where it cannot be resolved."""
        try:
            return tuple(config.task for config in self.catalog.resolve(group).tasks)
        except LmrunError:
            return ()

    def groups_of(self, tasks: Collection[str], patterns: str = "*") -> list[str]:
        """Groups of nothing but these tasks."""
        known = set(tasks)
        leaves = {group: set(self.leaves(group)) for group in self.names("group", patterns)}
        return [group for group, below in leaves.items() if below and below <= known]

    def dataset(self, task: str) -> DatasetSpec | None:
        """Where the docs of a task come from; None where code makes them or its file is broken."""
        try:
            (config,) = self.catalog.resolve(task).tasks
        except LmrunError:
            return None
        return dataset_of(config)


def dataset_of(config: TaskConfig) -> DatasetSpec | None:
    """The dataset that a task names; code may make the docs of it."""
    if not config.dataset_path:
        return None
    kwargs = {key: value for key, value in (config.dataset_kwargs or {}).items() if key != "trust_remote_code"}
    return DatasetSpec(config.dataset_path, config.dataset_name, kwargs)


def with_data(library: Library, tasks: Sequence[str], mirror: Path) -> list[str]:
    """The tasks whose dataset is in the mirror, or needs none."""
    source = DataSource(mirror, offline=True)
    return [task for task in tasks if _has_data(library.dataset(task), source)]


def _has_data(spec: DatasetSpec | None, source: DataSource) -> bool:
    if spec is None or (spec.path in LOCAL_BUILDERS and not is_remote(spec)):
        return True  # code makes the docs, or they are in files beside the task's
    try:
        return bool(source.splits(spec))
    except DataError:
        return False


def fixtures_mirror(library: Library, tasks: Sequence[str], out: Path) -> Path:
    """A mirror of invented rows for all tasks that there are rows for."""
    specs = (library.dataset(task) for task in tasks)
    make_mirror([spec for spec in specs if spec is not None], out)
    return out
