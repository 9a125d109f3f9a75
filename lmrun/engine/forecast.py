"""What a plan would ask and cost, counted by rendering it, without a model and without writing anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from lmrun.backends.base import Counting
from lmrun.backends.tokenize import Unanswerable
from lmrun.engine.budget import Budget
from lmrun.engine.estimate import ESTIMATED, estimated_tokens, new_tokens
from lmrun.engine.open import unfinished
from lmrun.engine.plan import Plan, PlannedJob, PlannedModel
from lmrun.engine.price import Price
from lmrun.engine.prices import Prices
from lmrun.engine.render import JobRenderer
from lmrun.errors import BackendError
from lmrun.manifest import manifest_hash
from lmrun.manifest.backends import API
from lmrun.requests import Request
from lmrun.store.cache import Cache
from lmrun.store.reader import RunReader
from lmrun.store.records import Tokens

_BATCH = 2_000
"""Requests that are looked up at a time."""
COUNTED = "counted with the tokenizer"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ModelForecast:
    """How one model's requests are counted and priced, or why it cannot run."""

    model: str
    method: str
    """How prompt tokens are counted."""
    price: Price | None
    error: str | None = None


@dataclass(slots=True)
class JobForecast:
    """One job of one model."""

    model: str
    label: str
    docs: int
    requests: int = 0
    distinct: int = 0
    """Requests that no earlier job of the model asks already."""
    cached: int = 0
    """Of the distinct ones: already in the cache."""
    to_ask: int = 0
    prompt_tokens: int = 0
    """Of what is left to ask, by the method of the model."""
    new_tokens: int = 0
    """The most that can be generated for what is left to ask."""
    usd_low: float | None = None
    """What the prompts cost; None where no price is known."""
    usd_high: float | None = None
    """With the longest answers."""


@dataclass(slots=True)
class Forecast:
    """Everything that a plan would ask."""

    models: Sequence[ModelForecast]
    jobs: list[JobForecast] = field(default_factory=list)

    def total(self) -> JobForecast:
        """The sum over all jobs. A cost is None as soon as one price is missing."""
        total = JobForecast("", "total", sum(job.docs for job in self.jobs))
        for name in ("requests", "distinct", "cached", "to_ask", "prompt_tokens", "new_tokens"):
            setattr(total, name, sum(getattr(job, name) for job in self.jobs))
        for name in ("usd_low", "usd_high"):
            costs = [getattr(job, name) for job in self.jobs]
            setattr(total, name, None if None in costs else sum(costs))
        return total


def forecast(plan: Plan, cache_file: Path) -> Forecast:
    """Count each job of each model that could be identified. Raises :class:`~lmrun.errors.ManifestError`."""
    prices = Prices.open(plan.manifest.run.prices)
    found = Forecast([])
    cache = Cache(cache_file) if cache_file.exists() else None
    try:
        models = []
        for model in plan.models:
            method, count = _counter(model)
            price = prices.of(model.spec)
            models.append(ModelForecast(model.spec.name, method, price, _error(model)))
            if model.identity is not None:
                found.jobs += _jobs(model, plan.jobs, cache, count, price)
        found.models = models
    finally:
        if cache:
            cache.close()
    return found


def _error(model: PlannedModel) -> str | None:
    return model.error.message if model.error else None


def _counter(model: PlannedModel) -> tuple[str, Callable[[Request], int]]:
    if model.identity is not None:
        backend = model.make(None)
        try:
            exact = backend.counter() if isinstance(backend, Counting) else None
        except BackendError:
            exact = None
        finally:
            backend.close()
        if exact is not None:
            return COUNTED, exact
    return ESTIMATED, estimated_tokens


def _jobs(
    model: PlannedModel,
    jobs: Sequence[PlannedJob],
    cache: Cache | None,
    count: Callable[[Request], int],
    price: Price | None,
) -> Iterator[JobForecast]:
    assert model.identity is not None
    with closing(_Seen()) as seen:
        for job in jobs:
            row = JobForecast(model.spec.name, job.label, job.n_docs)
            asked = model.spec.backend in API
            samples = JobRenderer(job, model.identity.fingerprint).samples()
            for batch in _batches((key, request) for sample in samples for _, _, key, request in sample.requests):
                _add(row, batch, seen, cache, count, asked=asked)
            if price is not None:
                row.usd_low = price.usd(Tokens(input=row.prompt_tokens))
                row.usd_high = price.usd(Tokens(input=row.prompt_tokens, output=row.new_tokens))
            yield row


def _add(
    row: JobForecast,
    batch: Sequence[tuple[str, Request]],
    seen: _Seen,
    cache: Cache | None,
    count: Callable[[Request], int],
    *,
    asked: bool,
) -> None:
    fresh = seen.fresh(dict(batch))
    known = cache.known(list(fresh)) if cache else set()
    left = [request for key, request in fresh.items() if key not in known]
    row.requests += len(batch)
    row.distinct += len(fresh)
    row.cached += len(known)
    row.to_ask += len(left)
    row.prompt_tokens += sum(_tokens(request, count) for request in left)
    row.new_tokens += sum(new_tokens(request, asked=asked) for request in left)


def _tokens(request: Request, count: Callable[[Request], int]) -> int:
    try:
        return count(request)
    except Unanswerable:  # it will be an error, and is not asked
        return 0


class _Seen:
    """Keys of the requests so far, on disk where they are many."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF; CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def fresh(self, requests: Mapping[str, Request]) -> dict[str, Request]:
        """Those of ``requests`` that were not seen before; they are from now on."""
        marks = ",".join("?" * len(requests))
        old = {row[0] for row in self._db.execute(f"SELECT key FROM seen WHERE key IN ({marks})", list(requests))}
        fresh = {key: request for key, request in requests.items() if key not in old}
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO seen VALUES (?)", [(key,) for key in fresh])
        self._db.execute("COMMIT")
        return fresh

    def close(self) -> None:
        """Forget them."""
        self._db.close()


def _batches(items: Iterator[_T]) -> Iterator[list[_T]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


# -- budget ------------------------------------------------------------------------------------------------------------


def budget_words(plan: Plan, found: Forecast) -> Iterator[str]:
    """Whether the budgets of a run are enough for it, as far as prices are known."""
    run, total = plan.manifest.run, found.total()
    spent_usd, spent_tokens = _spent(plan, found.models)
    if run.budget_usd is not None and total.usd_low is not None and total.usd_high is not None:
        low, high = spent_usd + total.usd_low, spent_usd + total.usd_high
        verdict = _verdict(f"budget_usd = {run.budget_usd:g}", run.budget_usd, low, high)
        yield f"{verdict}: at most {high:,.4f} USD" + (f", {spent_usd:,.4f} of them spent already" if spent_usd else "")
    if run.budget_tokens is not None:
        least = spent_tokens + total.prompt_tokens
        most = least + total.new_tokens
        verdict = _verdict(f"budget_tokens = {run.budget_tokens:,}", run.budget_tokens, least, most)
        yield f"{verdict}: at most {most:,} tokens" + (
            f", {spent_tokens:,} of them spent already" if spent_tokens else ""
        )


def _verdict(named: str, limit: float, low: float, high: float) -> str:
    if low > limit:
        return f"{named} will not be enough, the prompts alone take more"
    return f"{named} {'is enough' if high <= limit else 'may not be enough'}"


def _spent(plan: Plan, models: Sequence[ModelForecast]) -> tuple[float, int]:
    """What the unfinished run that this plan would continue has spent, in dollars and tokens."""
    run = unfinished(plan.manifest.run.runs_dir, manifest_hash(plan.manifest))
    if run is None or run[1].get("plan_hash") != plan.hash:
        return 0.0, 0
    with closing(RunReader(run[0])) as reader:
        tokens = reader.tokens()
    return Budget.of(None, None, {model.model: model.price for model in models}, tokens).spent()
