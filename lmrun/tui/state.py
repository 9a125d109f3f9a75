"""What the pages show of a run: one frozen picture, whether it comes from a living engine or from the run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmrun.engine.progress import Device, ModelProgress

RunState = Literal["starting", "running", "paused", "draining", "complete", "incomplete", "interrupted", "dead"]
"""``dead``: its status says running, but no engine holds it."""

LIVE: frozenset[RunState] = frozenset({"starting", "running", "paused", "draining"})
ENDED: dict[str, RunState] = {"complete": "complete", "incomplete": "incomplete", "interrupted": "interrupted"}
"""By status of a run: the state of one that nobody works on any more."""
MARKS: dict[RunState, str] = {
    "starting": "◌",
    "running": "●",
    "paused": "‖",
    "draining": "◍",
    "complete": "✓",
    "incomplete": "!",
    "interrupted": "■",
    "dead": "✗",
}
"""A sign for each state, so that no colour has to say it."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job."""

    id: int
    model: str
    label: str
    state: str
    """waiting, rendering, looking up, answering, scoring, done, failed, skipped."""
    docs: int
    requests: int
    done: int
    cache_hits: int
    errors: int
    metric: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    """95%."""
    percent: bool = False
    """The value is a share, shown as a percentage."""
    remarks: str = ""
    """What is doubtful about the score."""
    tokens_per_second: float | None = None
    eta: float | None = None
    """Seconds."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one moment."""

    id: str
    name: str
    state: RunState
    attached: bool
    """An engine answers: commands can be sent."""
    phase: str
    detail: str
    elapsed: float
    """Seconds."""
    jobs: Sequence[JobLine]
    models: Sequence[ModelProgress] = ()
    devices: Sequence[Device] = ()
    requests: int = 0
    done: int = 0
    cache_hits: int = 0
    errors: int = 0
    truncated: int = 0
    """Samples."""
    rate: float | None = None
    """Requests per second."""
    eta: float | None = None
    usd: float = 0.0
    tokens: int = 0
    rss: float | None = None
    """Bytes of the engine."""
    cpu: float | None = None
    """Percent of one core."""
    notes: Sequence[str] = ()
    stalled: str = ""
    """That nothing happens, and for how long."""
    problem: str = ""
    """Why the run's files cannot be read, or no longer."""
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By model, tokens (where there are none, requests) per second of late, one value a second."""
    facts: dict[str, Any] = field(default_factory=dict)
    """``run`` facts of the store: created, host, pid, stopped …"""
