"""What is in a folder of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lmrun.engine.alive import is_live
from lmrun.engine.remarks import headline
from lmrun.engine.usage import usage_by_model
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.runs import RunDirectory, all_runs

T = TypeVar("T")


def _of_each(runs_dir: Path, read: Callable[[RunReader], T]) -> Iterator[T]:
    for directory in all_runs(runs_dir):
        try:
            with closing(RunReader(directory)) as reader:
                found = read(reader)
        except UNREADABLE:
            continue  # one damaged run must not hide the others; naming it tells what is wrong
        yield found


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
    return _of_each(runs_dir, _summary)


def run_summary(run: RunDirectory) -> RunSummary:
    """One run. Raises :class:`~lmrun.errors.StoreError` where it cannot be read."""
    with closing(RunReader(run)) as reader:
        return _summary(reader)


def _summary(reader: RunReader) -> RunSummary:
    jobs, info, usages = reader.jobs(), reader.info(), usage_by_model(reader)
    prices = [usage.usd for usage in usages.values()]
    scored = next((job for job in jobs if job.status == "scored"), None)
    return RunSummary(
        run=reader.run,
        name=str(info.get("name") or reader.run.id),
        created=_seconds(info.get("created")),
        finished=_seconds(info.get("finished")),
        status=str(info.get("status") or ""),
        models=list(usages),
        jobs=len(jobs),
        samples=sum(job.n_docs for job in jobs),
        headline=f"{scored.label} {headline(reader.metrics(scored.id))}" if scored else "",
        usd=None if None in prices else sum(price for price in prices if price is not None),
        tokens=sum(usage.tokens.total for usage in usages.values()),
        errors=sum(job.n_errors for job in jobs),
        live=is_live(reader.run, info),
    )


def _seconds(fact: object) -> float | None:
    return fact if isinstance(fact, int | float) else None


def seen_models(runs_dir: Path) -> list[dict[str, Any]]:
    """Models of all runs, by label and source."""
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run, models in _of_each(runs_dir, lambda reader: (reader.run.id, reader.models())):
        for model in models:
            key = (model["name"], model["backend"], model["model"])
            row = seen.setdefault(key, {**dict(zip(("name", "backend", "model"), key, strict=True)), "runs": 0})
            row["runs"] += 1
            row.setdefault("last run", run)
    return list(seen.values())
