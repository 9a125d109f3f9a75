"""Who may send now: the limits, seen from inside the loop."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from itertools import count

from lmrun.backends.api.limits import Limits


class Gate:
    """Gives out the right to send one request. Those that wait for another try come before new ones, in their order.

    ``on_open`` is called whenever it may be open again.
    """

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.on_open: Callable[[], object] = lambda: self.admit(fresh=False)
        self._loop = loop
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._opens = math.inf

    now = staticmethod(time.monotonic)
    """The clock of the limits. That of uvloop's loop counts in milliseconds, which is too coarse."""

    def admit(self, *, fresh: bool) -> bool:
        """Let in those that wait; then, if there is still room, a fresh one. Says whether that may send."""
        while self._waiting or fresh:
            now = self.now()
            delay = self.limits.delay(now)
            if delay:
                self._wake(delay)
                return False
            if not self._waiting:
                self.limits.sent(now)
                return True
            waiting = heapq.heappop(self._waiting)[-1]
            if not waiting.done():
                self.limits.sent(now)
                waiting.set_result(None)
        return False

    async def enter(self, rank: int) -> None:
        """Wait for the right to send; lower ranks come first."""
        waiting = self._loop.create_future()
        heapq.heappush(self._waiting, (rank, next(self._order), waiting))
        self.on_open()
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """A request has ended and makes room."""
        self.limits.ended()
        self.on_open()

    def hold(self, held: bool) -> None:
        """Let nothing through, or go on."""
        self.limits.held = held
        self.on_open()

    def scale(self, factor: float) -> int:
        """Let so many times as many through at once; says how many."""
        self.limits.window.scale(factor)
        self.on_open()
        return int(self.limits.window.size)

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer:
            self._timer.cancel()

    def _wake(self, delay: float) -> None:
        if delay == math.inf:
            return
        at = self.now() + delay
        if self._timer is not None:
            if self._opens <= at:
                return
            self._timer.cancel()
        self._timer, self._opens = self._loop.call_later(delay, self._opened), at

    def _opened(self) -> None:
        self._timer = None
        self.on_open()
