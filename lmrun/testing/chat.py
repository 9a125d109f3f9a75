"""``/v1/chat/completions`` as OpenAI describes it, with the reasoning and prefills of vLLM."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.testing.completions import Kinds, prompt_logprobs
from lmrun.testing.generating import Body, Engine, Generated, Refused, usage

THOUGHT = "Let me think about that."


def rendered(messages: Any, *, continues: bool) -> str:
    """Messages as the one text that the model sees. Raises :class:`Refused`."""
    if not isinstance(messages, list) or not messages:
        raise Refused("'messages' must be a list of at least one message.", param="messages")
    turns = [f"<{_role(message)}>\n{content(message)}\n" for message in messages]
    if continues and messages[-1]["role"] == "assistant":
        return "".join(turns)[:-1]
    return "".join(turns) + "<assistant>\n"


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in {"system", "developer", "user", "assistant", "tool"}:
        raise Refused(
            f"Invalid value: '{role}'. Supported values are: 'system', 'user', 'assistant'.", param="messages"
        )
    return str(role)


def content(message: Mapping[str, Any]) -> str:
    """The text of a message, parts joined; what is not text shows by its type."""
    parts = message.get("content") or ""
    if isinstance(parts, str):
        return parts
    return "".join(part["text"] if part.get("type") == "text" else f"<{part.get('type')}>" for part in parts)


def answer(engine: Engine, raw: Body, kinds: Kinds = ()) -> dict[str, Any]:
    """The reply to a body. Raises :class:`Refused`."""
    body = engine.read(raw)
    engine.check_prefill(body.get("messages"))
    continues = bool(body.get("continue_final_message")) or engine.script.continues
    ids = engine.tokens.encode(rendered(body.get("messages"), continues=continues))
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    room = engine.room(len(ids), limit, "messages")
    stops = engine.stops(body)
    thought = engine.tokens.encode(THOUGHT)[:room] if engine.script.reasoning else []
    n = engine.at_most(body, "n", 128) if "n" in body else 1
    drawn = [engine.generate(ids, room - len(thought), body, stops, which) for which in range(n)]
    n_new = sum(len(thought) + len(generated.ids) for generated in drawn)
    reply = {
        "id": f"chatcmpl-{next(engine.numbers)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [_choice(engine, i, ids, thought, one, body) for i, one in enumerate(drawn)],
        "usage": usage(len(ids), n_new, engine.cached(ids), len(thought) * n),
    }
    if "prompt_logprobs" in body:
        reply["prompt_logprobs"] = prompt_logprobs(engine, ids, body, kinds)
    return reply


def _choice(
    engine: Engine, index: int, prompt: Sequence[int], thought: Sequence[int], generated: Generated, body: Body
) -> dict[str, Any]:
    message = {"role": "assistant", "content": generated.text, "refusal": None}
    if engine.script.reasoning:
        message[engine.script.reasoning] = engine.tokens.decode(thought)
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(engine, prompt, generated.ids, body),
        "finish_reason": generated.finish,
        "stop_reason": generated.stop,
    }


def _logprobs(engine: Engine, prompt: Sequence[int], new: Sequence[int], body: Body) -> dict[str, Any] | None:
    k = engine.at_most(body, "top_logprobs", engine.script.max_logprobs) if "top_logprobs" in body else 0
    if not body.get("logprobs"):
        if k:
            message = "'logprobs' must be true where 'top_logprobs' is given."
            raise Refused(message, param="top_logprobs", code="invalid_value")
        return None
    rows, ranks = engine.scored([*prompt, *new])
    rows = type(rows)(rows.favorite[len(prompt) :], rows.shift[len(prompt) :])
    by_rank = engine.model.logprobs(range(k))
    own = zip(new, engine.model.logprobs(ranks[len(prompt) :]), engine.model.top(rows, k), strict=True)
    content = [
        {
            **_entry(engine, token, logprob),
            "top_logprobs": [_entry(engine, t, lp) for t, lp in zip(top, by_rank, strict=True)],
        }
        for token, logprob, top in own
    ]
    return {"content": content, "refusal": None}


def _entry(engine: Engine, token: int, logprob: float) -> dict[str, Any]:
    return {"token": engine.tokens.strings[token], "logprob": logprob, "bytes": [*engine.tokens.bytes[token]]}
