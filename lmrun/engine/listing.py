"""What is in a folder of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.engine.alive import is_live
from lmrun.engine.remarks import headline
from lmrun.engine.usage import usage_by_model
from lmrun.errors import StoreError
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory, all_runs


def _readers(runs_dir: Path) -> Iterator[RunReader]:
    for directory in all_runs(runs_dir):
        try:
            reader = RunReader(directory)
        except StoreError:
            continue  # one damaged run must not hide the others; naming it tells what is wrong
        yield reader
        reader.close()


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line."""

    run: RunDirectory
    name: str
    created: float | None
    """Unix seconds."""
    finished: float | None
    status: str
    """running, complete, incomplete, interrupted."""
    models: Sequence[str]
    jobs: int
    samples: int
    headline: str
    """The first score that there is, e.g. ``arc_easy acc 0.5200 ± 0.0502``."""
    usd: float | None
    """None where some model has no price."""
    tokens: int
    errors: int
    """Samples."""
    live: bool
    """The process that works on it is there, as far as this machine can tell."""


def run_summaries(runs_dir: Path) -> Iterator[RunSummary]:
    """Runs, newest first."""
    return map(_summary, _readers(runs_dir))


def run_summary(run: RunDirectory) -> RunSummary:
    """One run. Raises :class:`~lmrun.errors.StoreError` where it cannot be read."""
    reader = RunReader(run)
    try:
        return _summary(reader)
    finally:
        reader.close()


def _summary(reader: RunReader) -> RunSummary:
    jobs, info, usages = reader.jobs(), reader.info(), usage_by_model(reader)
    prices = [usage.usd for usage in usages.values()]
    scored = next((job for job in jobs if job.status == "scored"), None)
    return RunSummary(
        run=reader.run,
        name=info.get("name") or reader.run.id,
        created=info.get("created"),
        finished=info.get("finished"),
        status=info.get("status") or "",
        models=list(usages),
        jobs=len(jobs),
        samples=sum(job.n_docs for job in jobs),
        headline=f"{scored.label} {headline(reader.metrics(scored.id))}" if scored else "",
        usd=None if None in prices else sum(price for price in prices if price is not None),
        tokens=sum(usage.tokens.total for usage in usages.values()),
        errors=sum(job.n_errors for job in jobs),
        live=is_live(reader.run, info),
    )


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
