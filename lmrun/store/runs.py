"""Run directories: how they are named, found and held by one engine at a time."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lmrun.errors import Problem, RunError

DEFAULT_RUNS_DIR = Path("runs")
"""Where commands that are given no manifest look for runs."""

_ID = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run; see ``docs/files.md``."""

    path: Path

    @property
    def id(self) -> str:
        """``YYYYmmdd-HHMMSS-<manifest name>-<4 hex>``."""
        return self.path.name

    @property
    def database(self) -> Path:
        """Jobs, samples, responses, scores, events."""
        return self.path / "run.db"

    @property
    def manifest(self) -> Path:
        """The manifest as resolved."""
        return self.path / "manifest.toml"

    @property
    def lock(self) -> Path:
        """What makes the run reproducible."""
        return self.path / "lock.json"

    @property
    def results(self) -> Path:
        """One results file per model."""
        return self.path / "results"

    @property
    def batches(self) -> Path:
        """What is at providers' batch APIs, one folder per model; there only while something is."""
        return self.path / "batches"

    @property
    def log(self) -> Path:
        """Structured log, one JSON object per line."""
        return self.path / "log.jsonl"

    @property
    def engine_log(self) -> Path:
        """What the engine that the terminal app started last printed."""
        return self.path / "engine.log"

    @property
    def control(self) -> Path:
        """Unix socket of the engine that works on the run."""
        return self.path / "control.sock"

    @property
    def notes(self) -> Path:
        """Labels and notes that people put to samples."""
        return self.path / "notes.db"

    @property
    def engine_lock(self) -> Path:
        """Held (as a file lock) by the engine that works on the run."""
        return self.path / ".engine.lock"


def create_run(runs_dir: Path, name: str, now: datetime) -> RunDirectory:
    """Make the directory of a new run."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    run = RunDirectory(runs_dir / f"{now:%Y%m%d-%H%M%S}-{safe}-{secrets.token_hex(2)}")
    try:
        run.results.mkdir(parents=True)
    except OSError as error:
        raise RunError(
            f"{runs_dir}: cannot make a run directory: {error.strerror}", hint="name a writable folder with --runs-dir"
        ) from error
    return run


def all_runs(runs_dir: Path) -> Iterator[RunDirectory]:
    """Runs in ``runs_dir``, newest first."""
    if not runs_dir.is_dir():
        return
    for folder in sorted(runs_dir.iterdir(), key=lambda p: p.name, reverse=True):
        if _ID.fullmatch(folder.name) and (folder / "run.db").exists():
            yield RunDirectory(folder)


def find_run(reference: str, runs_dir: Path) -> RunDirectory:
    """The run that ``reference`` names.

    ``latest``, a run id (or the unique start or end of one), a path, or a manifest's name for its newest run.

    Raises:
        RunError: if there is none, or more than one.
    """
    path = Path(reference)
    if (path / "run.db").exists():
        return RunDirectory(path)
    runs = list(all_runs(runs_dir))
    if reference == "latest" and runs:
        return runs[0]
    named = [r for r in runs if re.fullmatch(rf"\d{{8}}-\d{{6}}-{re.escape(reference)}-[0-9a-f]{{4}}", r.id)]
    if named:
        return named[0]
    exact = [r for r in runs if r.id == reference]
    matches = exact or [r for r in runs if r.id.startswith(reference) or r.id.endswith(reference)]
    if len(matches) == 1:
        return matches[0]
    hint = (
        "`lmrun ls runs` lists them"
        if runs
        else f"there are no runs in {runs_dir}; name another folder with --runs-dir"
    )
    if matches:
        raise RunError(
            f"{reference!r} fits {len(matches)} runs", hint=hint, problems=tuple(Problem(r.id) for r in matches[:10])
        )
    raise RunError(f"no run {reference!r} in {runs_dir}", hint=hint)
