"""Code of the bundled tasks: part of lmrun, so it runs in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmrun import bundled
from lmrun.code.failures import describe, task_error
from lmrun.code.filters import run_filter
from lmrun.code.loading import add_package, load_file
from lmrun.code.trees import Target, locate
from lmrun.data import Docs, Split
from lmrun.data.split import Row
from lmrun.errors import LmrunError
from lmrun.functions import FunctionRef

_PACKAGE = "lmrun_tasks"


def is_bundled(folder: Path) -> bool:
    """Whether task files in ``folder`` are lmrun's own."""
    return folder.resolve().is_relative_to(_root())


class BundledCode:
    """Runs lmrun's own code."""

    def __init__(self) -> None:
        self._filters: dict[Any, Any] = {}

    def check(self, ref: FunctionRef) -> None:
        """See :class:`~lmrun.functions.Functions`."""
        with _reported(ref):
            _find(locate(ref))

    def call(self, ref: FunctionRef, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """See :class:`~lmrun.functions.Functions`."""
        with _reported(ref):
            return _find(locate(ref))(*args, **_resolved(kwargs))

    def process_docs(self, ref: FunctionRef, split: Split, after: Callable[[], Split | None]) -> Split:
        """See :class:`~lmrun.functions.Functions`; lmrun's own code draws nothing, so ``after`` does not matter."""
        docs = self.call(ref, (Docs(split),), {})
        return _made(docs, split) if isinstance(docs, list) else _Reported(ref, docs)

    def custom_dataset(
        self, ref: FunctionRef, kwargs: Mapping[str, Any], source: Callable[[str], Split]
    ) -> Mapping[str, Split]:
        """See :class:`~lmrun.functions.Functions`."""
        splits = self.call(ref, (source,), kwargs)
        return {name: _made(rows) if isinstance(rows, list) else rows for name, rows in splits.items()}

    def apply_filter(
        self, ref: FunctionRef, kwargs: Mapping[str, Any], responses: Sequence[Any], docs: Sequence[Any]
    ) -> Sequence[Any]:
        """See :class:`~lmrun.functions.Functions`."""
        with _reported(ref):
            return run_filter(_find(locate(ref)), _resolved(kwargs), responses, docs, self._filters)


class _Reported:
    """Docs that are made when they are read: what goes wrong then is told like any other error of the code."""

    def __init__(self, ref: FunctionRef, docs: Split) -> None:
        self._ref = ref
        self._docs = docs
        self.columns, self.revision = docs.columns, docs.revision

    @property
    def fingerprint(self) -> str:
        """See :class:`~lmrun.data.Split`."""
        return self._docs.fingerprint

    def __len__(self) -> int:
        return len(self._docs)

    def __getitem__(self, index: int, /) -> Row:
        with _reported(self._ref):
            return self._docs[index]

    def __iter__(self) -> Iterator[Row]:
        with _reported(self._ref):
            yield from self._docs


def _made(rows: list[Row], source: Split | None = None) -> Split:
    from lmrun.code.transfer import MadeSplit  # brings pyarrow

    return MadeSplit(rows, source)


def _root() -> Path:
    return bundled.tasks_dir().resolve()


def _find(target: Target) -> Any:
    if target.file is None:
        raise ModuleNotFoundError(f"there is no file {target.module.replace('.', '/')}.py beside the task file")
    file = Path(target.file)
    add_package(_PACKAGE, [_root()])
    name = ".".join((_PACKAGE, *file.relative_to(_root()).with_suffix("").parts))
    return getattr(load_file(name, file), target.name)


def _resolved(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the functions that they name."""
    return {name: _find(locate(v)) if isinstance(v, FunctionRef) else v for name, v in kwargs.items()}


@contextmanager
def _reported(ref: FunctionRef) -> Iterator[None]:
    try:
        yield
    except LmrunError:
        raise
    except Exception as error:
        raise task_error(ref, describe(error, is_bundled)) from error
