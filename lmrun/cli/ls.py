"""``lmrun ls``: listings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from lmrun.engine.listing import RunSummary
    from lmrun.tasks import Entry

app = typer.Typer(help="List tasks, groups, tags, models, runs …", no_args_is_help=True)

Pattern = Annotated[str, typer.Argument(metavar="PATTERN", help="Names to list; * and ? are wildcards.")]
_COUNTED = 20
"""So many lines one counts at a glance."""


def _show(columns: Sequence[str], rows: Iterable[dict[str, Any]], *, json: bool) -> None:
    """Write rows: with ``json`` whole, else what they say under ``columns``."""
    if json:
        import json as json_module

        sys.stdout.write(json_module.dumps(list(rows), default=str) + "\n")
        return
    from lmrun.display.table import Column, Table

    table = Table([Column(name) for name in columns])
    for row in rows:
        table.add(*(_cell(row.get(name)) for name in columns))
    if table.rows:
        table.show()
    else:
        sys.stderr.write("nothing fits\n")


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(value)
    return "" if value is None else str(value)


def _fitting(pattern: str) -> Callable[[str], bool]:
    """Whether a name fits: a wildcard all of it, any other text a part of it."""
    if not any(mark in pattern for mark in "*?["):
        return lambda name: pattern in name
    import fnmatch
    import re

    match = re.compile(fnmatch.translate(pattern)).match
    return lambda name: match(name) is not None


def _entries(kinds: Sequence[str], pattern: str, tasks_path: Sequence[Path] | None) -> list[Entry]:
    from lmrun.engine.catalog import task_catalog

    catalog = task_catalog(tuple(p.absolute() for p in tasks_path or ()))
    for problem in catalog.problems():
        sys.stderr.write(f"warning: {problem}\n")
    fits = _fitting(pattern)
    return [entry for entry in catalog.entries() if entry.kind in kinds and fits(entry.name)]


@app.command()
def tasks(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Tasks with their family, output type, number of evaluated docs and languages.

    Docs and languages are those that a task file states. --json adds dataset, tags and file.
    """
    found = _entries(("task", "python"), pattern, tasks_path)
    _show(("name", "family", "type", "docs", "languages"), map(_task_row, found), json=json)
    if not json and len(found) > _COUNTED:
        sys.stderr.write(f"{len(found):,} tasks\n")


def _task_row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "family": entry.family,
        "type": entry.output_type,
        "docs": entry.docs,
        "languages": entry.languages,
        "dataset": "/".join(part for part in (entry.dataset_path, entry.dataset_name) if part),
        "tags": entry.tags,
        "file": entry.file,
    }


@app.command()
def groups(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Groups of tasks."""
    found = _entries(("group",), pattern, tasks_path)
    rows = ({"name": entry.name, "family": entry.family, "file": entry.file} for entry in found)
    _show(("name", "family", "file"), rows, json=json)


@app.command()
def tags(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Tags and how many tasks carry each."""
    found = _entries(("tag",), pattern, tasks_path)
    _show(("name", "members"), ({"name": entry.name, "members": len(entry.members)} for entry in found), json=json)


@app.command()
def backends(pattern: Pattern = "*", json: options.Json = False) -> None:
    """Backends that a manifest can name, plug-ins included."""
    from lmrun.backends.registry import backend_names

    _show(("name",), ({"name": name} for name in filter(_fitting(pattern), backend_names())), json=json)


@app.command()
def metrics(pattern: Pattern = "*", json: options.Json = False) -> None:
    """Metrics that a task can name."""
    from lmrun.scoring import METRICS

    rows = (
        {"name": name, "aggregation": METRICS[name].aggregation, "higher is better": METRICS[name].higher_is_better}
        for name in filter(_fitting(pattern), sorted(METRICS))
    )
    _show(("name", "aggregation", "higher is better"), rows, json=json)


@app.command()
def models(pattern: Pattern = "*", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Models that runs have evaluated, the newest run of each first."""
    from lmrun.engine.listing import seen_models
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    fits = _fitting(pattern)
    rows = (row for row in seen_models(runs_dir or DEFAULT_RUNS_DIR) if fits(row["name"]))
    _show(("name", "backend", "model", "runs", "last run"), rows, json=json)


@app.command()
def runs(pattern: Pattern = "*", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Runs, newest first."""
    from lmrun.engine.listing import run_summaries
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    fits = _fitting(pattern)
    found = (run for run in run_summaries(runs_dir or DEFAULT_RUNS_DIR) if fits(run.run.id))
    _show(("run", "status", "models", "jobs", "docs", "errors"), map(_run_row, found), json=json)


def _run_row(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.run.id,
        "status": run.status,
        "models": ", ".join(run.models),
        "jobs": run.jobs,
        "docs": run.samples,
        "errors": run.errors or None,
    }
