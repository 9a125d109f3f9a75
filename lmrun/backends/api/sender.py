"""Sends one call until there is an answer or it is given up: dialect, limits, transport and retries together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lmrun.backends.api import failures
from lmrun.backends.api.call import Call, Malformed
from lmrun.backends.api.dialect import Dialect
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.gate import Gate
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.retry import Course, again
from lmrun.backends.api.transport import Transport, encode

T = TypeVar("T")
MOST_REPAIRS = 6
"""Parameters of one request that the dialect may repair, one after the other."""
PROBES_FIRST = -1
"""Rank of what is asked to find out what the server can do."""
PROBES_STRANGE = 3
"""Tries to reach a server that speaks the protocol, before the first request: an address may be wrong."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came back for a call."""

    value: T
    notes: Mapping[str, Any]
    """What the dialect changed about it."""
    attempts: int = 1


@dataclass(slots=True)
class Counts:
    """What happened to HTTP requests so far."""

    sent: int = 0
    retries: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By kind."""
    retrying: Counter[str] = field(default_factory=Counter)
    """Calls that wait for another try now, by the kind of their last failure."""


class Sender:
    """Everything that stands between a call and its answer. Lives inside the loop."""

    def __init__(self, transport: Transport, gate: Gate, dialect: Dialect, options: ApiOptions) -> None:
        self.gate = gate
        self.counts = Counts()
        self.resting: set[asyncio.Task[Any]] = set()
        """Tasks with nothing in flight: they wait for their next try."""
        self._transport = transport
        self.dialect = dialect
        self._options = options

    async def ask(
        self, call: Call, read: Callable[[Mapping[str, Any]], T], rank: int, strange: int | None = None
    ) -> Answer[T]:
        """Send a call for which the caller has been admitted, and read the reply. Raises :class:`Failed`."""
        try:
            return await self._try(call, read, rank)
        except Failed as failed:
            if not failed.retryable:
                raise
            first = last = failed

        async def attempt() -> Answer[T]:
            nonlocal last
            self.counts.retries += 1
            with self._rest(last.kind):
                await self.gate.enter(rank)
            try:
                return await self._try(call, read, rank)
            except Failed as failed:
                last = failed
                raise

        async def sleep(seconds: float) -> None:
            if seconds:
                with self._rest(last.kind):
                    await asyncio.sleep(seconds)

        answer, attempts = await again(first, attempt, Course(self._options.retry, strange), sleep)
        return Answer(answer.value, answer.notes, attempts)

    async def _try(self, call: Call, read: Callable[[Mapping[str, Any]], T], rank: int) -> Answer[T]:
        body: Mapping[str, Any] = self.dialect.apply(call.body)
        for left in range(MOST_REPAIRS, -1, -1):
            try:
                reply = await self._exchange(call, body)
                break
            except Failed as failed:
                repaired = self._repaired(failed, call, body) if left else None
                if repaired is None:
                    raise
            body = repaired
            await self.gate.enter(rank)
        return Answer(read_reply(read, reply), {} if body == call.body else self.dialect.notes(call.body, body))

    def _repaired(self, failed: Failed, call: Call, sent: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The body to send in place of one that was refused; None: there is none."""
        if failed.status not in (400, 422):
            return None
        # With many in flight, the answer to another one may have told the same already.
        body = self.dialect.apply(call.body)
        if body == sent and self.dialect.repair(failed.status, failed.reply, sent) is not None:
            body = self.dialect.apply(call.body)
        return None if body == sent else body

    async def _exchange(self, call: Call, body: Mapping[str, Any]) -> Mapping[str, Any]:
        limits, now = self.gate.limits, self.gate.now
        reserved = call.prompt_tokens + call.new_tokens
        sent = now()
        limits.reserve(sent, reserved)
        self.counts.sent += 1
        try:
            reply = await self._transport.post(call.path, encode(body), call.prompt_tokens, call.new_tokens)
        except Failed as failed:
            self._note(failed, sent, reserved)
            self.gate.leave()
            raise
        except asyncio.CancelledError:
            self.gate.leave()
            raise
        limits.ended()
        limits.answered(sent, now())
        if reply.pause:
            limits.pause(now(), reply.pause)
        limits.used(reserved, _tokens(reply.body.get("usage")) or reserved)
        return reply.body

    def _note(self, failed: Failed, sent: float, reserved: int) -> None:
        limits, now = self.gate.limits, self.gate.now()
        self.counts.failures[failed.kind] += 1
        limits.used(reserved, 0)
        if failed.refused:
            limits.refused(sent, now, failed.pause)
            return
        if failed.overloaded:
            limits.overloaded(sent, now)
        limits.pause(now, failed.pause)

    def _rest(self, kind: str) -> _Rest:
        return _Rest(self, kind)


class Poster:
    """How a probe asks: ahead of all others. A :class:`~lmrun.backends.api.call.Post`."""

    def __init__(self, sender: Sender, transport: Transport) -> None:
        self.dialect = sender.dialect
        self._sender, self._transport = sender, transport

    async def get(self, path: str) -> Any:
        """A page of the server."""
        return await self._transport.get(path)

    async def __call__(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The reply to one body."""
        call = Call(path, body, (0,), lambda reply: (), prompt_tokens=len(encode(body)) // 4, new_tokens=0)
        gate = self._sender.gate
        await gate.enter(PROBES_FIRST)
        answer = await self._sender.ask(call, lambda reply: reply, PROBES_FIRST, PROBES_STRANGE)
        gate.on_open()
        return answer.value


class _Rest:
    """The current task has nothing in flight inside this block."""

    def __init__(self, sender: Sender, kind: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sender, self._task, self._kind = sender, task, kind

    def __enter__(self) -> None:
        self._sender.resting.add(self._task)
        self._sender.counts.retrying[self._kind] += 1

    def __exit__(self, *_: object) -> None:
        self._sender.resting.discard(self._task)
        self._sender.counts.retrying[self._kind] -= 1


def read_reply(read: Callable[[Mapping[str, Any]], T], reply: Mapping[str, Any]) -> T:
    """What a wire reads in a reply. Raises :class:`Failed` for one that makes no sense."""
    try:
        return read(reply)
    except Malformed as error:
        raise failures.malformed(str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # A reply can be odd in ways that no protocol foresees; one reply must not end the run.
        raise failures.malformed(f"a reply of unknown shape ({type(error).__name__}: {error})") from error


def _tokens(usage: Any) -> int:
    """All tokens of a call, by the usage that OpenAI's and Anthropic's protocols report."""
    if not isinstance(usage, dict):
        return 0
    names = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    return sum(usage[name] for name in names if isinstance(usage.get(name), int))
