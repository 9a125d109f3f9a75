"""Replies of OpenAI-compatible servers: their choices in order, what they cost, and why they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmrun.backends.api.call import Malformed
from lmrun.backends.api.failures import message_of
from lmrun.requests import FinishReason

_FINISHED: Mapping[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refusal",
}
"""All other reasons mean that the model, or a stop, has ended the answer."""
_BROKEN_OFF = frozenset({"abort", "error", "cancelled"})
"""The server gave up on the answer: what there is of it is none."""
_ABSURD = 10**9
"""No request has so many tokens."""


class Spent(NamedTuple):
    """Tokens of a reply, as the server counts them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


def choices(reply: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """The choice for each of ``count`` prompts, by its ``index``: the order in a reply means nothing.

    Raises:
        Malformed: there are more or fewer, two of them claim one place, or the reply is an error after all.
    """
    _raise_error(reply)
    found = reply.get("choices")
    if not isinstance(found, list) or not all(isinstance(choice, dict) for choice in found):
        raise Malformed("the reply has no list of choices")
    if len(found) != count:
        raise Malformed(f"the reply has {len(found)} choices for {count} prompts")
    for choice in found:
        _raise_error(choice)
    if count == 1:
        return found
    placed = {choice.get("index"): choice for choice in found}
    if set(placed) != set(range(count)):
        raise Malformed(f"the choices have the indices {[c.get('index') for c in found]}, not 0 to {count - 1}")
    return [placed[i] for i in range(count)]


def _raise_error(part: Mapping[str, Any]) -> None:
    # Gateways report an upstream's failure inside of a reply with status 200.
    if part.get("error"):
        raise Malformed(f"an error in place of an answer: {message_of(part)[:500]}")


def spent(reply: Mapping[str, Any]) -> Spent:
    """What a reply cost; zeros where the server does not say."""
    usage = table(reply, "usage")
    prompt, completion = counted(usage, "prompt_tokens"), counted(usage, "completion_tokens")
    cached = counted(table(usage, "prompt_tokens_details"), "cached_tokens")
    reasoning = counted(table(usage, "completion_tokens_details"), "reasoning_tokens")
    return Spent(prompt, min(cached, prompt), completion, min(reasoning, completion))


def table(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a usage report; empty where it is no table: an answer is not lost for what is wrong beside it."""
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def counted(usage: Mapping[str, Any], name: str) -> int:
    """A number of tokens; 0 where there is none."""
    value = usage.get(name)
    return value if isinstance(value, int) and 0 < value < _ABSURD else 0


def finish_reason(choice: Mapping[str, Any]) -> FinishReason:
    """Why an answer ended. Raises :class:`Malformed` where the server broke it off."""
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason in _BROKEN_OFF:
        raise Malformed(f"the server broke the answer off (finish_reason {reason!r})")
    return _FINISHED.get(str(reason), "stop")


def share(total: int, weights: Sequence[int]) -> list[int]:
    """A count in whole parts that sum to it, in proportion to weights."""
    if not sum(weights):
        weights = [1] * len(weights)
    ends, so_far = [], 0
    for weight in weights:
        so_far += weight
        ends.append(total * so_far // sum(weights))
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def divide(reply: Mapping[str, Any], prompt_tokens: Sequence[int]) -> list[Mapping[str, Any]]:
    """The reply to several prompts as one reply for each; ``prompt_tokens`` says how long they were.

    Usage is stated for all of them together. Each gets of it by the length of its prompt and of its answer.
    """
    placed = choices(reply, len(prompt_tokens))
    whole = spent(reply)
    answers = [len(str(choice.get("text") or "").encode("utf-8", "surrogatepass")) for choice in placed]
    parts = zip(
        placed,
        share(whole.prompt_tokens, prompt_tokens),
        share(whole.cached_tokens, prompt_tokens),
        share(whole.completion_tokens, answers),
        share(whole.reasoning_tokens, answers),
        strict=True,
    )
    return [{"choices": [choice], "usage": _usage(Spent(*counts))} for choice, *counts in parts]


def _usage(part: Spent) -> dict[str, Any]:
    return {
        "prompt_tokens": part.prompt_tokens,
        "completion_tokens": part.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": part.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": part.reasoning_tokens},
    }


def divide_cost(cost: Spent, count: int) -> list[Spent]:
    """What one call cost, for each of the requests that it answers."""
    return [Spent(*parts) for parts in zip(*(share(total, [1] * count) for total in cost), strict=True)]
