"""How far a run is: counted by the engine, read by a display from another thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Literal

from lmrun.backends.base import Usage
from lmrun.engine.pace import Pace
from lmrun.engine.remaining import Remaining
from lmrun.requests import RequestKind

Phase = Literal[
    "planning",
    "rendering",
    "decontaminating",
    "looking up",
    "loading",
    "checking",
    "answering",
    "draining",
    "scoring",
    "finished",
    "interrupted",
]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """One job's line."""

    model: str
    label: str
    docs: int = 0
    rendered: int = 0
    requests: int = 0
    """Distinct requests that this job asks first."""
    done: int = 0
    """Of those: answered, failed or found in the cache."""
    cache_hits: int = 0
    errors: int = 0
    state: str = "waiting"
    """waiting, rendering, looking up, answering, scoring, done, failed."""
    headline: str = ""
    """Metric and value, once scored."""
    remarks: str = ""
    """Shares of answers that were cut off, and in which a filter found none or several."""
    tokens_per_second: float | None = None
    eta: float | None = None
    """Seconds until its last request is answered, from the moment that it is worked on."""


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """One model's line."""

    name: str
    backend: str
    model: str
    state: str = "waiting"
    """waiting, loading, checking, answering, done, failed."""
    requests_per_second: float | None = None
    """Of late."""
    tokens_per_second: float | None = None
    """Of late: prompts and answers together, without what came from the cache."""
    in_flight: int | None = None
    limit: int | None = None
    """Requests that may be in flight at once, or the batch size."""
    held_by: str = ""
    """What keeps the limit where it is, e.g. ``429``."""
    retries: int = 0
    usd: float = 0.0
    tokens: int = 0
    steerable: bool = False
    """How much is in flight can be changed while it works."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, read just now."""

    name: str
    """E.g. ``0 H200``."""
    memory_used: float
    """Bytes."""
    memory_total: float
    utilisation: float | None = None
    """Percent."""
    power: float | None = None
    """Watts."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the engine takes of its machine."""

    devices: Sequence[Device] = ()
    rss: float | None = None
    """Bytes of this process."""
    cpu: float | None = None
    """Percent of one core."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole run at one moment."""

    run_id: str
    phase: Phase
    detail: str
    """What is going on within the phase, e.g. which model is loading or which batch is computed."""
    since: float
    """Seconds since the phase or its detail last changed, or an answer arrived."""
    elapsed: float
    jobs: Sequence[JobProgress]
    silent: float
    """Seconds without an answer, while some are waited for; else 0."""
    facts: Mapping[str, Any]
    """What the backend says of itself."""
    rate: float | None
    """Requests per second while answering."""
    eta: float | None
    """Seconds until every known request is answered; None before there is anything to judge from."""
    usd: float
    """Spent so far, as far as prices are known."""
    tokens: int
    """Prompts and answers so far, without those from the cache."""
    notes: Sequence[str]
    """Everything so far that the user should read as it happens, oldest first."""
    models: Sequence[ModelProgress] = ()
    devices: Sequence[Device] = ()
    rss: float | None = None
    """Bytes of this process."""
    cpu: float | None = None
    """Percent of one core."""
    paused: bool = False

    @property
    def requests(self) -> int:
        """Distinct requests of the jobs that have been looked up so far."""
        return sum(j.requests for j in self.jobs)

    @property
    def done(self) -> int:
        """Of those, how many have an answer or an error."""
        return sum(j.done for j in self.jobs)


class Tracker:
    """Counters of a run. The engine writes, displays call :meth:`snapshot`.

    Its time stands still while the run is paused, so that a pause spoils no rate and no forecast.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # guards everything below: the engine's thread writes, the display's reads
        self._paused_at: float | None = None
        self._lost = 0.0  # in pauses that are over
        self._started = self._changed = clock()
        self._run_id = ""
        self._phase: Phase = "planning"
        self._detail = ""
        self._jobs: dict[tuple[str, str], JobProgress] = {}
        self._models: dict[str, ModelProgress] = {}
        self._paces: dict[str | tuple[str, str], Pace] = {}
        """Of models, and of jobs that are worked on."""
        self._usage: Callable[[], Usage] | None = None
        self._watched = ""
        self._machine: Callable[[], Machine] = Machine
        self._notes: list[str] = []
        self._spent = (0.0, 0)
        self._answering = 0.0
        self._answering_since: float | None = None
        self._answered = 0
        self._last_answer = 0.0
        self._said: tuple[str, float | None] = ("", None)
        self._heard = 0.0
        """When the backend last said something new of its work."""
        self._remaining = Remaining()
        self._given: tuple[str, str] | None = None
        """The job that the backend works on."""

    def _now(self) -> float:
        return (self._clock() if self._paused_at is None else self._paused_at) - self._lost

    # -- what the engine tells -----------------------------------------------------------------------------------------

    def start(self, run_id: str, jobs: Sequence[JobProgress], models: Sequence[ModelProgress] = ()) -> None:
        """The plan is known."""
        with self._lock:
            self._run_id = run_id
            self._jobs = {(job.model, job.label): job for job in jobs}
            self._models = {model.name: model for model in models}

    def phase(self, phase: Phase, detail: str = "") -> None:
        """The run enters a phase."""
        if phase in ("draining", "interrupted", "finished"):
            self.pause(False)
        with self._lock:
            now = self._now()
            if self._answering_since is not None:
                self._answering += now - self._answering_since
            self._answering_since = now if phase in ("answering", "draining") else None
            self._last_answer = now
            self._remaining.begin(now)
            self._phase, self._detail, self._changed = phase, detail, now

    def pause(self, paused: bool) -> None:
        """Nothing more is asked from now on; or again."""
        with self._lock:
            if paused and self._paused_at is None:
                self._paused_at = self._clock()
            elif not paused and self._paused_at is not None:
                self._lost += self._clock() - self._paused_at
                self._paused_at = None

    def note(self, text: str) -> None:
        """Tell the user something now."""
        with self._lock:
            self._notes.append(text)

    def spend(self, usd: float, tokens: int) -> None:
        """So much was spent in all."""
        with self._lock:
            self._spent = (usd, tokens)

    def watch(self, usage: Callable[[], Usage] | None, model: str = "") -> None:
        """Ask the backend of this model what it is doing whenever a snapshot is taken."""
        with self._lock:
            if self._usage and self._watched in self._models:  # its retries are counted on by the next backend
                before = self._models[self._watched]
                self._models[self._watched] = replace(before, retries=before.retries + self._usage().retries)
            self._usage, self._watched = usage, model
            if usage is None:
                self._remaining, self._given = Remaining(), None  # another model has another pace

    def measure(self, machine: Callable[[], Machine]) -> None:
        """Read the machine whenever a snapshot is taken."""
        self._machine = machine

    def update(self, model: str, label: str, **changes: int | str) -> None:
        """Set fields of a job's line."""
        with self._lock:
            key = (model, label)
            self._jobs[key] = replace(self._jobs[key], **changes)  # type: ignore[arg-type]
            self._changed = self._now()
            if changes.get("state") == "answering":
                self._paces[key] = Pace(self._changed)
            elif "state" in changes:
                self._paces.pop(key, None)

    def update_model(self, name: str, **changes: int | float | str | bool) -> None:
        """Set fields of a model's line."""
        with self._lock:
            if name in self._models:
                self._models[name] = replace(self._models[name], **changes)  # type: ignore[arg-type]
            if "state" in changes:
                self._paces.pop(name, None)
            if changes.get("state") == "answering":
                self._paces[name] = Pace(self._now())

    def expect(self, work: Mapping[RequestKind, int]) -> None:
        """So much work waits for the backend, by kind of request."""
        with self._lock:
            self._remaining.expect(work)

    def give(self, model: str, label: str, kind: RequestKind, work: int) -> None:
        """So much of it is what the backend works on from now on."""
        with self._lock:
            self._given = (model, label)
            self._remaining.give(kind, work)

    def settle(self) -> None:
        """The backend is done with what it was given."""
        with self._lock:
            self._remaining.settle(self._now())

    def forgo(self, model: str, label: str, requests: int, work: Mapping[RequestKind, int]) -> None:
        """So many requests of a job are not asked."""
        with self._lock:
            job = self._jobs[model, label]
            self._jobs[model, label] = replace(job, requests=job.requests - requests)
            self._remaining.forgo(work)

    def worked(self, work: Mapping[RequestKind, int]) -> None:
        """Requests of so much work are answered; what the backend says of its work counts more than that."""
        with self._lock:
            now = self._now()
            self._remaining.hear(self._usage().rest if self._usage else None, now)
            self._remaining.worked(work, now)
            self._last_answer = now

    def answered(self, model: str, label: str, count: int, errors: int, tokens: int = 0) -> None:
        """Answers to requests of a job arrived from the backend."""
        with self._lock:
            job = self._jobs[model, label]
            self._jobs[model, label] = replace(job, done=job.done + count, errors=job.errors + errors)
            self._answered += count
            self._changed = now = self._now()
            for key in (model, (model, label)):
                if pace := self._paces.get(key):
                    pace.add(now, count, tokens)

    # -- what others see -----------------------------------------------------------------------------------------------

    def job_state(self, model: str, label: str) -> str | None:
        """How far a job is; None if there is no such job."""
        with self._lock:
            job = self._jobs.get((model, label))
            return job.state if job else None

    def doing(self) -> str:
        """What is going on, in a few words."""
        with self._lock:
            return f"{self._phase} {self._detail}".strip()

    def snapshot(self) -> Snapshot:
        """The state now."""
        machine = self._machine()
        with self._lock:
            now = self._now()
            spent = self._answering + (now - self._answering_since if self._answering_since is not None else 0.0)
            known = spent > 0 and self._answered > 0
            waiting = self._phase in ("answering", "draining")
            usage = self._usage() if self._usage and waiting else Usage()
            self._remaining.hear(usage.rest, now)
            self._listen(usage, now)
            return Snapshot(
                run_id=self._run_id,
                phase=self._phase,
                detail=usage.phase or self._detail,
                since=now - self._changed,
                elapsed=now - self._started,
                jobs=tuple(self._job(job, now) for job in self._jobs.values()),
                silent=now - max(self._last_answer, self._heard) if waiting else 0.0,
                facts=usage.facts,
                rate=self._answered / spent if known else None,
                eta=self._remaining.seconds(now),
                usd=self._spent[0],
                tokens=self._spent[1],
                notes=tuple(self._notes),
                models=tuple(self._model(model, usage, now) for model in self._models.values()),
                devices=machine.devices,
                rss=machine.rss,
                cpu=machine.cpu,
                paused=self._paused_at is not None,
            )

    def _listen(self, usage: Usage, now: float) -> None:
        """A backend that gets on is not silent, though it has no answer yet. Of a server nobody knows what it does."""
        said = (usage.phase, usage.rest)
        if said != self._said and self._given:
            self._heard = now
        self._said = said

    def _job(self, job: JobProgress, now: float) -> JobProgress:
        pace = self._paces.get((job.model, job.label))
        if pace is None:
            return job
        _, tokens = pace.rates(now)
        rest = self._remaining.rest(now) if self._given == (job.model, job.label) else None
        return replace(
            job,
            tokens_per_second=tokens,
            eta=pace.seconds_for(job.requests - job.done, now) if rest is None else rest,
        )

    def _model(self, model: ModelProgress, usage: Usage, now: float) -> ModelProgress:
        pace = self._paces.get(model.name)
        requests, tokens = pace.rates(now) if pace else (None, None)
        model = replace(model, requests_per_second=requests, tokens_per_second=tokens)
        if model.name != self._watched:
            return replace(model, steerable=False)
        return replace(
            model,
            in_flight=usage.in_flight,
            limit=usage.limit,
            held_by=usage.held_by,
            retries=model.retries + usage.retries,
        )
