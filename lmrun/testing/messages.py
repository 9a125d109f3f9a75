"""``/v1/messages`` and ``/v1/messages/count_tokens`` as Anthropic describes them."""

from __future__ import annotations

from typing import Any

from lmrun.testing.chat import THOUGHT, content, rendered
from lmrun.testing.completions import Kinds
from lmrun.testing.generating import Body, Engine, Refused

_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def answer(engine: Engine, raw: Body, kinds: Kinds = ()) -> dict[str, Any]:
    """The reply to a body. Raises :class:`Refused`."""
    body = engine.read(raw)
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        raise Refused("max_tokens: Field required", param="max_tokens")
    if body.get("temperature", 1) > 1:
        raise Refused("temperature: range: 0..1", param="temperature")
    stops = engine.stops(body, "stop_sequences")
    if not all(stop.strip() for stop in stops):
        raise Refused("stop_sequences: each stop sequence must contain non-whitespace", param="stop_sequences")
    ids = _prompt(engine, body)
    thought = engine.tokens.encode(THOUGHT) if _thinks(engine, body) else []
    room = max(0, engine.room(len(ids), body["max_tokens"], "messages") - len(thought))
    generated = engine.generate(ids, room, body, stops)
    cached = engine.cached(ids)
    return {
        "id": f"msg_{next(engine.numbers)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [
            *([{"type": "thinking", "thinking": THOUGHT, "signature": "c2NyaXB0ZWQ="}] if thought else []),
            *([{"type": "text", "text": generated.text}] if generated.text else []),
        ],
        "stop_reason": "stop_sequence" if generated.stop else _REASONS[generated.finish],
        "stop_sequence": generated.stop,
        "usage": {
            "input_tokens": len(ids) - cached,  # unlike OpenAI's, without what was cached
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": len(thought) + len(generated.ids),
            "output_tokens_details": {"thinking_tokens": len(thought)},
        },
    }


def count_tokens(engine: Engine, raw: Body, kinds: Kinds = ()) -> dict[str, Any]:
    """How long a prompt is. Raises :class:`Refused`."""
    return {"input_tokens": len(_prompt(engine, engine.read(raw)))}


def _prompt(engine: Engine, body: Body) -> list[int]:
    messages = body.get("messages")
    if isinstance(messages, list):
        for i, message in enumerate(messages):
            if message.get("role") not in {"user", "assistant"}:
                said = f"messages.{i}.role: Input should be 'user' or 'assistant'"
                raise Refused(f"{said}; a system prompt goes into the top-level 'system' parameter.")
        if messages and messages[-1]["role"] == "assistant" and content(messages[-1])[-1:].isspace():
            raise Refused("messages: final assistant content cannot end with trailing whitespace")
        if body.get("system"):
            messages = [{"role": "system", "content": body["system"]}, *messages]
    engine.check_prefill(messages)
    return engine.tokens.encode(rendered(messages, continues=True))


def _thinks(engine: Engine, body: Body) -> bool:
    thinking = body.get("thinking") or {}
    if thinking.get("type", "disabled") == "disabled":
        return bool(engine.script.reasoning)
    if body.get("temperature", 1) != 1:
        raise Refused("`temperature` may only be set to 1 when thinking is enabled.", param="temperature")
    if thinking.get("type") == "enabled" and not 1024 <= thinking.get("budget_tokens", 0) < body["max_tokens"]:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024.")
    return True
