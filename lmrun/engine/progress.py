"""How far a run is: counted by the engine, read by a display from another thread."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

from lmrun.backends.base import Usage
from lmrun.requests import Request

Phase = Literal[
    "planning",
    "rendering",
    "decontaminating",
    "looking up",
    "loading",
    "answering",
    "scoring",
    "finished",
    "interrupted",
]

_CHARACTERS_PER_TOKEN = 4
_GENERATED_TOKEN_COST = 10
"""A generated token costs about this many prompt tokens of time; only the forecast depends on it."""


def cost(request: Request) -> int:
    """Rough work of one request in prompt characters, for the forecast."""
    context = request.context
    characters = len(context) if isinstance(context, str) else sum(len(m.content) for m in context)
    characters += len(request.continuation)
    if request.kind == "generate_until":
        tokens = next(
            (request.generation[n] for n in ("max_gen_toks", "max_new_tokens") if n in request.generation), 256
        )
        characters += int(tokens) * _CHARACTERS_PER_TOKEN * _GENERATED_TOKEN_COST
    return max(1, characters)


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

    @property
    def requests(self) -> int:
        """Distinct requests of the jobs that have been looked up so far."""
        return sum(j.requests for j in self.jobs)

    @property
    def done(self) -> int:
        """Of those, how many have an answer or an error."""
        return sum(j.done for j in self.jobs)


class Tracker:
    """Counters of a run. The engine writes, displays call :meth:`snapshot`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # guards everything below: the engine's thread writes, the display's reads
        self._started = self._changed = clock()
        self._run_id = ""
        self._phase: Phase = "planning"
        self._detail = ""
        self._jobs: dict[tuple[str, str], JobProgress] = {}
        self._usage: Callable[[], Usage] | None = None
        self._notes: list[str] = []
        self._spent = (0.0, 0)
        self._answering = 0.0
        self._answering_since: float | None = None
        self._answered = 0
        self._last_answer = 0.0
        # By kind of request, as a generated token costs another time than a scored one: work left and done, seconds.
        self._left: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def start(self, run_id: str, jobs: Sequence[JobProgress]) -> None:
        """The plan is known."""
        with self._lock:
            self._run_id = run_id
            self._jobs = {(job.model, job.label): job for job in jobs}

    def phase(self, phase: Phase, detail: str = "") -> None:
        """The run enters a phase."""
        with self._lock:
            now = self._clock()
            if self._answering_since is not None:
                self._answering += now - self._answering_since
            self._answering_since = now if phase == "answering" else None
            self._last_answer = now
            self._phase, self._detail, self._changed = phase, detail, now

    def note(self, text: str) -> None:
        """Tell the user something now."""
        with self._lock:
            self._notes.append(text)

    def spend(self, usd: float, tokens: int) -> None:
        """So much was spent in all."""
        with self._lock:
            self._spent = (usd, tokens)

    def watch(self, usage: Callable[[], Usage] | None) -> None:
        """Ask this backend what it is doing whenever a snapshot is taken."""
        with self._lock:
            self._usage = usage

    def update(self, model: str, label: str, **changes: int | str) -> None:
        """Set fields of a job's line."""
        with self._lock:
            key = (model, label)
            self._jobs[key] = replace(self._jobs[key], **changes)  # type: ignore[arg-type]
            self._changed = self._clock()

    def expect(self, request: Request) -> None:
        """A request waits for the backend."""
        with self._lock:
            self._left[request.kind] += cost(request)

    def answered(self, model: str, label: str, requests: Sequence[Request], errors: int) -> None:
        """Answers to requests of one kind arrived from the backend."""
        count = len(requests)
        work = sum(map(cost, requests))
        with self._lock:
            now = self._clock()
            for kind in {request.kind for request in requests}:
                self._seconds[kind] += now - self._last_answer
                self._done[kind] += work
                self._left[kind] = max(0, self._left[kind] - work)
            self._last_answer = now
            job = self._jobs[model, label]
            self._jobs[model, label] = replace(job, done=job.done + count, errors=job.errors + errors)
            self._answered += count
            self._changed = now

    def _eta(self, now: float) -> float:
        """Seconds for all that is left, by the pace of its kind, or of all kinds where one has not begun."""
        seconds, done = sum(self._seconds.values()), sum(self._done.values())
        total = 0.0
        for kind, left in self._left.items():
            own = self._seconds[kind] / self._done[kind] if self._done[kind] else seconds / done
            total += left * own
        return max(0.0, total - (now - self._last_answer))

    def snapshot(self) -> Snapshot:
        """The state now."""
        with self._lock:
            now = self._clock()
            spent = self._answering + (now - self._answering_since if self._answering_since is not None else 0.0)
            known = spent > 0 and self._answered > 0
            detail = self._usage().phase if self._usage and self._phase == "answering" else self._detail
            return Snapshot(
                run_id=self._run_id,
                phase=self._phase,
                detail=detail or self._detail,
                since=now - self._changed,
                elapsed=now - self._started,
                jobs=tuple(self._jobs.values()),
                rate=self._answered / spent if known else None,
                eta=self._eta(now) if known else None,
                usd=self._spent[0],
                tokens=self._spent[1],
                notes=tuple(self._notes),
            )
