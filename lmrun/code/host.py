"""The process that runs the code of task files which are not lmrun's own.

It answers requests over one connection. Whatever the code does to its process (``sys.exit``, ``os.chdir``, random
seeds, patches, a crash) ends here. It goes when its parent goes, and takes its own children along.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lmrun.code.class_task import ClassTask, ClosedSplits, LazySplits
from lmrun.code.failures import Failure, describe
from lmrun.code.filters import run_filter
from lmrun.code.modules import Modules
from lmrun.code.plain import dump, plain
from lmrun.code.random_state import drawn_for_docs, seed_for_call, seed_for_docs
from lmrun.code.shim.registry import FILTER_REGISTRY
from lmrun.code.shim.task import DatasetNeededError
from lmrun.code.trees import Target, locate
from lmrun.functions import FunctionRef

_SECONDS_TO_END = 1.0
_BROKEN = 70


class Host:
    """What the parent may ask for; each public method is one operation."""

    def __init__(self, trusted: Sequence[Path]) -> None:
        self._modules = Modules(trusted)
        self._filters: dict[str, Any] = {}
        self._class_tasks: dict[tuple[Any, str], ClassTask] = {}

    def check(self, target: Target) -> None:
        """Import the module and look the name up."""
        self._find(target)

    def load(self, targets: Sequence[Target]) -> None:
        """Import modules that were imported before; what they register counts, and their errors come up later."""
        for target in targets:
            with suppress(Exception):
                self._modules.load(target)

    def call(self, target: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The plain value of a function."""
        function = self._find(target)
        seed_for_call(args)
        return plain(function(*args, **self._resolved(kwargs)))

    def process_docs(self, target: Target, packed: Any, earlier: Any) -> tuple[Any, bool]:
        """The docs that a function makes of a dataset, and whether chance has a part in them.

        ``earlier`` is a dataset that the function is given first, so that it draws after it.
        """
        from lmrun.code.transfer import dataset, pack_docs

        _quiet_datasets()
        function = self._find(target)
        seed_for_docs()
        if earlier is not None:
            function(dataset(earlier))
        made = pack_docs(function(dataset(packed)))
        return made, drawn_for_docs()

    def custom_dataset(self, target: Target, kwargs: Mapping[str, Any]) -> Any:
        """The datasets that a function makes, by split."""
        from lmrun.code.transfer import pack_docs

        _quiet_datasets()
        function = self._find(target)
        seed_for_docs()
        return {str(split): pack_docs(docs) for split, docs in function(**self._resolved(kwargs)).items()}

    def has_filter(self, name: str) -> bool:
        """Whether imported code registered a filter of this name."""
        return name in FILTER_REGISTRY

    def apply_filter(
        self, function: Target | str, kwargs: Mapping[str, Any], responses: Sequence[Any], docs: Sequence[Any]
    ) -> Any:
        """What a filter makes of the responses."""
        make = FILTER_REGISTRY[function] if isinstance(function, str) else self._find(function)
        seed_for_call(tuple(docs[:1]))
        return plain(run_filter(make, self._resolved(kwargs), responses, docs, self._filters))

    def open_class(self, target: Target, packed: Mapping[str, Any] | None) -> Any:
        """Make the object of a class task: what it says of itself, or which dataset it needs for that."""
        _quiet_datasets()
        cls = self._modules.find(target)
        seed_for_docs()
        try:
            task = ClassTask(cls, _config(target), None if packed is None else LazySplits(packed))
        except DatasetNeededError as needed:
            return False, (needed.path, needed.name, plain(needed.kwargs))
        self._class_tasks[cls, target.config] = task
        return True, plain(task.facts())

    def class_docs(self, target: Target, pool: bool) -> Any:
        """The docs of a class task: those for examples, or those that are evaluated."""
        from lmrun.code.transfer import pack_docs

        task = self._class_task(target)
        seed_for_docs()
        return pack_docs(task.docs(pool))

    def _class_task(self, target: Target) -> ClassTask:
        cls = self._modules.find(target)
        if (cls, target.config) not in self._class_tasks:
            self._class_tasks[cls, target.config] = ClassTask(cls, _config(target), ClosedSplits())
        return self._class_tasks[cls, target.config]

    def _find(self, target: Target) -> Any:
        if not target.member:
            return self._modules.find(target)
        name, _, argument = target.member.partition(":")
        member = getattr(self._class_task(target), name)
        return partial(member, argument) if argument else member

    def describe(self, error: BaseException) -> Failure:
        """The error as the parent reports it."""
        return describe(error, self._modules.is_task_code)

    def _resolved(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with the functions that they name."""
        return {
            name: self._find(locate(value)) if isinstance(value, FunctionRef) else value
            for name, value in kwargs.items()
        }


def _config(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(target.config) if target.config else {}
    return found


def _quiet_datasets() -> None:
    import datasets

    datasets.disable_progress_bars()


def serve(host: Host, connection: Connection) -> None:
    """Answer requests until the parent closes the connection."""
    own = os.getpid()
    while True:
        try:
            request = connection.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(host, request)
        if os.getpid() != own:
            os._exit(0)  # a fork that the code made and that came back: only one process may answer
        connection.send_bytes(answer)


def _answer(host: Host, request: bytes) -> bytes:
    try:
        operation, args = pickle.loads(request)
        answer: Callable[..., Any] = getattr(host, operation)
        return dump((True, answer(*args)))
    # A boundary: code may raise anything, SystemExit and KeyboardInterrupt as well.
    except BaseException as error:  # noqa: BLE001
        return dump((False, tuple(host.describe(error))))


def _follow_parent(connection: Connection) -> None:
    """End with the parent, even while the code of a task is busy."""
    hung_up = select.poll()
    hung_up.register(connection.fileno(), 0)

    def watch() -> None:
        hung_up.poll()
        time.sleep(_SECONDS_TO_END)
        _end_group()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _end_group() -> None:
    """End this process and all that it started."""
    sys.stdout.flush()
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)


def main(descriptor: int, trusted: Sequence[str]) -> None:
    """Serve the parent at the other end of a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)
    atexit.register(_end_group)
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    _follow_parent(connection)
    host = Host([Path(folder) for folder in trusted])
    connection.send_bytes(dump((True, None)))
    try:
        serve(host, connection)
    except BaseException:  # noqa: BLE001 - code has broken what this needs itself, and it must not stay half alive
        os._exit(_BROKEN)
