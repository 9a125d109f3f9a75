"""Code of trusted folders: it runs in a child process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmrun.code.failures import task_error
from lmrun.code.process import CodeError, HostProcess
from lmrun.code.trees import Target, locate
from lmrun.data import Split
from lmrun.functions import ClassTaskFacts, FunctionRef, OpenDataset

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


class TrustedCode:
    """Runs code in one child process, which starts when it is first needed, and again after code has crashed it."""

    def __init__(self, trusted: Sequence[Path], offline: bool) -> None:
        """``offline`` keeps ``datasets`` and the hub's client from the network."""
        self._trusted = tuple(trusted)
        self._environment = _OFFLINE if offline else {}
        self._host: HostProcess | None = None
        self._lock = threading.Lock()
        self._targets: dict[FunctionRef, Target] = {}
        self._imported: dict[Target, None] = {}
        self._opened: dict[Target, OpenDataset] = {}
        # Held weakly: shared while anyone uses them. Each holds the split it was made of, so an id is of that split.
        self._made: weakref.WeakValueDictionary[tuple[FunctionRef, int], Split] = weakref.WeakValueDictionary()

    def close(self) -> None:
        """End the process. A later call starts another."""
        if self._host is not None:
            self._host.close()
            self._host = None

    def check(self, ref: FunctionRef) -> None:
        """See :class:`~lmrun.functions.Functions`."""
        self._run(ref, "check")

    def call(self, ref: FunctionRef, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """See :class:`~lmrun.functions.Functions`."""
        return self._run(ref, "call", args, kwargs)

    def process_docs(self, ref: FunctionRef, split: Split, after: Callable[[], Split | None]) -> Split:
        """See :class:`~lmrun.functions.Functions`."""
        from lmrun.code.transfer import pack_split, unpack

        made = self._made.get((ref, id(split)))
        if made is None:
            packed, drawn = self._run(ref, "process_docs", pack_split(split), None)
            if drawn and (earlier := after()) is not None:
                packed, _ = self._run(ref, "process_docs", pack_split(split), pack_split(earlier))
            made = unpack(packed, split)
            self._made[ref, id(split)] = made
        return made

    def custom_dataset(
        self, ref: FunctionRef, kwargs: Mapping[str, Any], source: Callable[[str], Split]
    ) -> Mapping[str, Split]:
        """See :class:`~lmrun.functions.Functions`."""
        from lmrun.code.transfer import unpack

        return {name: unpack(packed) for name, packed in self._run(ref, "custom_dataset", kwargs).items()}

    def has_filter(self, name: str) -> bool:
        """See :class:`~lmrun.functions.Functions`."""
        if not self._imported:
            return False
        with _told(f"filter {name!r}"):
            return bool(self._ask("has_filter", name))

    def apply_filter(
        self,
        function: FunctionRef | str,
        kwargs: Mapping[str, Any],
        responses: Sequence[Sequence[Any]],
        docs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """See :class:`~lmrun.functions.Functions`."""
        if isinstance(function, FunctionRef):
            return list(self._run(function, "apply_filter", kwargs, responses, docs))
        with _told(f"filter {function!r}"):
            return list(self._ask("apply_filter", function, kwargs, responses, docs))

    def open_class(self, ref: FunctionRef, data: OpenDataset) -> ClassTaskFacts:
        """See :class:`~lmrun.functions.Functions`."""
        target = locate(ref)
        with _told(ref), self._lock:
            host = self._started()
            facts = _open(host, target, data)
            self._opened[target] = data
        self._imported[target] = None
        return ClassTaskFacts(**facts)

    def class_docs(self, ref: FunctionRef, pool: bool) -> Split:
        """See :class:`~lmrun.functions.Functions`."""
        from lmrun.code.transfer import unpack

        return unpack(self._run(ref, "class_docs", pool))

    def _run(self, ref: FunctionRef, operation: str, *args: Any) -> Any:
        target = self._targets.get(ref)
        if target is None:
            target = self._targets[ref] = locate(ref)
        with _told(ref):
            value = self._ask(operation, target, *args)
        self._imported[target] = None
        return value

    def _ask(self, operation: str, *args: Any) -> Any:
        with self._lock:
            return self._started().request(operation, *args)

    def _started(self) -> HostProcess:
        if self._host is None or not self._host.alive:
            self._host = HostProcess(self._trusted, self._environment)
            # Filters that code has registered, and the objects of classes, are gone with the process they were in.
            self._host.request("load", list(self._imported))
            for target, data in self._opened.items():
                _open(self._host, target, data)
        return self._host


def _open(host: HostProcess, target: Target, data: OpenDataset) -> Mapping[str, Any]:
    from lmrun.code.transfer import pack_split

    is_open, answer = host.request("open_class", target, None)
    if not is_open:
        splits = {name: pack_split(split) for name, split in data(*answer).items()}
        is_open, answer = host.request("open_class", target, splits)
    found: Mapping[str, Any] = answer
    return found


@contextmanager
def _told(what: FunctionRef | str) -> Iterator[None]:
    try:
        yield
    except CodeError as error:
        raise task_error(what, error.failure) from error
