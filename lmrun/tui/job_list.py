"""Which jobs of a run are listed, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lmrun.tui.filters import Filter, Keys
from lmrun.tui.state import JobLine

ENDED = ("done", "failed", "skipped")
"""States in which nothing is done for a job any more."""

KEYS: Keys = MappingProxyType({"task": (), "model": (), "state": (), "metric": (), "error": ()})
"""What a filter can ask of a job."""

Key = Callable[[JobLine], Any]

ORDERS: Mapping[str, Key | None] = {
    "": None,
    "task": lambda job: job.label.lower(),
    "model": lambda job: job.model.lower(),
    "progress": lambda job: -progress(job),
    "score": lambda job: (job.value is None, -(job.value or 0.0)),
    "tok/s": lambda job: -(job.tokens_per_second or 0.0),
    "err": lambda job: -job.errors,
    "ETA": lambda job: (job.eta is None, job.eta or 0.0),
}
"""By the title of a column, what is most first; without a title the order of the plan."""


def progress(job: JobLine) -> float:
    """From 0 to 1."""
    if job.state == "done":
        return 1.0
    return job.done / job.requests if job.requests else 0.0


def fields(job: JobLine) -> Mapping[str, str]:
    """What a filter sees of a job."""
    failed = [f"{job.errors} errors"] if job.errors else []
    return {
        "task": job.label,
        "model": job.model,
        "state": job.state,
        "metric": job.metric,
        "error": " ".join([job.error, *failed]),
    }


def listed(jobs: Sequence[JobLine], wanted: Filter, order: str) -> list[JobLine]:
    """Those that fit, in an order."""
    found = [job for job in jobs if wanted.matches(fields(job))] if wanted else list(jobs)
    key = ORDERS[order]
    return found if key is None else sorted(found, key=key)


def current(jobs: Sequence[JobLine]) -> int:
    """Place of the first job that is worked on, or else of the first one that is not done; the first where all are."""
    working = ("answering", "scoring")
    places = [place for place, job in enumerate(jobs) if job.state not in ENDED]
    return next((place for place in places if jobs[place].state in working), places[0] if places else 0)
