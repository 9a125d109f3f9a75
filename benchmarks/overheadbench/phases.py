"""``lmrun`` as ever, with the processor time of each phase: ``python phases.py PHASES.json batch …``."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lmrun.cli import main
from lmrun.engine.progress import Tracker
from lmrun.testing.scripted import ScriptedBackend


class Clock:
    """Adds up processor time by phase."""

    def __init__(self) -> None:
        self.took: Counter[str] = Counter()
        self._phase = "starting"
        self._since = 0.0

    def enter(self, phase: str) -> str:
        """Another phase begins; returns the one before."""
        now = time.process_time()
        self.took[self._phase] += now - self._since  # type: ignore[assignment]
        before, self._phase, self._since = self._phase, phase, now
        return before


def watch(clock: Clock) -> None:
    """Let the clock follow a run."""
    entered, answered = Tracker.phase, ScriptedBackend.answer

    def phase(tracker: Tracker, name: Any, detail: str = "") -> None:
        clock.enter(name)
        entered(tracker, name, detail)

    def answer(backend: ScriptedBackend, request: Any) -> Any:
        before = clock.enter("backend")
        try:
            return answered(backend, request)
        finally:
            clock.enter(before)

    Tracker.phase = phase  # type: ignore[method-assign, assignment]
    ScriptedBackend.answer = answer  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    clock, into = Clock(), Path(sys.argv.pop(1))
    watch(clock)
    try:
        main()
    finally:
        clock.enter("ended")
        into.write_text(json.dumps(clock.took), encoding="utf-8")
