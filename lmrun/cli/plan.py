"""``lmrun plan``: what a batch would do."""

from __future__ import annotations

import sys

from lmrun.cli import options


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
    """Show what a batch would ask.

    Lists jobs with their docs, requests and prompt tokens, and how much the cache already holds.
    Prompts are rendered as in a run; no model is loaded.
    """
    import dataclasses
    import json as json_module

    from lmrun.display.table import Column, Table
    from lmrun.engine.forecast import forecast
    from lmrun.engine.inputs import Overrides, open_manifest, open_sources
    from lmrun.engine.plan import build_plan

    overrides = Overrides(limit, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    loaded = open_manifest(manifest, overrides)
    planned = build_plan(loaded, open_sources(loaded))
    rows = list(forecast(planned, loaded.run.cache))
    if json:
        sys.stdout.write(json_module.dumps([dataclasses.asdict(row) for row in rows]) + "\n")
        return
    names = ("docs", "requests", "distinct", "in cache", "to ask", "≈ prompt tokens", "≤ new tokens")
    table = Table((Column("model"), Column("task"), *(Column(name, right=True) for name in names)))
    for row in rows:
        counts = (row.docs, row.requests, row.distinct, row.cached, row.to_ask, row.prompt_tokens, row.new_tokens)
        table.add(row.model, row.label, *(f"{count:,}" for count in counts))
    sums = [sum(getattr(row, f) for row in rows) for f in ("docs", "requests", "distinct", "cached", "to_ask")]
    tokens = [sum(row.prompt_tokens for row in rows), sum(row.new_tokens for row in rows)]
    table.add("total", f"{len(rows)} jobs", *(f"{count:,}" for count in (*sums, *tokens)), style="bold")
    table.show()
    for model in planned.models:
        if model.error:
            sys.stderr.write(f"model {model.spec.name} cannot run: {model.error.message}\n")
    sys.stderr.write("prompt tokens are estimated as UTF-8 bytes / 4 of what is left to ask\n")
