"""Plain lines for pipes and log files: what happens when it happens, a heartbeat otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from lmrun.display.base import stall
from lmrun.display.format import duration, safe, spending
from lmrun.engine.progress import JobProgress, Snapshot

HEARTBEAT = 5.0
"""Seconds after which a line is written even if nothing happened."""


class PlainSink:
    """Writes a line when the phase or a job's state changes, and at least every ``HEARTBEAT`` seconds."""

    interval = 0.5

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._seen_phase = ""
        self._seen_states: dict[tuple[str, str], str] = {}
        self._notes = 0
        self._last = 0.0

    def draw(self, snapshot: Snapshot) -> None:
        """Write what changed since the last call."""
        for note in snapshot.notes[self._notes :]:
            self._line(snapshot, note)
        self._notes = len(snapshot.notes)
        phase = snapshot.phase if snapshot.phase == "answering" else f"{snapshot.phase} {snapshot.detail}"
        phase += " paused" * snapshot.paused
        changed = phase != self._seen_phase
        for job in snapshot.jobs:
            if job.state in ("done", "failed") and self._seen_states.get((job.model, job.label)) != job.state:
                self._line(snapshot, _job_line(job))
                changed = False
            self._seen_states[job.model, job.label] = job.state
        if changed or snapshot.elapsed - self._last >= HEARTBEAT:
            self._line(snapshot, _status_line(snapshot))
        self._seen_phase = phase

    def close(self, snapshot: Snapshot) -> None:
        """Write what is left to say."""
        self.draw(snapshot)

    def _line(self, snapshot: Snapshot, text: str) -> None:
        self._stream.write(f"[{duration(snapshot.elapsed):>6}] {safe(text)}\n")
        self._stream.flush()
        self._last = snapshot.elapsed


def _job_line(job: JobProgress) -> str:
    counts = f"{job.docs} docs, {job.requests} requests, {job.cache_hits} from cache"
    errors = f", {job.errors} ERRORS" if job.errors else ""
    remarks = f", {job.remarks}" if job.remarks else ""
    # Why a job failed was just said in full.
    headline = f": {job.headline or '-'}" if job.state == "done" else ""
    return f"{job.state}: {job.model} {job.label}{headline} ({counts}{errors}{remarks})"


def _status_line(snapshot: Snapshot) -> str:
    parts: list[str] = [snapshot.phase, *["paused"] * snapshot.paused]
    if snapshot.detail:
        parts.append(snapshot.detail)
    current = next((j for j in snapshot.jobs if j.state not in ("waiting", "done", "failed", "ready")), None)
    if current and snapshot.phase == "answering":
        parts.append(f"{current.model} {current.label}: {current.done:,}/{current.requests:,} requests")
    if snapshot.requests:
        parts.append(f"total {snapshot.done:,}/{snapshot.requests:,}")
    extra: list[tuple[float | None, Callable[[float], str]]] = [
        (snapshot.rate, lambda v: f"{v:,.1f} requests/s"),
        (snapshot.eta if snapshot.phase == "answering" else None, lambda v: f"ETA {duration(v)}"),
    ]
    parts.extend(show(value) for value, show in extra if value is not None)
    if snapshot.tokens:
        parts.append(spending(snapshot.usd, snapshot.tokens))
    if words := stall(snapshot):
        parts.append(words)
    return " · ".join(parts)
