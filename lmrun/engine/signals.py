"""Ctrl-C, SIGTERM (a scheduler's limit) and SIGHUP (a lost terminal) end a run cleanly, resumable.

Each raises :class:`KeyboardInterrupt`; where that would lose answers, only when it is asked for.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 2
"""So many signals wait until they are asked for; one more is raised at once, as something seems to hang."""


class Interrupts:
    """Signals that have come and were not raised yet."""

    def __init__(self) -> None:
        self.waiting = 0
        self.caught = False
        """Signals come here; else Ctrl-C does what Python makes of it."""
        self._came = 0
        self._depth = 0

    def signal(self, _number: int, _frame: FrameType | None) -> None:
        """A signal comes."""
        self._came += 1
        if not self._depth or self._came > _PATIENCE:
            raise KeyboardInterrupt
        self.waiting += 1

    def send(self) -> None:
        """Let one come, from another thread, just as if Ctrl-C were pressed; only where they are :attr:`caught`."""
        ident = threading.main_thread().ident
        assert ident is not None
        signal.pthread_kill(ident, signal.SIGINT)  # to that thread: it may be waiting inside a system call

    def take(self) -> bool:
        """Whether one is waiting; the caller raises it in its own way."""
        if not self.waiting:
            return False
        self.waiting -= 1
        return True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """What comes while the block runs waits for :meth:`take`, or is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self.check()

    def check(self) -> None:
        """Raise what is waiting, unless it is deferred."""
        if not self._depth and self.waiting:
            self.waiting = 0
            raise KeyboardInterrupt


interrupts = Interrupts()
"""Signals are of the process, and so is this."""


@contextmanager
def catch_interrupts() -> Iterator[None]:
    """Have these signals handled as this module says while the block runs.

    A SIGHUP that is ignored (``nohup``, an engine without a terminal) stays ignored.
    """
    interrupts.__init__()  # type: ignore[misc]  # what came to an earlier run is over
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [n for n in numbers if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupts.signal) for number in caught}
    interrupts.caught = True
    try:
        yield
    finally:
        interrupts.caught = False
        for number, handler in before.items():
            signal.signal(number, handler)


def throw_into(items: Iterator[T], interrupt: KeyboardInterrupt) -> T:
    """Raise an interrupt where a generator waits at its yield, as if it had come there; gives its next item."""
    if isinstance(items, Generator):
        item: T = items.throw(interrupt)
        return item
    raise interrupt
