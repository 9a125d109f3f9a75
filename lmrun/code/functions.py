"""Which code runs, and where: the implementation of :class:`~lmrun.functions.Functions`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmrun.code.bundled import is_bundled, load_module
from lmrun.data import Docs, Split
from lmrun.errors import TaskError
from lmrun.functions import FunctionError, FunctionRef


class TaskFunctions:
    """The code of the bundled tasks, and of the folders that the user trusts."""

    def __init__(self, trusted: Sequence[Path] = ()) -> None:
        self._trusted = tuple(trusted)

    def check(self, ref: FunctionRef) -> None:
        """See :class:`~lmrun.functions.Functions`."""
        self._function(ref)

    def source_hash(self, ref: FunctionRef) -> str:
        """See :class:`~lmrun.functions.Functions`."""
        return hashlib.blake2b(_module_file(ref).read_bytes(), digest_size=16).hexdigest()

    def call(self, ref: FunctionRef, *args: Any, **kwargs: Any) -> Any:
        """See :class:`~lmrun.functions.Functions`."""
        function = self._function(ref)
        try:
            return function(*args, **kwargs)
        except Exception as error:  # whatever a task's code raises is that task's failure alone
            kind = type(error).__name__
            raise FunctionError(ref, f"{kind}: {error}", kind=kind) from error

    def process_docs(self, ref: FunctionRef, split: Split) -> Split:
        """See :class:`~lmrun.functions.Functions`."""
        docs: Split = self.call(ref, Docs(split))
        return docs

    def custom_dataset(self, ref: FunctionRef, kwargs: Mapping[str, Any]) -> Mapping[str, Split]:
        """See :class:`~lmrun.functions.Functions`."""
        splits: Mapping[str, Split] = self.call(ref, **kwargs)
        return splits

    def has_filter(self, name: str) -> bool:
        """See :class:`~lmrun.functions.Functions`."""
        return False

    def apply_filter(
        self,
        function: FunctionRef | str,
        kwargs: Mapping[str, Any],
        responses: Sequence[Sequence[Any]],
        docs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See :class:`~lmrun.functions.Functions`."""
        if isinstance(function, str):
            raise TaskError(f"unknown filter {function!r}")
        built = self.call(function, **kwargs)
        return list(built.apply(responses, docs))

    @staticmethod
    def _function(ref: FunctionRef) -> Any:
        if not is_bundled(ref.folder):
            raise FunctionError(ref, "this task needs Python helpers, which run only where they are trusted")
        module = load_module(_module_file(ref))
        name = ref.target.rpartition(".")[2]
        if not hasattr(module, name):
            raise FunctionError(ref, f"{module.__file__} has no {name!r}")
        return getattr(module, name)


def _module_file(ref: FunctionRef) -> Path:
    file = ref.folder / (ref.target.rpartition(".")[0].replace(".", "/") + ".py")
    if not file.is_file():
        raise FunctionError(ref, f"there is no file {file}")
    return file
