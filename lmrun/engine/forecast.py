"""What a plan would ask, counted by rendering it, without a model and without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmrun.engine.plan import Plan
from lmrun.engine.render import JobRenderer
from lmrun.requests import Request, context_as_json
from lmrun.store.cache import Cache

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class JobForecast:
    """One job of one model."""

    model: str
    label: str
    docs: int
    requests: int
    distinct: int
    """Requests that no earlier job of the model asks already."""
    cached: int
    """Of the distinct ones: already in the cache."""
    to_ask: int
    prompt_tokens: int
    """Estimate for what is left to ask: UTF-8 bytes / 4."""
    new_tokens: int
    """Upper bound of generated tokens for what is left to ask."""


def forecast(plan: Plan, cache_file: Path) -> Iterator[JobForecast]:
    """Count each job of each model that could be identified."""
    cache = Cache(cache_file) if cache_file.exists() else None
    for model in plan.models:
        if model.identity is None:
            continue
        asked: set[str] = set()
        for job in plan.jobs:
            requests: dict[str, Request] = {}
            total = 0
            for sample in JobRenderer(job, model.identity.fingerprint).samples():
                total += len(sample.requests)
                requests.update((key, request) for _, _, key, request in sample.requests if key not in asked)
            asked.update(requests)
            known = {key for key, _ in cache.get(list(requests))} if cache else set()
            left = [request for key, request in requests.items() if key not in known]
            yield JobForecast(
                model=model.spec.name,
                label=job.label,
                docs=job.n_docs,
                requests=total,
                distinct=len(requests),
                cached=len(known),
                to_ask=len(left),
                prompt_tokens=sum(map(_prompt_tokens, left)),
                new_tokens=sum(int(r.generation.get("max_gen_toks", 256)) for r in left if r.kind == "generate_until"),
            )
    if cache:
        cache.close()


def _prompt_tokens(request: Request) -> int:
    context = context_as_json(request.context)
    texts = [context] if isinstance(context, str) else [message["content"] for message in context]
    size = sum(len(text.encode("utf-8", "replace")) for text in (*texts, request.continuation))
    return -(-size // _BYTES_PER_TOKEN)
