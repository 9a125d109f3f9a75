"""A run as its files tell it, read again only where something can have changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmrun.engine.progress import ModelProgress
from lmrun.engine.remarks import remarks
from lmrun.engine.steering import LeftOut
from lmrun.engine.usage import usage_by_model
from lmrun.errors import LmrunError
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.records import JobView, MetricRecord
from lmrun.store.runs import RunDirectory
from lmrun.tui.state import JobLine

PAUSE = 1.0
"""Seconds between two counts of a run that goes on."""
SHARE = 0.05
"""Of the time, at most so much is spent on counting."""
PATIENCE_MS = 200
"""How long a look waits for a database that is busy."""
STEP = 0.05
"""Seconds of a look for what takes long to find out: the rest is found out in the next ones."""

_STATES = {"pending": "waiting", "rendered": "ready", "looked_up": "answering", "answered": "scoring", "scored": "done"}
_MODEL_STATES = {"pending": "waiting", "running": "answering"}
_NO_SHARES = ("bleu", "chrf", "rouge", "mcc", "bypass")
"""Metrics of which more is better, and which are no shares although they can lie between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a run from its files."""

    facts: dict[str, Any] = field(default_factory=dict)
    jobs: Sequence[JobLine] = ()
    models: Sequence[ModelProgress] = ()
    truncated: int = 0


class StoredRun:
    """Reads one run. For one thread: SQLite's connections are bound to theirs."""

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._reader: RunReader | None = None
        self._version = -1
        self._states: tuple[tuple[int, str], ...] | None = None
        self._due = 0.0
        self._stale = self._attached = False
        self._looks = 0
        self._facts: dict[str, Any] = {}
        self._models: list[dict[str, Any]] = []
        self._jobs: list[JobView] = []
        self._metrics: dict[int, MetricRecord] = {}
        self._found = _Found()
        self._last = Stored()
        self.problem = ""
        """Why the last look found nothing new."""

    def close(self) -> None:
        """Let go of the files."""
        if self._reader:
            self._reader.close()
            self._reader = None

    def read(self, *, attached: bool) -> Stored:
        """The run now. ``attached``: an engine tells how far it is, so only what it has finished is read here."""
        try:
            if not self._run.database.exists():
                raise FileNotFoundError
            self._read(attached=attached)
            self.problem = ""
        except FileNotFoundError:
            self.problem = "the folder of the run is gone"
            self.close()
        except LmrunError as error:
            self.problem = f"{error.message}: {error.hint}" if error.hint else error.message
            self.close()
        except UNREADABLE as error:
            if not (isinstance(error, sqlite3.OperationalError) and _is_busy(error)):
                self.problem = f"the run cannot be read: {error}"
                self.close()
        return self._last

    def _read(self, *, attached: bool) -> None:
        reader = self._open()
        changed = self._renew(reader, attached=attached)
        # The first look must be quick: somebody waits for the first picture.
        if self._looks and not attached:
            changed |= self._find_out(reader)
        self._looks += 1
        if changed:
            self._last = self._stored()

    def _open(self) -> RunReader:
        if self._reader is None:
            self._reader = RunReader(self._run, patience_ms=PATIENCE_MS)
            self._version, self._states = -1, None
        return self._reader

    def _renew(self, reader: RunReader, *, attached: bool) -> bool:
        """Read what has changed; False if that is nothing."""
        version = reader.version()
        changed = version != self._version
        if changed:
            self._facts, self._models = reader.info(), reader.models()
            states = reader.states()
            self._stale = True
            self._version = version
            if states != self._states:
                self._states, self._due = states, 0.0
        if self._attached and not attached:
            self._due = 0.0  # from now on these files are all that is known
        self._attached = attached
        now = self._clock()
        if self._stale and (self._due == 0.0 or (not attached and now >= self._due)):
            self._jobs = reader.jobs()
            metrics = ((job.id, reader.metrics(job.id)) for job in self._jobs if job.status == "scored")
            self._metrics = {job_id: found[0] for job_id, found in metrics if found}
            end = self._clock()
            self._due, self._stale = end + max(PAUSE, (end - now) / SHARE), False
            return True
        return changed

    def _find_out(self, reader: RunReader) -> bool:
        """Spend a moment on what takes long to count in a large run; False if nothing is left."""
        until = self._clock() + STEP
        found = False
        for step in self._found.missing(reader, self._jobs, self._facts):
            step()
            found = True
            if self._clock() >= until:
                break
        return found

    def _stored(self) -> Stored:
        failed = {m["name"]: (m["error"] or {}).get("message", "") for m in self._models if m["status"] == "failed"}
        jobs = tuple(self._line(job, failed.get(job.model)) for job in self._jobs)
        usage = self._found.usage
        models = tuple(
            ModelProgress(
                name=model["name"],
                backend=model["backend"],
                model=model["model"],
                state=_MODEL_STATES.get(model["status"], model["status"]),
                usd=usage[model["name"]][0] if model["name"] in usage else 0.0,
                tokens=usage[model["name"]][1] if model["name"] in usage else 0,
            )
            for model in self._models
        )
        return Stored(self._facts, jobs, models, sum(job.n_truncated for job in self._jobs))

    def _line(self, job: JobView, model_error: str | None) -> JobLine:
        metric = self._metrics.get(job.id)
        state = _STATES.get(job.status, job.status)
        error = (job.error or {}).get("message", "")
        if job.error and job.error.get("kind") == LeftOut.__name__:
            state = "skipped"
        elif model_error is not None and state != "done":
            state, error = "failed", error or model_error
        value = metric.value if metric and isinstance(metric.value, int | float) else None
        interval = (metric.interval[0], metric.interval[1]) if metric and metric.interval else None
        return JobLine(
            id=job.id,
            model=job.model,
            label=job.label,
            state=state,
            docs=job.n_docs,
            requests=job.requests if state == "done" else self._found.totals.get(job.id, 0),
            done=job.requests,
            cache_hits=job.cache_hits,
            errors=job.n_errors,
            metric=metric.metric if metric else "",
            value=value,
            interval=interval,
            percent=metric is not None and is_share(metric),
            remarks=self._found.remarks.get(_counts(job), ""),
            error=error,
        )


class _Found:
    """What takes long to count, and is kept once it is known."""

    def __init__(self) -> None:
        self.totals: dict[int, int] = {}
        """By id of a job that is not done, how many requests it has."""
        self.remarks: dict[tuple[int, ...], str] = {}
        self.usage: dict[str, tuple[float, int]] = {}
        """By model, dollars and tokens."""
        self._usage_of: object = None

    def missing(
        self, reader: RunReader, jobs: Sequence[JobView], facts: Mapping[str, Any]
    ) -> Iterator[Callable[[], None]]:
        """What is left to find out, one step each."""
        moment = (facts.get("status"), facts.get("finished"))
        if facts and self._usage_of != moment:
            yield lambda: self._sum(reader, moment)
        for job in jobs:
            if job.status == "scored" and _counts(job) not in self.remarks:
                yield lambda job=job: self._remark(reader, job)  # type: ignore[misc]
            elif job.status in ("rendered", "looked_up", "answered") and job.id not in self.totals:
                yield lambda job=job: self._count(reader, job)  # type: ignore[misc]

    def _remark(self, reader: RunReader, job: JobView) -> None:
        # Filters extract from what was generated only; to look for that takes a while in a large job.
        extracted = reader.extractions(job.id) if job.output_type == "generate_until" else {}
        self.remarks[_counts(job)] = remarks(job.n_docs, job.n_truncated, job.n_refused, extracted)

    def _count(self, reader: RunReader, job: JobView) -> None:
        self.totals[job.id] = job.requests + reader.unanswered_of(job.id)

    def _sum(self, reader: RunReader, moment: object) -> None:
        self.usage = {name: (used.usd or 0.0, used.tokens.total) for name, used in usage_by_model(reader).items()}
        self._usage_of = moment


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _counts(job: JobView) -> tuple[int, ...]:
    return job.id, job.n_scored, job.n_errors, job.n_truncated, job.n_refused


def is_share(metric: MetricRecord) -> bool:
    """Whether a metric is read as a percentage."""
    bounds = [metric.value, *(metric.interval or ())]
    named = metric.metric.lower().startswith(_NO_SHARES)
    return (
        bool(metric.higher_is_better) and not named and all(isinstance(x, int | float) and 0 <= x <= 1 for x in bounds)
    )
