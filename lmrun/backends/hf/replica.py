"""One copy of a model, in a process and on a device of its own; and what it and its parent say to each other."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import TypeAlias

from lmrun.backends.base import Chunk, ModelSpec, Usage
from lmrun.errors import BackendError
from lmrun.requests import Request

_PATIENCE = 10.0
"""Seconds until a process that was asked to end is made to."""
_SHARES = 4
"""Shares per replica of requests that share prefixes: more are fairer, and compute more prefixes several times."""


@dataclass(frozen=True, slots=True)
class Work:
    """To a replica: the requests of a job, all of them, so that it forms the batches that one process would."""

    requests: Sequence[Request]
    answered: frozenset[int]


@dataclass(frozen=True, slots=True)
class Loaded:
    """From a replica: the model is in memory."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Claim:
    """From a replica: which of these requests is it to answer? It waits for the reply."""

    owners: frozenset[int]
    """Positions, as a rule of one batch."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Done:
    """From a replica: there is no further batch."""


@dataclass(frozen=True, slots=True)
class Refused:
    """From a replica: it cannot do that, and no other could."""

    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class Dead:
    """In place of a message: the process has ended, or is no use any more."""

    why: str


Message: TypeAlias = Loaded | Claim | Chunk | Done | Refused | Dead
STOP = "stop"
"""In place of a reply to a claim: leave all that is left of the job."""


class Replica:
    """The parent's end of a replica."""

    def __init__(self, spec: ModelSpec, count: int) -> None:
        """``count``: how many replicas there are in all."""
        self.spec = spec
        self.busy = False
        """It loads, or works on a job."""
        self.restarted = False
        self._count = count
        self.start()

    def start(self) -> None:
        """Start the process, which begins to load the model."""
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, self.spec, self._count)
        self._process = context.Process(target=serve, args=arguments, name=self.spec.name, daemon=True)
        self._process.start()
        # With this end open here too, the end of the process would not show.
        theirs.close()
        self.busy = True

    @property
    def connection(self) -> Connection:
        """What to wait on until it says something, or dies."""
        return self._connection

    def send(self, message: Work | frozenset[int] | str) -> None:
        """Say something; whether it still listens shows when it is to answer."""
        try:
            self._connection.send(message)
        except OSError:
            return

    def receive(self) -> Message:
        """What it says, or that it is dead."""
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            code = self._process.exitcode
            killed = code is not None and code < 0
            return Dead(
                f"ended by {signal.Signals(-code).name}" if code is not None and killed else f"exit code {code}"
            )
        return message

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        self._process.close()


class _Stopped(Exception):  # noqa: N818 - no fault: the parent wants no more of this job
    pass


class _Worker:
    """The other end: what runs in the process of a replica."""

    def __init__(self, connection: Connection, spec: ModelSpec, count: int) -> None:
        from lmrun.backends.hf.backend import HfBackend

        self._connection = connection
        self._backend = HfBackend(spec, self._claim, count * _SHARES if count > 1 else 1)

    def serve(self) -> None:
        self._backend.load()
        self._connection.send(Loaded(self._backend.usage()))
        while True:
            work: Work = self._connection.recv()
            try:
                for chunk in self._backend.run(work.requests, work.answered):
                    self._connection.send(chunk)
            except _Stopped:
                pass
            except BackendError as error:
                self._connection.send(Refused(error.message, error.hint))
            self._connection.send(Done())

    def _claim(self, owners: Collection[int]) -> Collection[int]:
        if not owners:
            return owners
        self._connection.send(Claim(frozenset(owners), self._backend.usage()))
        reply: frozenset[int] | str = self._connection.recv()
        if isinstance(reply, str):
            raise _Stopped
        return reply


def _end_with_parent() -> None:
    """A parent that is killed says nothing, and loading or a batch may take minutes."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


def serve(connection: Connection, spec: ModelSpec, count: int) -> None:
    """What the process of a replica does until its parent ends it, or is gone."""
    import torch

    # Ctrl-C reaches all processes of a terminal; what becomes of the run is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    # All of them together use as many as one process would.
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        _Worker(connection, spec, count).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except BackendError as error:
        connection.send(Refused(error.message, error.hint))
    except Exception as error:  # noqa: BLE001 - the process ends, and the parent says why
        connection.send(Dead(f"{type(error).__name__}: {error}"))
