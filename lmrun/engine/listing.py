"""What is in a folder of runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmrun.errors import StoreError
from lmrun.store.reader import RunReader
from lmrun.store.runs import all_runs


def _readers(runs_dir: Path) -> Iterator[RunReader]:
    for directory in all_runs(runs_dir):
        try:
            reader = RunReader(directory)
        except StoreError:
            continue  # one damaged run must not hide the others; naming it tells what is wrong
        yield reader
        reader.close()


def run_summaries(runs_dir: Path) -> Iterator[dict[str, Any]]:
    """Runs, newest first: id, status, models, number of jobs, docs and errors."""
    for reader in _readers(runs_dir):
        jobs = reader.jobs()
        yield {
            "run": reader.run.id,
            "status": reader.info().get("status"),
            "models": ", ".join(model["name"] for model in reader.models()),
            "jobs": len(jobs),
            "docs": sum(job.n_docs for job in jobs),
            "errors": sum(job.n_errors for job in jobs) or None,
        }


def seen_models(runs_dir: Path) -> list[dict[str, Any]]:
    """Models of all runs, by label and source."""
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for reader in _readers(runs_dir):
        for model in reader.models():
            key = (model["name"], model["backend"], model["model"])
            row = seen.setdefault(key, {**dict(zip(("name", "backend", "model"), key, strict=True)), "runs": 0})
            row["runs"] += 1
            row.setdefault("last run", reader.run.id)
    return list(seen.values())
