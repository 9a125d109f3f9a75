"""All the tasks that can be asked for: an index over folders, and what a pattern selects from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmrun.errors import Problem
from lmrun.tasks.index import Entry, TaskIndex, all_names, build_index
from lmrun.tasks.index_cache import default_cache_folder

if TYPE_CHECKING:
    from lmrun.tasks.select import Selection


class TaskCatalog:
    """Tasks, groups and tags of some folders; a later folder wins over an earlier one.

    The folders are looked at on first use. What was learned of their files is kept in ``cache_folder`` for the
    next start (by default in the user's cache folder, or ``$LMRUN_CACHE_DIR``).
    """

    def __init__(self, folders: Sequence[Path], cache_folder: Path | None = None) -> None:
        self._folders = tuple(folders)
        self._cache_folder = cache_folder or default_cache_folder()

    @cached_property
    def index(self) -> TaskIndex:
        """What the folders hold. Raises :class:`~lmrun.errors.TaskError` where one of them does not exist."""
        return build_index(self._folders, self._cache_folder)

    def names(self, kind: Literal["task", "group", "tag"] | None = None) -> list[str]:
        """Names of one kind, or all names, sorted."""
        return all_names(self.index.entries.values(), kind)

    def entries(self) -> list[Entry]:
        """Everything in the index, sorted by name."""
        return [self.index.entries[name] for name in sorted(self.index.entries)]

    def problems(self) -> tuple[Problem, ...]:
        """Files that could not be indexed, and names that are taken twice."""
        return self.index.problems

    def resolve(self, pattern: str, base: Path | None = None, metadata: Mapping[str, Any] | None = None) -> Selection:
        """The tasks and groups that a name, a wildcard, or the path of YAML files or of their folder stands for.

        A relative path counts from ``base``. ``metadata`` is put over that of every task. Raises
        :class:`~lmrun.errors.TaskError`.
        """
        from lmrun.tasks.select import Resolver

        return Resolver(self.index, metadata).resolve(pattern, base)
