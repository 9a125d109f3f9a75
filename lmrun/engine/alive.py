"""Whether the engine of a run lives, found out without touching the lock that it holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lmrun.store.runs import RunDirectory


def engine_lives(run: RunDirectory, facts: Mapping[str, Any]) -> bool | None:
    """Whether the process that a run names as its engine is there; None where it is on another host.

    Trying the lock would take it, for a moment, from an engine that starts.
    """
    pid, host = facts.get("pid"), facts.get("host")
    if host != socket.gethostname():
        return None
    return isinstance(pid, int) and pid > 0 and _is_engine(pid, last_write(run))


def is_live(run: RunDirectory, facts: Mapping[str, Any]) -> bool:
    """Whether an engine works on a run with these facts; of one on another host its status is believed."""
    return facts.get("status") == "running" and engine_lives(run, facts) is not False


def _is_engine(pid: int, written: float) -> bool:
    """An engine began before it wrote; a process that got the number of a dead engine began later."""
    import psutil

    try:
        process = psutil.Process(pid)
        # The start of a process is known to a hundredth of a second.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written + 0.1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def last_write(run: RunDirectory) -> float:
    """When the run's database was last written to, in Unix seconds; 0 where it is gone."""
    return max((found.st_mtime for found in written(run)), default=0.0)


def written(run: RunDirectory) -> list[os.stat_result]:
    """Of the files of the run's database that hold something. An empty log of SQLite's was made by who only reads."""
    found = []
    for path in (run.database, run.database.with_name("run.db-wal")):
        with suppress(OSError):
            found.append(path.stat())
    return [about for about in found if about.st_size]
