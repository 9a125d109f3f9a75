"""``/v1/completions`` as OpenAI describes it, with ``prompt_logprobs`` and the token ids of vLLM."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from lmrun.testing.generating import Body, Engine, Generated, Refused, usage
from lmrun.testing.model import Rows

Kinds = Collection[str]
"""The faults that happen to a request; ``shifted_logprobs`` changes what is computed."""


def answer(engine: Engine, raw: Body, kinds: Kinds = ()) -> dict[str, Any]:
    """The reply to a body. Raises :class:`Refused`."""
    body = engine.read(raw)
    prompts = _prompts(engine, body.get("prompt"))
    stops = engine.stops(body)
    n_new = engine.at_most(body, "n", 128) if "n" in body else 1
    rooms = [engine.room(len(ids), body.get("max_tokens", 16), "prompt") for ids in prompts]
    reads_cache = not body.get("echo") and "prompt_logprobs" not in body  # as in vLLM
    cached = [engine.cached(ids) if reads_cache else 0 for ids in prompts]
    choices: list[dict[str, Any]] = []
    n_completion = 0
    for ids, room in zip(prompts, rooms, strict=True):
        for which in range(n_new):
            generated = engine.generate(ids, room, body, stops, which)
            n_completion += len(generated.ids)
            choices.append({"index": len(choices), **_choice(engine, ids, generated, body, kinds)})
    return {
        "id": f"cmpl-{next(engine.numbers)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": choices,
        "usage": usage(sum(map(len, prompts)), n_completion, sum(cached)),
    }


def _prompts(engine: Engine, prompt: Any) -> list[list[int]]:
    """The prompts of a request, as ids: one text, one list of ids, or a list of either."""
    if isinstance(prompt, str):
        return [engine.tokens.encode(prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise Refused("you must provide a 'prompt': text, token ids, or a list of these.", param="prompt")
    if engine.script.text_only:
        raise Refused("Input should be a valid string", param="prompt", code="invalid_type")
    if isinstance(prompt[0], int):
        prompt = [prompt]
    return [engine.tokens.encode(one) if isinstance(one, str) else _valid(engine, one) for one in prompt]


def _valid(engine: Engine, ids: Any) -> list[int]:
    if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < engine.model.size for i in ids):
        raise Refused("Token id out of vocabulary, or not a whole number.", param="prompt")
    return ids


def _choice(engine: Engine, prompt: list[int], generated: Generated, body: Body, kinds: Kinds) -> dict[str, Any]:
    echoed = prompt if body.get("echo") else []
    choice: dict[str, Any] = {
        "text": engine.tokens.decode(echoed) + generated.text,
        "logprobs": None,
        "finish_reason": generated.finish,
        "stop_reason": generated.stop,
    }
    if "logprobs" in body:
        choice["logprobs"] = _logprobs(engine, prompt, echoed, generated.ids, body, kinds)
    if "prompt_logprobs" in body:
        choice["prompt_logprobs"] = prompt_logprobs(engine, prompt, body, kinds)
    if body.get("return_token_ids"):
        choice |= {"token_ids": generated.ids, "prompt_token_ids": prompt}
    return choice


def _logprobs(
    engine: Engine, prompt: list[int], echoed: list[int], new: list[int], body: Body, kinds: Kinds
) -> dict[str, Any]:
    """The four lists; of a first token, which nothing comes before, null."""
    k = engine.at_most(body, "logprobs", engine.script.max_logprobs)
    names = engine.tokens.names if body.get("return_tokens_as_token_ids") else engine.tokens.strings
    rows, ranks = engine.scored([*prompt, *new], shifted="shifted_logprobs" in kinds and bool(echoed))
    start = 0 if echoed else len(prompt)
    shown = [*prompt, *new][start:]
    tokens = [names[token] for token in shown]
    own: list[float | None] = [*engine.model.logprobs(ranks[start:])]
    if start == 0 and shown:
        own[0] = None
    return {
        "text_offset": engine.tokens.offsets(shown),
        "token_logprobs": own,
        "tokens": tokens,
        "top_logprobs": _tops(engine, Rows(rows.favorite[start:], rows.shift[start:]), tokens, own, names, k),
    }


def _tops(
    engine: Engine, rows: Rows, tokens: list[str], logprobs: list[float | None], names: list[str], k: int
) -> list[dict[str, float] | None] | None:
    """For each token a mapping with the ``k`` likeliest tokens and itself."""
    if not k:
        return None
    best, *others = engine.model.logprobs(range(k))
    firsts = [names[token] for token in rows.favorite.tolist()]
    tops: list[Any] = [{first: best, token: own} for first, token, own in zip(firsts, tokens, logprobs, strict=True)]
    if others:  # few clients ask for more than one, and those that score do it often
        for entries, top in zip(tops, engine.model.top(rows, k), strict=True):
            entries.update(zip([names[token] for token in top[1:]], others, strict=True))
    return [None if own is None else entries for entries, own in zip(tops, logprobs, strict=True)]


def prompt_logprobs(engine: Engine, prompt: Sequence[int], body: Body, kinds: Kinds) -> list[dict[str, Any] | None]:
    """vLLM's list: for each token of the prompt a mapping from ids, the likeliest ones and its own."""
    k = engine.at_most(body, "prompt_logprobs", engine.script.max_logprobs)
    rows, ranks = engine.scored(prompt, shifted="shifted_logprobs" in kinds)
    by_rank = engine.model.logprobs(range(k))
    own = zip(prompt, ranks.tolist(), engine.model.logprobs(ranks), strict=True)
    strings = engine.tokens.strings
    listed: list[dict[str, Any] | None] = []
    for top, (token, rank, logprob) in zip(engine.model.top(rows, k), own, strict=True):
        entries = {token: (logprob, rank), **{t: (by_rank[r], r) for r, t in enumerate(top)}}
        listed.append(
            {str(t): {"logprob": lp, "rank": r + 1, "decoded_token": strings[t]} for t, (lp, r) in entries.items()}
        )
    return [None, *listed[1:]] if listed else []
