"""Which code runs, and where: the implementation of :class:`~lmrun.functions.Functions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lmrun.code.bundled import BundledCode, is_bundled
from lmrun.code.failures import Failure, task_error
from lmrun.code.sources import source_hash
from lmrun.code.trees import Target, Trees, installed_lm_eval, locate
from lmrun.code.trusted import TrustedCode
from lmrun.data import Split
from lmrun.errors import TaskError
from lmrun.functions import ClassTaskFacts, FunctionRef, OpenDataset


class TaskFunctions:
    """Runs the code of lmrun's own tasks in process, and that of trusted folders in a child process.

    :meth:`close` ends the child; so does the end of this object, or of lmrun.
    """

    def __init__(self, trusted: Sequence[Path] = (), *, offline: bool = False) -> None:
        """``trusted`` are the folders whose code may run, each with all that is below it."""
        self._trees = Trees(trusted, installed_lm_eval())
        self._bundled = BundledCode()
        self._trusted = TrustedCode(trusted, offline)
        self._folders: dict[Path, BundledCode | TrustedCode | None] = {}
        self._hashes: dict[Target, str] = {}

    def __enter__(self) -> TaskFunctions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process, if there is one."""
        self._trusted.close()

    def check(self, ref: FunctionRef) -> None:
        """See :class:`~lmrun.functions.Functions`."""
        self._code(ref).check(ref)

    def source_hash(self, ref: FunctionRef) -> str:
        """See :class:`~lmrun.functions.Functions`."""
        target = locate(ref)
        if target not in self._hashes:
            self._hashes[target] = source_hash(target, self._trees)
        return self._hashes[target]

    def call(self, ref: FunctionRef, *args: Any, **kwargs: Any) -> Any:
        """See :class:`~lmrun.functions.Functions`."""
        return self._code(ref).call(ref, args, kwargs)

    def process_docs(self, ref: FunctionRef, split: Split, after: Callable[[], Split | None] = lambda: None) -> Split:
        """See :class:`~lmrun.functions.Functions`."""
        return self._code(ref).process_docs(ref, split, after)

    def custom_dataset(
        self, ref: FunctionRef, kwargs: Mapping[str, Any], source: Callable[[str], Split]
    ) -> Mapping[str, Split]:
        """See :class:`~lmrun.functions.Functions`."""
        return self._code(ref).custom_dataset(ref, kwargs, source)

    def has_filter(self, name: str) -> bool:
        """See :class:`~lmrun.functions.Functions`."""
        return self._trusted.has_filter(name)

    def apply_filter(
        self,
        function: FunctionRef | str,
        kwargs: Mapping[str, Any],
        responses: Sequence[Sequence[Any]],
        docs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See :class:`~lmrun.functions.Functions`."""
        if isinstance(function, FunctionRef):
            return self._code(function).apply_filter(function, kwargs, responses, docs)
        return self._trusted.apply_filter(function, kwargs, responses, docs)

    def open_class(self, ref: FunctionRef, data: OpenDataset) -> ClassTaskFacts:
        """See :class:`~lmrun.functions.Functions`."""
        return self._class_code(ref).open_class(ref, data)

    def class_docs(self, ref: FunctionRef, pool: bool) -> Split:
        """See :class:`~lmrun.functions.Functions`."""
        return self._class_code(ref).class_docs(ref, pool)

    def _class_code(self, ref: FunctionRef) -> TrustedCode:
        self._code(ref)
        return self._trusted

    def _code(self, ref: FunctionRef) -> BundledCode | TrustedCode:
        """What runs the code of a folder. Raises :class:`~lmrun.errors.TaskError` where nothing may."""
        if ref.folder not in self._folders:
            self._folders[ref.folder] = self._code_of(ref.folder)
        code = self._folders[ref.folder]
        if code is None:
            raise _not_trusted(ref)
        # The objects of class tasks live in the child process, also those of lmrun's own.
        return self._trusted if ref.config else code

    def _code_of(self, folder: Path) -> BundledCode | TrustedCode | None:
        if is_bundled(folder):
            return self._bundled
        return self._trusted if self._trees.trusts(folder) else None


def _not_trusted(ref: FunctionRef) -> TaskError:
    why = f"is Python code in {ref.folder}, which is not trusted"
    hint = "if you trust it, set `trust = true` for the folder in [tasks_path], or give --trust"
    return task_error(ref, Failure(why, hint))
