"""What a display of a running batch is, and the thread that keeps it fresh."""

from __future__ import annotations

from threading import Event, Thread
from types import TracebackType
from typing import Protocol

from lmrun.display.format import duration
from lmrun.engine.progress import Snapshot, Tracker

SILENCE = 10.0
"""Seconds without an answer after which a display says so."""
STALL = 60.0
"""Seconds without any other change after which it says so."""


def stall(snapshot: Snapshot) -> str:
    """That nothing happens, and for how long; empty while something does."""
    if snapshot.silent >= SILENCE:
        return f"no answer for {duration(snapshot.silent)}"
    return f"nothing new for {duration(snapshot.since)}" if snapshot.since >= STALL else ""


class Sink(Protocol):
    """Draws snapshots. Called from one thread only."""

    interval: float
    """Seconds between two draws."""

    def draw(self, snapshot: Snapshot) -> None:
        """Show the state of the run."""
        ...

    def close(self, snapshot: Snapshot) -> None:
        """Show the last state and give the terminal back."""
        ...


class Display:
    """Feeds a sink from a tracker while a run goes on. The run never waits for it."""

    def __init__(self, sink: Sink, tracker: Tracker) -> None:
        self._sink, self._tracker = sink, tracker
        self._stop = Event()
        self._thread = Thread(target=self._loop, name="display", daemon=True)

    def _loop(self) -> None:
        while not self._stop.wait(self._sink.interval):
            self._sink.draw(self._tracker.snapshot())

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._sink.close(self._tracker.snapshot())
