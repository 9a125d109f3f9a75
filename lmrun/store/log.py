"""The structured log of a run: one JSON object per line, on disk as soon as it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]


class RunLog:
    """Appends to ``log.jsonl``; what is more than a detail goes to ``events``, the run store's table, as well."""

    def __init__(self, path: Path, events: Callable[..., None]) -> None:
        self._events = events
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = Lock()  # a line must not be torn by another thread's

    def write(self, level: Level, event: str, **fields: Any) -> None:
        """Write one line: time (Unix seconds), level, event and whatever else is given."""
        line = json.dumps({"time": round(time.time(), 3), "level": level, "event": event, **fields}, default=str)
        with self._lock:
            self._file.write(line + "\n")
            if level != "debug":
                self._events(level, event, **fields)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
