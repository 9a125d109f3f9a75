"""``lmrun plan``: what a batch would do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmrun.display.table import Table
    from lmrun.engine.forecast import Forecast, JobForecast
    from lmrun.engine.plan import Plan


def plan(
    manifest: options.ManifestPath,
    limit: options.Limit = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Show what a batch would ask, and what it would cost.

    Lists jobs with their docs, requests and prompt tokens, how much the cache already holds, and what the rest costs:
    from the prompts alone to the longest answers. Prompts are rendered as in a run; no model is loaded.

    Exit codes: 0, 2 bad input, 3 a model cannot run.
    """
    from lmrun.engine.forecast import budget_words, forecast
    from lmrun.engine.inputs import Overrides, open_manifest, open_sources
    from lmrun.engine.plan import build_plan
    from lmrun.errors import ExitCode

    overrides = Overrides(limit, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    loaded = open_manifest(manifest, overrides)
    planned = build_plan(loaded, open_sources(loaded))
    found = forecast(planned, loaded.run.cache)
    budget = list(budget_words(planned, found))
    if json:
        sys.stdout.write(_json(planned, found, budget) + "\n")
    else:
        _table(found).show()
        sys.stderr.writelines(line + "\n" for line in (*_remarks(found), *budget))
    if any(model.error for model in found.models):
        raise typer.Exit(ExitCode.BACKEND_FAILED)


def _json(planned: Plan, found: Forecast, budget: list[str]) -> str:
    import json
    from dataclasses import asdict

    run = planned.manifest.run
    parts = {
        **asdict(found),
        "total": asdict(found.total()),
        "budget": {"usd": run.budget_usd, "tokens": run.budget_tokens, "verdict": budget},
    }
    return json.dumps(parts)


def _table(found: Forecast) -> Table:
    from lmrun.display.table import Column, Table

    names = ("docs", "requests", "distinct", "in cache", "to ask", "prompt tokens", "≤ new tokens", "USD")
    table = Table((Column("model"), Column("task"), *(Column(name, right=True) for name in names)))
    for job in found.jobs:
        table.add(job.model, job.label, *_cells(job))
    table.add("total", f"{len(found.jobs)} jobs", *_cells(found.total()), style="bold")
    return table


def _cells(job: JobForecast) -> Iterator[str]:
    from lmrun.display.format import dollars

    counts = (job.docs, job.requests, job.distinct, job.cached, job.to_ask, job.prompt_tokens, job.new_tokens)
    yield from (f"{count:,}" for count in counts)
    if job.usd_low is None or job.usd_high is None or not (job.usd_high or job.to_ask == 0):
        yield ""
    elif job.usd_low == job.usd_high:
        yield dollars(job.usd_high)
    else:
        yield f"{dollars(job.usd_low)} – {dollars(job.usd_high)}"


def _remarks(found: Forecast) -> Iterator[str]:
    from lmrun.engine.price import FREE
    from lmrun.engine.prices import no_price

    for model in found.models:
        if model.error:
            yield f"model {model.model} cannot run: {model.error}"
            continue
        yield f"{model.model}: prompt tokens {model.method}"
        if model.price is None:
            yield no_price(model.model)
        elif model.price != FREE:
            p = model.price
            yield (
                f"{model.model}: USD per million tokens: {p.input:g} prompt, {p.cached:g} cached, {p.output:g} new; "
                f"{p.source}"
            )
