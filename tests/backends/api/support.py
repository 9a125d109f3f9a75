"""The smallest wire that there can be, and a way to send through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lmrun.backends.api.call import Asked, Call, Malformed, Post
from lmrun.backends.api.dialect import Dialect
from lmrun.backends.api.gate import Gate
from lmrun.backends.api.limits import Limits
from lmrun.backends.api.loop import LoopThread
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.pump import Pump
from lmrun.backends.api.sender import Poster, Sender
from lmrun.backends.api.transport import Address, Transport
from lmrun.backends.base import Capability, Needs
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Request, Response

KEY = "sk-secret-0123456789"


class PlainWire:
    """Every request is a prompt of its own; the text that comes back is the answer."""

    base_url = "http://127.0.0.1:9/v1"
    key_env = "PLAIN_API_KEY"

    def __init__(self, batch_prompts: int = 1) -> None:
        self._batch = batch_prompts

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def facts(self) -> Mapping[str, Any]:
        return {}

    async def check(self, needs: Needs, post: Post) -> None:
        await post("/completions", {"model": "tiny", "prompt": "check", "max_tokens": 1})

    async def capabilities(self, post: Post) -> Sequence[Capability]:
        return []

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call]:
        for position, request in asked:
            if "unanswerable" in request.continuation:
                raise Unanswerable("odd", "nobody can ask this")
            if request.kind == "loglikelihood_rolling":
                words = request.continuation.split()
                yield from (self._call(position, word, parts=(len(words),)) for word in words)
            else:
                yield self._call(position, str(request.context))

    def _call(self, position: int, prompt: str, parts: tuple[int, ...] = ()) -> Call:
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 4, "temperature": 0}
        joinable = "all" if self._batch > 1 else None
        return Call("/completions", body, (position,), read, len(prompt) // 4, 4, parts, joinable)

    def join(self, calls: Sequence[Call]) -> Call:
        return replace(
            calls[0],
            body={**calls[0].body, "prompt": [call.body["prompt"] for call in calls]},
            owners=tuple(owner for call in calls for owner in call.owners),
            members=tuple(calls),
        )

    def counter(self) -> Callable[[Request], int] | None:
        return None


def read(reply: Mapping[str, Any]) -> list[Response]:
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    if any(choice["text"] is None for choice in choices):
        raise Malformed("no text")
    return [Response(text=choice["text"], logprob=-1.0, finish_reason="stop") for choice in choices]


@dataclass
class Rig:
    """A sender with its parts at hand."""

    pump: Pump
    sender: Sender
    thread: LoopThread
    post: Poster

    @property
    def limits(self) -> Limits:
        return self.sender.gate.limits

    def answers(self, requests: Iterable[Request]) -> dict[int, Response]:
        return {position: r for chunk in self.pump.stream(iter(enumerate(requests))) for position, r in chunk}


@contextmanager
def rig(base_url: str, **options: Any) -> Iterator[Rig]:
    """Everything but the backend, and closed afterwards."""
    settings = ApiOptions(**options)
    thread = LoopThread("test")

    async def build() -> tuple[Transport, Sender]:
        address = Address(base_url, {"Authorization": f"Bearer {KEY}"}, settings.query, (KEY,))
        transport = Transport(address, settings.timeout)
        dialect = Dialect.of(base_url, "tiny", "openai-completions", settings.dialect)
        return transport, Sender(transport, Gate(Limits(settings), asyncio.get_running_loop()), dialect, settings)

    transport, sender = thread.run(build())
    try:
        yield Rig(
            Pump(PlainWire(settings.batch_prompts), settings, sender, thread), sender, thread, Poster(sender, transport)
        )
    finally:
        sender.gate.close()
        thread.run(transport.close())
        thread.close()


def prompts(count: int, text: str = "prompt {}") -> list[Request]:
    return [Request("generate_until", context=text.format(i)) for i in range(count)]
