"""Find the run that a plan continues, or make a new one, and hold it for this process."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from lmrun.errors import RunError
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.runs import RunDirectory, all_runs, create_run
from lmrun.store.writer import RunStore


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run directory that this process holds until the end of a ``with`` block of ``lock``."""

    directory: RunDirectory
    lock: AcquireReturnProxy
    resumed: bool
    note: str | None = None
    """What the user should know about the choice."""


def open_run(runs_dir: Path, name: str, manifest_hash: str, plan_hash: str, *, fresh: bool) -> OpenRun:
    """Continue the newest unfinished run of the same resolved manifest, or start a new one.

    An unfinished run whose tasks, data or models have changed since is left alone: its numbers could not be mixed.

    Raises:
        RunError: if that run is being worked on by another process.
    """
    runs_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(runs_dir / ".open.lock"):  # two starts at the same moment must not both make a new run
        return _open(runs_dir, name, manifest_hash, plan_hash, fresh=fresh)


def unfinished(runs_dir: Path, manifest_hash: str) -> tuple[RunDirectory, dict[str, object]] | None:
    """The newest run of a resolved manifest with its facts, unless it is complete."""
    for directory in all_runs(runs_dir):
        info = _info(directory)
        if info.get("manifest_hash") == manifest_hash:
            return None if info.get("status") == "complete" else (directory, info)
    return None


def _open(runs_dir: Path, name: str, manifest_hash: str, plan_hash: str, *, fresh: bool) -> OpenRun:
    found = None if fresh else unfinished(runs_dir, manifest_hash)
    if found is None:
        return _new(runs_dir, name, manifest_hash, plan_hash, None)
    directory, info = found
    if info.get("plan_hash") != plan_hash:
        note = f"{directory.id} is unfinished, but its tasks, data or models have changed: starting a new run"
        return _new(runs_dir, name, manifest_hash, plan_hash, note)
    lock = _hold(directory)
    if lock is None:
        raise RunError(
            f"{directory.id} is being worked on by process {info.get('pid')} on {info.get('host')}",
            hint="wait for it, stop it, or start another run beside it with --fresh",
        )
    return OpenRun(directory, lock, resumed=True, note=f"resuming {directory.id} ({info.get('status')})")


def reopen_run(directory: RunDirectory, plan_hash: str) -> OpenRun:
    """Continue this very run, whatever its status.

    Raises:
        RunError: if another process works on it, or its tasks, data or models have changed since.
    """
    info = _info(directory)
    if info.get("plan_hash") != plan_hash:
        raise RunError(
            f"{directory.id}: its tasks, data or models have changed since; its numbers could not be mixed",
            hint=f"lmrun verify {directory.path} says what; lmrun batch starts a new run",
        )
    return OpenRun(directory, hold(directory), resumed=True, note=f"asking again what failed in {directory.id}")


def _new(runs_dir: Path, name: str, manifest_hash: str, plan_hash: str, note: str | None) -> OpenRun:
    directory = create_run(runs_dir, name, datetime.now())
    lock = _hold(directory)
    assert lock is not None
    store = RunStore(directory)
    store.set_info(
        status="running",
        name=name,
        manifest_hash=manifest_hash,
        plan_hash=plan_hash,
        created=time.time(),
        pid=os.getpid(),
        host=socket.gethostname(),
    )
    store.close()
    return OpenRun(directory, lock, resumed=False, note=note)


def hold(directory: RunDirectory) -> AcquireReturnProxy:
    """Hold an existing run for a ``with`` block, e.g. to score it again.

    Raises:
        RunError: if another process works on it.
    """
    lock = _hold(directory)
    if lock is None:
        raise RunError(f"{directory.id} is being worked on by another process", hint="wait until it is done")
    return lock


def _hold(directory: RunDirectory) -> AcquireReturnProxy | None:
    try:
        return FileLock(directory.engine_lock).acquire(timeout=0)
    except Timeout:
        return None


def _info(directory: RunDirectory) -> dict[str, object]:
    try:
        with closing(RunReader(directory)) as reader:
            return reader.info()
    except UNREADABLE:
        return {}  # one damaged run must not stop the others
