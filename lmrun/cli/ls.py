"""``lmrun ls``: listings."""

from __future__ import annotations

import fnmatch
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

app = typer.Typer(help="List tasks, groups, tags, models, runs …", no_args_is_help=True)

Pattern = Annotated[str, typer.Argument(metavar="PATTERN", help="Names to list; * and ? are wildcards.")]


def _show(columns: Sequence[str], rows: Sequence[dict[str, Any]], *, json: bool) -> None:
    if json:
        import json as json_module

        sys.stdout.write(json_module.dumps(list(rows), default=str) + "\n")
        return
    from lmrun.display.table import Column, Table

    if not rows:
        sys.stderr.write("nothing fits\n")
        return
    table = Table([Column(name) for name in columns])
    for row in rows:
        table.add(*("" if row.get(name) is None else row[name] for name in columns))
    table.show()


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or (pattern in name and not any(c in pattern for c in "*?["))


def _entries(kind: str, pattern: str, tasks_path: Sequence[Path] | None) -> list[dict[str, Any]]:
    from lmrun.engine.catalog import task_catalog

    catalog = task_catalog(tuple(p.absolute() for p in tasks_path or ()))
    for problem in catalog.problems():
        sys.stderr.write(f"warning: {problem}\n")
    rows = []
    for entry in catalog.entries():
        if (entry.kind == kind or (kind == "task" and entry.kind == "python")) and _fits(entry.name, pattern):
            dataset = "/".join(part for part in (entry.dataset_path, entry.dataset_name) if part)
            rows.append(
                {
                    "name": entry.name,
                    "type": entry.output_type,
                    "dataset": dataset,
                    "tags": ", ".join(entry.tags),
                    "members": len(entry.members) or None,
                    "file": entry.file,
                }
            )
    return rows


@app.command()
def tasks(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Tasks with their output type and dataset."""
    _show(("name", "type", "dataset", "tags"), _entries("task", pattern, tasks_path), json=json)


@app.command()
def groups(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Groups of tasks."""
    _show(("name", "file"), _entries("group", pattern, tasks_path), json=json)


@app.command()
def tags(pattern: Pattern = "*", tasks_path: options.TasksPath = None, json: options.Json = False) -> None:
    """Tags and how many tasks carry each."""
    _show(("name", "members"), _entries("tag", pattern, tasks_path), json=json)


@app.command()
def backends(pattern: Pattern = "*", json: options.Json = False) -> None:
    """Backends that a manifest can name, plug-ins included."""
    from lmrun.backends.registry import backend_names

    _show(("name",), [{"name": name} for name in backend_names() if _fits(name, pattern)], json=json)


@app.command()
def metrics(pattern: Pattern = "*", json: options.Json = False) -> None:
    """Metrics that a task can name."""
    from lmrun.scoring import METRICS

    rows = [
        {"name": name, "aggregation": metric.aggregation, "higher is better": metric.higher_is_better}
        for name, metric in sorted(METRICS.items())
        if _fits(name, pattern)
    ]
    _show(("name", "aggregation", "higher is better"), rows, json=json)


@app.command()
def models(pattern: Pattern = "*", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Models that runs have evaluated, the newest run of each first."""
    from lmrun.engine.listing import seen_models
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    rows = [row for row in seen_models(runs_dir or DEFAULT_RUNS_DIR) if _fits(row["name"], pattern)]
    _show(("name", "backend", "model", "runs", "last run"), rows, json=json)


@app.command()
def runs(pattern: Pattern = "*", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Runs, newest first."""
    from lmrun.engine.listing import run_summaries
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    rows = [row for row in run_summaries(runs_dir or DEFAULT_RUNS_DIR) if _fits(row["run"], pattern)]
    _show(("run", "status", "models", "jobs", "docs", "errors"), rows, json=json)
