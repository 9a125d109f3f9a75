"""Where pages get their picture of a run: from the engine while it lives, from the run's files otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from lmrun.display.base import stall
from lmrun.engine.alive import engine_lives, last_write
from lmrun.engine.control.client import ControlClient
from lmrun.engine.progress import JobProgress, ModelProgress, Snapshot
from lmrun.store.runs import RunDirectory
from lmrun.tui.history import History
from lmrun.tui.state import ENDED, LIVE, JobLine, RunState, RunView
from lmrun.tui.stored import Stored, StoredRun

PATIENCE = 1.0
"""Seconds that an engine has for an answer."""
START = 5.0
"""Seconds after which an engine that never answered is not starting any more."""

_Line = TypeVar("_Line", JobLine, ModelProgress)


class Engine(Protocol):
    """What tells how a run is while it is worked on."""

    def snapshot(self) -> Snapshot | None:
        """The run now; None where no engine answers."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class RunWatch:
    """Looks at one run, always from the same thread of its own: looks never run beside each other."""

    def __init__(
        self, run: RunDirectory, engine: Engine | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._clock = run, clock
        self._engine = engine or ControlClient(run, PATIENCE)
        self._store = StoredRun(run, clock)
        self._history = History()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._opened = clock()
        self._answered = False
        self._closed = False
        self._last: RunView | None = None

    def look(self) -> RunView:
        """The run now; once closed, as it was."""
        try:
            looked = self._thread.submit(self._look)
        except RuntimeError:
            if self._last is None:
                raise
            return self._last
        return looked.result()

    def close(self) -> None:
        """Let go of the run's files and of the engine, when the look that goes on is done."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._release)
            self._thread.shutdown(wait=False)

    def _release(self) -> None:
        self._store.close()
        self._engine.close()

    def _look(self) -> RunView:
        snapshot = self._engine.snapshot()
        stored = self._store.read(attached=snapshot is not None)
        view = self._attached(snapshot, stored) if snapshot else self._alone(stored)
        self._answered |= view.attached
        self._history.add(self._clock(), view.models if snapshot else ())
        if view.state == "paused":
            view = _resting(view)
        self._last = replace(
            _summed(view), history=self._history.values() if snapshot else {}, problem=self._store.problem
        )
        return self._last

    def _attached(self, snapshot: Snapshot, stored: Stored) -> RunView:
        """An engine answers: how far it is, with the scores of what it has finished."""
        return RunView(
            id=self._run.id,
            name=str(stored.facts.get("name", self._run.id)),
            state=_live_state(snapshot, stored.facts),
            attached=True,
            phase=snapshot.phase,
            detail=snapshot.detail,
            elapsed=snapshot.elapsed,
            jobs=_merged(snapshot.jobs, stored.jobs),
            models=snapshot.models,
            devices=snapshot.devices,
            truncated=stored.truncated,
            rate=snapshot.rate,
            eta=snapshot.eta,
            usd=snapshot.usd,
            tokens=snapshot.tokens,
            rss=snapshot.rss,
            cpu=snapshot.cpu,
            notes=snapshot.notes,
            stalled="" if snapshot.paused else stall(snapshot),
            facts=stored.facts,
        )

    def _alone(self, stored: Stored) -> RunView:
        """No engine answers."""
        facts = stored.facts
        state, words = self._state(facts)
        return RunView(
            id=self._run.id,
            name=str(facts.get("name", self._run.id)),
            state=state,
            attached=False,
            phase="",
            detail="",
            elapsed=self._elapsed(facts, state),
            jobs=stored.jobs if state in LIVE else _halted(stored.jobs),
            models=stored.models if state in LIVE else _halted(stored.models),
            truncated=stored.truncated,
            usd=sum(model.usd for model in stored.models),
            tokens=sum(model.tokens for model in stored.models),
            stalled=words,
            facts=facts,
        )

    def _state(self, facts: Mapping[str, Any]) -> tuple[RunState, str]:
        """How a run is whose engine does not answer, and what to say of that."""
        status = str(facts.get("status", ""))
        if status != "running":
            # Facts are missing where the files never could be read: nothing works on that run either, for all we know.
            return ENDED.get(status, "interrupted"), ""
        lives = engine_lives(self._run, facts)
        if lives is None:
            return "running", f"works on {facts.get('host')}: seen through its files only"
        if not lives:
            return "dead", ""
        # It listens a moment after it has written that it runs.
        if not self._answered and self._clock() < self._opened + START:
            return "starting", ""
        return "running", f"the engine, process {facts.get('pid')}, does not answer"

    def _elapsed(self, facts: Mapping[str, Any], state: RunState) -> float:
        created = facts.get("created")
        if not isinstance(created, int | float):
            return 0.0
        if state == "dead":
            return max(0.0, last_write(self._run) - created)
        ended = None if state in ("running", "starting") else facts.get("finished")
        return max(0.0, (ended if isinstance(ended, int | float) else time.time()) - created)


def _halted(lines: Sequence[_Line]) -> Sequence[_Line]:
    """Nobody works on them."""
    return [replace(line, state="waiting") if line.state in ("answering", "scoring") else line for line in lines]


def _resting(view: RunView) -> RunView:
    """While a run is paused, speeds are those of before, and nobody knows when it ends."""
    models = [
        replace(model, state="paused", tokens_per_second=None, requests_per_second=None)
        if model.state == "answering"
        else model
        for model in view.models
    ]
    jobs = [replace(job, tokens_per_second=None, eta=None) for job in view.jobs]
    return replace(view, rate=None, eta=None, models=models, jobs=jobs)


def _live_state(snapshot: Snapshot, facts: Mapping[str, Any]) -> RunState:
    if snapshot.phase in ("finished", "interrupted"):
        return ENDED.get(str(facts.get("status")), "draining")
    if snapshot.phase == "draining":
        return "draining"
    if snapshot.paused:
        return "paused"
    return "starting" if snapshot.phase == "planning" else "running"


def _summed(view: RunView) -> RunView:
    """With the counts of all jobs, and the time for those that were not looked up yet."""
    to_come = _to_come(view.jobs)
    eta = view.eta + to_come / view.rate if view.eta is not None and view.rate else view.eta
    return replace(
        view,
        requests=sum(job.requests for job in view.jobs) + to_come,
        done=sum(job.done for job in view.jobs),
        cache_hits=sum(job.cache_hits for job in view.jobs),
        errors=sum(job.errors for job in view.jobs),
        eta=eta,
    )


def _to_come(jobs: Sequence[JobLine]) -> int:
    """Requests of jobs whose turn has not come: as many as another model has in the same job."""
    known = {job.label: job.requests for job in jobs if job.requests}
    return sum(known.get(job.label, 0) for job in jobs if not job.requests and job.state in ("waiting", "ready"))


def _merged(live: Sequence[JobProgress], stored: Sequence[JobLine]) -> Sequence[JobLine]:
    """Jobs as the engine counts them, with scores from the store."""
    known = {(job.model, job.label): job for job in stored}
    return tuple(_line(job, known.get((job.model, job.label))) for job in live) or stored


def _line(job: JobProgress, stored: JobLine | None) -> JobLine:
    if stored and stored.state == "done" and job.state in ("done", "waiting", "ready"):
        # Of a job that an earlier engine finished, this one has counted nothing.
        return replace(stored, remarks=job.remarks or stored.remarks)
    return JobLine(
        id=stored.id if stored else 0,
        model=job.model,
        label=job.label,
        state="skipped" if stored and stored.state == "skipped" and job.state == "failed" else job.state,
        docs=job.docs,
        requests=job.requests,
        done=job.done,
        cache_hits=job.cache_hits,
        errors=job.errors,
        remarks=job.remarks,
        tokens_per_second=job.tokens_per_second,
        eta=job.eta,
        error=(stored.error if stored else "") or (job.headline if job.state == "failed" else ""),
    )
