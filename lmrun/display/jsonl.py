"""One JSON object per line, for programs: ``launch``, ``progress``, ``note`` and ``job``; the command adds ``done``."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, TextIO

from lmrun.engine.progress import Snapshot


class JsonSink:
    """Writes progress records to stdout, where the results go as well."""

    interval = 1.0
    _every = 5.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._launched = False
        self._notes = 0
        self._finished: set[tuple[str, str]] = set()
        self._last = float("-inf")

    def write(self, event: str, **fields: Any) -> None:
        """Write one record."""
        self._stream.write(json.dumps({"event": event, **fields}, default=str) + "\n")
        self._stream.flush()

    def draw(self, snapshot: Snapshot) -> None:
        """Write what changed since the last call."""
        if snapshot.run_id and not self._launched:
            self._launched = True
            jobs = [{"model": j.model, "job": j.label, "docs": j.docs} for j in snapshot.jobs]
            self.write("launch", run=snapshot.run_id, jobs=jobs)
        for note in snapshot.notes[self._notes :]:
            self.write("note", text=note)
        self._notes = len(snapshot.notes)
        for job in snapshot.jobs:
            key = (job.model, job.label)
            if job.state in ("done", "failed") and key not in self._finished:
                self._finished.add(key)
                self.write("job", **dataclasses.asdict(job))
        if snapshot.elapsed - self._last >= self._every:
            self._last = snapshot.elapsed
            self.write(
                "progress",
                phase=snapshot.phase,
                detail=snapshot.detail,
                done=snapshot.done,
                requests=snapshot.requests,
                rate=snapshot.rate,
                eta=snapshot.eta,
                usd=snapshot.usd,
                tokens=snapshot.tokens,
                facts=snapshot.facts,
                elapsed=round(snapshot.elapsed, 2),
            )

    def close(self, snapshot: Snapshot) -> None:
        """Write what is left to say."""
        self.draw(snapshot)
