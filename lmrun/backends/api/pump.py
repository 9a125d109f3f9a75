"""Keeps a server busy: requests in from the engine's thread, calls out from the loop's, answers back as they finish.

The engine's thread reads requests (about twice as many ahead as may be in flight) and takes finished answers; all else
happens inside the loop. There is a task for each call in flight or waiting for another try, and a task that has
finished one call goes on with the next.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lmrun.backends.api.answers import Parts, annotated, failure
from lmrun.backends.api.call import Call, Malformed, Wire
from lmrun.backends.api.failures import CONNECTION, Failed
from lmrun.backends.api.feed import Fed, Feed, Item
from lmrun.backends.api.loop import LoopThread
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.sender import Sender
from lmrun.backends.base import Chunk
from lmrun.requests import Request, Response

BUSY = 0.02
"""Seconds between two chunks while there is much to do; each chunk costs a transaction."""
IDLE = 1.0
"""Seconds after which an empty chunk shows that all is well."""
RECENT = 250
"""Chunks over which the rate is measured."""
SLICE = 16
"""Calls that are handed over at once, so that the first goes out before the last is made."""
HOPELESS = 20
"""Requests given up in a row, for reasons that might have passed, after which the server counts as gone."""


class Gone(Exception):  # noqa: N818 - the state of a server
    """The model cannot go on. ``failed`` is what came last."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(str(failed))
        self.failed = failed


class Pump:
    """One stream of requests through a sender."""

    def __init__(self, wire: Wire, options: ApiOptions, sender: Sender, thread: LoopThread) -> None:
        self._wire, self._sender, self._thread = wire, sender, thread
        self._most_joined = options.batch_prompts
        # Belonging to the engine's thread.
        self._fed = 0
        self._yielded = 0.0
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)
        # Belonging to the loop.
        self._queue: deque[Item] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._parts = Parts()
        self._in_a_row = 0
        self._answered_once = False
        self._draining = False
        # Passed from the loop to the engine's thread.
        self._finished: deque[tuple[int, Response]] = deque()
        self._settled = 0
        self._gone: Failed | None = None
        self._crash: BaseException | None = None
        self._quiet = False
        self._news, self._urgent = threading.Event(), threading.Event()
        self.drained = self.abandoned = 0

    # -- in the engine's thread ----------------------------------------------------------------------------------------

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Generator[Chunk, None, None]:
        """Answers as they finish; see :meth:`~lmrun.backends.base.StreamingBackend.stream`. Raises :class:`Gone`."""
        self._thread.soon(self._begin)
        try:
            yield from self._flow(Feed(requests, self._wire))
        except KeyboardInterrupt:
            yield from self._drain()
            raise
        finally:
            self._thread.run(self._end())

    def rate(self) -> float:
        """Requests finished per second of late."""
        recent = list(self._recent)
        passed = time.monotonic() - recent[0][0] if recent else 0.0
        return sum(n for _, n in recent[1:]) / passed if passed > 0 else 0.0

    def drop(self, positions: Collection[int]) -> Collection[int]:
        """Forget requests that are not on their way yet; see :class:`~lmrun.backends.base.Steerable`."""

        async def drop() -> Collection[int]:
            return self._drop(frozenset(positions))

        return self._thread.run(drop())

    def _flow(self, feed: Feed) -> Iterator[Chunk]:
        self._yielded = time.monotonic()
        while True:
            full = self._fill(feed)
            yield from self._collect(IDLE if full else 0.0)
            if self._crash or self._gone:
                yield from self._collect(0.0)
                raise self._crash or Gone(self._gone or Failed(CONNECTION, ""))
            if feed.exhausted and self._settled == self._fed and not self._finished:
                return

    def _room(self) -> int:
        ahead = 2 * self._sender.gate.limits.window.most * self._most_joined
        return ahead - (self._fed - self._settled)

    def _fill(self, feed: Feed) -> bool:
        """Hand calls over while there is room, but not so long that answers would lie about. Says whether all went."""
        until = time.monotonic() + BUSY
        while not feed.exhausted and (room := self._room()) > 0:
            if time.monotonic() >= until:
                return False
            taken = feed.take(min(room, SLICE * self._most_joined))
            self._fed += len(taken)
            self._thread.soon(self._accept, taken)
        return True

    def _collect(self, wait: float) -> Iterator[Chunk]:
        if self._news.wait(wait) and wait:
            self._urgent.wait(max(0.0, self._yielded + BUSY - time.monotonic()))
        self._news.clear()
        self._urgent.clear()
        chunk = [self._finished.popleft() for _ in range(len(self._finished))]
        now = time.monotonic()
        if chunk or now - self._yielded >= IDLE:
            self._yielded = now
            self._recent.append((now, len(chunk)))
            yield chunk

    def _drain(self) -> Iterator[Chunk]:
        """Send nothing more, and wait for what is in flight; a second interrupt ends that."""
        self._thread.soon(self._stop_sending)
        while not (self._quiet and not self._finished):
            for chunk in self._collect(IDLE):
                self.drained += len(chunk)
                yield chunk

    # -- in the loop ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._sender.gate.on_open = self._launch

    def _accept(self, taken: list[Fed]) -> None:
        for one in taken:
            if isinstance(one, Item):
                self._queue.append(one)
            else:
                self._settle(1, [one])
        self._launch()

    def _launch(self) -> None:
        """Start as many calls as may be sent now."""
        gate = self._sender.gate
        while gate.admit(fresh=bool(self._queue)):
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._crash = task.exception()
            self._tell(urgent=True)
        if self._draining and not self._tasks:
            self._quiet = True
            self._tell(urgent=True)

    def _drop(self, positions: frozenset[int]) -> Collection[int]:
        kept: deque[Item] = deque()
        dropped: set[int] = set()
        for item in self._queue:
            if item.call.parts or not positions.issuperset(item.call.owners):
                kept.append(item)
            else:
                dropped.update(item.call.owners)
                self._settle(len(item.call.members) or 1, [])
        self._queue = kept
        return dropped

    async def _work(self) -> None:
        """Send one call after the other; the right to send the first has been given."""
        admitted = True
        while admitted:
            item = self._take()
            if item is None:
                self._sender.gate.limits.ended()
                return
            try:
                await self._carry(item)
            except asyncio.CancelledError:
                self.abandoned += 1
                raise
            admitted = self._sender.gate.admit(fresh=bool(self._queue))
            if admitted and len(self._queue) > 1:
                self._launch()

    def _take(self) -> Item | None:
        """The next call, joined with those behind it that it can be joined with."""
        queue = self._queue
        while queue and queue[0].call.parts and all(map(self._parts.is_lost, queue[0].call.owners)):
            self._give_up(queue.popleft(), Failed("skipped", "another part of this request failed"))
        if not queue:
            return None
        first = queue.popleft()
        if self._most_joined == 1 or first.alone or first.call.joinable is None:
            return first
        joined = [first]
        while len(joined) < self._most_joined and queue and _fits(first, queue[0]):
            joined.append(queue.popleft())
        if len(joined) == 1:
            return first
        return first._replace(call=self._wire.join([item.call for item in joined]))

    async def _carry(self, item: Item) -> None:
        call = item.call
        try:
            answer = await self._sender.ask(call, partial(answers_of, call), item.rank)
        except Failed as failed:
            self._failed(item, failed)
            return
        self._answered_once, self._in_a_row = True, 0
        responses = [annotated(r, answer.attempts, call.notes, answer.notes) for r in answer.value]
        self._deliver(item, responses)

    def _failed(self, item: Item, failed: Failed) -> None:
        if failed.fatal:
            self._leave_all(failed)
        elif self._draining and (failed.retryable or item.call.members):
            self.abandoned += 1
        elif item.call.members and failed.kind != CONNECTION:
            # One of them may be to blame; alone, only that one fails.
            alone = [item._replace(call=member, alone=True) for member in item.call.members]
            self._queue.extendleft(reversed(alone))
        else:
            self._give_up(item, failed)
            self._count_failure(failed)

    def _count_failure(self, failed: Failed) -> None:
        if not failed.retryable:
            self._answered_once, self._in_a_row = True, 0
            return
        self._in_a_row += 1
        unreachable = failed.kind == CONNECTION and not self._answered_once
        if self._in_a_row >= HOPELESS or unreachable:
            self._leave_all(failed)

    def _give_up(self, item: Item, failed: Failed) -> None:
        response = annotated(failure(failed, item.generates), failed.attempts, item.call.notes)
        self._deliver(item, [response] * len(item.call.owners))

    def _deliver(self, item: Item, responses: list[Response]) -> None:
        self._settle(len(item.call.members) or 1, self._parts.whole(item.call, responses))

    def _settle(self, calls: int, done: list[tuple[int, Response]]) -> None:
        self._finished.extend(done)
        self._settled += calls
        self._tell(urgent=self._settled == self._fed or not self._queue)

    def _tell(self, *, urgent: bool) -> None:
        if not self._news.is_set():
            self._news.set()
        if urgent:
            self._urgent.set()

    def _leave_all(self, failed: Failed) -> None:
        self._gone = self._gone or failed
        self._queue.clear()
        self._tell(urgent=True)

    def _stop_sending(self) -> None:
        self._draining = True
        self._queue.clear()
        self._sender.gate.hold(False)  # what is half done is finished
        for task in self._sender.resting & self._tasks:
            task.cancel()
        if not self._tasks:
            self._quiet = True
            self._tell(urgent=True)

    async def _end(self) -> None:
        """Cancel whatever is left."""
        self._draining = True
        self._queue.clear()
        self._sender.gate.on_open = lambda: self._sender.gate.admit(fresh=False)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sender.gate.limits.in_flight = 0  # a task that is cancelled before its first step leaves no gate
        self._parts.clear()


def _fits(first: Item, other: Item) -> bool:
    return not other.alone and other.call.joinable == first.call.joinable and other.generates == first.generates


def answers_of(call: Call, reply: Mapping[str, Any]) -> Sequence[Response]:
    """One answer for each owner of a call. Raises :class:`~lmrun.backends.api.call.Malformed`."""
    answers = call.read(reply)
    if len(answers) != len(call.owners):
        raise Malformed(f"{len(answers)} answers in place of {len(call.owners)}")
    return answers
