"""A backend without a model: every answer is computed from the text of its request.

Its answers are those of the stub that the parity tests put into lm-eval, so prompts and metrics of both programs can be
compared without a model; and it can be slow, fail and count, so that the engine can be tested.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from lmrun.backends.base import Capability, Chunk, ModelIdentity, ModelSpec, Needs, Usage
from lmrun.backends.fingerprint import identity
from lmrun.errors import BackendError
from lmrun.requests import (
    REQUEST_KINDS,
    Context,
    Request,
    RequestKind,
    Response,
    ResponseError,
    canonical_json,
    content_key,
    context_as_json,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScriptedOptions:
    """What a manifest may say in ``options`` of a scripted model."""

    chunk: int = 8
    """Requests per batch."""
    latency_ms: float = 0.0
    """Time that a batch takes."""
    fail: str = ""
    """Requests whose text holds this get an error in place of an answer."""
    fail_kind: str = "scripted"
    """Kind of that error."""
    fail_while: str = ""
    """They fail only as long as this file exists."""
    salt: str = ""
    """Models with different salts give different answers."""
    load_error: str = ""
    """The model does not start, and this is why."""
    replies: Sequence[str] = ("The answer is {number}.",)
    """What it generates: one of these by the prompt, with a number or a letter where it says ``{number}`` or
    ``{letter}``."""
    decline: str = ""
    """Generations whose text holds this are refused, as a provider's filter does."""
    streaming: bool = False
    """Work on the requests of all jobs at once, as a server does."""
    in_flight: int = 32
    """Streaming: requests that are worked on at once; the newest and the oldest are answered in turn."""
    refuse: Sequence[str] = ()
    """Streaming: kinds of requests that :meth:`StreamingScriptedBackend.check` finds that it cannot answer."""
    die_after: int = 0
    """Streaming: after so many answers it gives none any more."""
    calls: str = ""
    """File that gets a line per request that is asked, before it is answered; it counts across processes."""


class ScriptedBackend:
    """Answers by hash of the request's text."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        try:
            self._options = ScriptedOptions(**spec.options)
        except TypeError as error:
            known = ", ".join(ScriptedOptions.__dataclass_fields__)
            raise BackendError(f'model "{spec.name}": {error}', hint=f"options of scripted: {known}") from error
        self._phase = ""

    def identify(self) -> ModelIdentity:
        """The model's name and the options that can change an answer."""
        options = self._options
        answers = {"salt": options.salt, "replies": list(options.replies)}
        return identity({"backend": "scripted", "model": self._spec.model, **answers})

    def load(self) -> None:
        """Start, or not. Raises :class:`~lmrun.errors.BackendError`."""
        if self._options.load_error:
            raise BackendError(self._options.load_error, hint="remove load_error from the options")

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer in order, a fixed chunk at a time."""
        size = self._options.chunk
        for start in range(0, len(requests), size):
            batch = enumerate(requests[start : start + size], start)
            todo = [(i, request) for i, request in batch if i not in answered]
            if todo:
                self._phase = f"batch {start // size + 1}/{-(-len(requests) // size)}"
                self._count(request for _, request in todo)
                _log.debug("batch", extra={"fields": {"n": len(todo)}})
                time.sleep(self._options.latency_ms / 1000)
                yield [(i, self.answer(request)) for i, request in todo]

    def usage(self) -> Usage:
        """Which batch is being answered."""
        return Usage(phase=self._phase)

    def close(self) -> None:
        """Nothing to free."""

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        context = _text(request.context)
        if self._fails(context + request.continuation):
            return Response(error=ResponseError(self._options.fail_kind, f"the text holds {self._options.fail!r}"))
        words = len(context.split())
        if request.kind == "generate_until":
            if self._options.decline and self._options.decline in context:
                return Response(text="", finish_reason="refusal", prompt_tokens=words)
            text = self._reply(context)
            return Response(text=text, finish_reason="stop", prompt_tokens=words, completion_tokens=len(text.split()))
        if request.kind == "loglikelihood_rolling":
            n_scored = len(request.continuation.split())
            return Response(logprob=-100 * self._share(request.continuation), completion_tokens=n_scored)
        pair = f"{context}|{request.continuation}"
        return Response(
            logprob=-10 * self._share(pair),
            is_greedy=self._share("g" + pair) < 0.3,
            prompt_tokens=words,
            completion_tokens=len(request.continuation.split()),
        )

    def _reply(self, text: str) -> str:
        number, letter = int(50 * self._share(text)), "ABCDE"[int(5 * self._share("l" + text))]
        replies = self._options.replies
        chosen = replies[int(len(replies) * self._share("r" + text))]
        return chosen.replace("{number}", str(number)).replace("{letter}", letter)

    def _fails(self, text: str) -> bool:
        options = self._options
        return (
            bool(options.fail)
            and options.fail in text
            and (not options.fail_while or Path(options.fail_while).exists())
        )

    def _share(self, text: str) -> float:
        """A number in [0, 1) that depends on the text."""
        digest = hashlib.sha256((self._options.salt + text).encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:4], "big") / 2**32

    def _count(self, requests: Iterator[Request]) -> None:
        if self._options.calls:
            with Path(self._options.calls).open("a", encoding="utf-8") as file:
                file.writelines(content_key("", request) + "\n" for request in requests)


class StreamingScriptedBackend(ScriptedBackend):
    """The same answers, of many requests at a time and in another order."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._open: list[tuple[int, Request]] = []
        self._newest = False
        self._most = self._options.in_flight
        self._held = False
        self._facts: dict[str, int] = {}

    def check(self, needs: Needs) -> None:
        """Refuse the kinds that the options name. Raises :class:`~lmrun.errors.BackendError`."""
        for kind in sorted(needs.kinds & set(self._options.refuse)):
            raise BackendError(f"the script does not answer {kind}", hint="take the kind out of the option refuse")

    def capabilities(self) -> Sequence[Capability]:
        """By kind of request."""
        states: dict[RequestKind, Literal["yes", "no"]] = {
            kind: "no" if kind in self._options.refuse else "yes" for kind in REQUEST_KINDS
        }
        return [Capability(kind, state, "as the options say") for kind, state in states.items()]

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answer a chunk at a time of what is in flight.

        Raises:
            BackendError: so many answers were given as the options allow.
        """
        self._open, given = [], 0
        try:
            while self._take(requests) or self._held:
                chunk = self._answers()
                given += len(chunk)
                yield chunk
                if 0 < self._options.die_after <= given:
                    raise BackendError("the script ends here", hint="take die_after out of the options")
        except KeyboardInterrupt:
            yield from self._drain()
            raise

    def usage(self) -> Usage:
        """How many requests are worked on, and after an interrupt what became of them."""
        in_flight = len(self._open)
        return Usage(phase=f"{in_flight} in flight", facts=self._facts, in_flight=in_flight, limit=self._most)

    steerable = True

    def hold(self, held: bool) -> None:
        """Take nothing more, or go on."""
        self._held = held

    def scale(self, factor: float) -> str:
        """Work on so many times as many requests at once."""
        self._most = max(1, round(self._most * factor))
        return f"up to {self._most} in flight"

    def drop(self, positions: Collection[int]) -> Collection[int]:
        """All that it has taken is on its way."""
        return ()

    def _take(self, requests: Iterator[tuple[int, Request]]) -> bool:
        new = list(islice(requests, 0 if self._held else max(0, self._most - len(self._open))))
        self._count(request for _, request in new)
        self._open += new
        return bool(self._open)

    def _answers(self) -> Chunk:
        time.sleep(self._options.latency_ms / 1000 if self._open else 0.01)
        size = self._options.chunk
        self._newest = not self._newest
        chosen = slice(-size, None) if self._newest else slice(size)
        chunk = [(position, self.answer(request)) for position, request in self._open[chosen]]
        del self._open[chosen]
        return chunk

    def _drain(self) -> Iterator[Chunk]:
        self._facts = {"drained": 0, "abandoned": 0}
        try:
            while self._open:
                chunk = self._answers()
                self._facts["drained"] += len(chunk)
                yield chunk
        except KeyboardInterrupt:
            self._facts["abandoned"] = len(self._open)
            raise


def scripted_backend(spec: ModelSpec) -> ScriptedBackend:
    """The backend ``scripted``."""
    return StreamingScriptedBackend(spec) if spec.options.get("streaming") else ScriptedBackend(spec)


def _text(context: Context) -> str:
    return context if isinstance(context, str) else canonical_json(context_as_json(context))
