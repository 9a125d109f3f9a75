"""Asks the scripted model through a wire, without a network: bodies and replies are JSON all the same."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from lmrun.backends.api.call import Asked, Call, Ready, Wire
from lmrun.backends.api.chat import ChatWire
from lmrun.backends.api.completions import CompletionsWire
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.base import ModelSpec
from lmrun.requests import Request, Response
from lmrun.testing import chat, completions
from lmrun.testing.generating import Engine
from lmrun.testing.script import Script
from lmrun.testing.tokens import save_tokenizer


@cache
def tokenizer() -> str:
    """The folder of the scripted model's tokenizer."""
    return str(save_tokenizer(Path(mkdtemp())))


@cache
def engine(context_length: int = 64) -> Engine:
    """The scripted model."""
    return Engine(Script(context_length=context_length))


def completions_wire(**options: Any) -> CompletionsWire:
    spec = ModelSpec("m", "openai-completions", "tiny", options, offline=True)
    return CompletionsWire(spec, ApiOptions.of(spec))


def chat_wire(**options: Any) -> ChatWire:
    spec = ModelSpec("m", "openai-chat", "tiny", options)
    return ChatWire(spec, ApiOptions.of(spec))


def calls(wire: Wire, requests: Sequence[Request]) -> list[Call | Ready]:
    return list(wire.calls([Asked(i, request) for i, request in enumerate(requests)]))


def sent(wire: Wire, request: Request) -> Call:
    """The one call of a request."""
    (call,) = calls(wire, [request])
    assert isinstance(call, Call), call
    return call


def reply_to(call: Call, kinds: Collection[str] = (), model: Engine | None = None) -> dict[str, Any]:
    """What the scripted model answers."""
    endpoint = chat.answer if call.path == "/chat/completions" else completions.answer
    model = model or engine(4096 if call.path == "/chat/completions" else 64)
    body = json.loads(json.dumps(call.body))
    reply: dict[str, Any] = json.loads(json.dumps(endpoint(model, body, frozenset(kinds))))
    return reply


def ask(wire: Wire, requests: Sequence[Request], kinds: Collection[str] = ()) -> list[Response]:
    """The response to each request; windows of a long text are summed."""
    found: dict[int, list[Response]] = {}
    for call in calls(wire, requests):
        if isinstance(call, Ready):
            found[call.position] = [call.response]
            continue
        for owner, response in zip(call.owners, call.read(reply_to(call, kinds)), strict=True):
            found.setdefault(owner, []).append(response)
    return [_together(found[i]) for i in range(len(requests))]


def _together(parts: list[Response]) -> Response:
    if len(parts) == 1:
        return parts[0]
    return Response(logprob=math.fsum(part.logprob or 0.0 for part in parts))


def truth(ids: Sequence[int], first: int) -> tuple[float, bool]:
    """The log-probability of tokens from ``first`` on, and whether all of them are the likeliest."""
    _, ranks = engine().scored(ids)
    return math.fsum(engine().model.logprobs(ranks[first:])), not any(ranks[first:])


def about(value: float | None) -> Any:
    """Equal but for rounding."""
    return pytest.approx(value, rel=1e-9, abs=1e-9)
