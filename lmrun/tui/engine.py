"""Engines that the app starts: processes of their own, which outlive it."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.store.runs import RunDirectory

if TYPE_CHECKING:
    from lmrun.engine.inputs import Overrides

LMRUN = (sys.executable, "-m", "lmrun")
"""lmrun itself, as a command."""
_RECORD = '{"event"'
"""How a line of ``--json`` begins; the others are for people."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``lmrun tui`` was told and hands on to the commands that it starts; as of ``lmrun batch``."""

    limit: float | None = None
    assignments: Sequence[str] = ()
    tasks_paths: Sequence[Path] = ()
    trust: bool = False
    mirror: Path | None = None
    offline: bool = False
    runs_dir: Path | None = None
    """None: as the manifest says."""
    fresh: bool = False

    def overrides(self) -> Overrides:
        """For reading a manifest in this process."""
        from lmrun.engine.inputs import Overrides

        return Overrides(
            self.limit,
            self.tasks_paths,
            self.trust,
            self.mirror,
            self.offline,
            self.runs_dir,
            assignments=self.assignments,
        )

    def reading(self) -> list[str]:
        """Arguments of ``lmrun plan``, which ``lmrun validate`` and ``lmrun batch`` take too."""
        found = [] if self.limit is None else ["--limit", f"{self.limit:g}"]
        found += [part for text in self.assignments for part in ("--set", text)]
        found += [part for path in self.tasks_paths for part in ("--tasks-path", str(path))]
        found += ["--mirror", str(self.mirror)] if self.mirror else []
        return [*found, *(["--trust"] if self.trust else []), *(["--offline"] if self.offline else [])]

    def running(self) -> list[str]:
        """Arguments of ``lmrun batch``."""
        places = ["--runs-dir", str(self.runs_dir)] if self.runs_dir else []
        return [*self.reading(), *places, *(["--fresh"] if self.fresh else [])]


class Engine:
    """One that was started here: first it is planning, then it has a run, at last it has ended.

    What it prints goes to a hidden file in the folder of runs, and with its run into the run's directory.
    """

    def __init__(self, command: Sequence[str], runs_dir: Path, name: str, target: Path) -> None:
        runs_dir.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.target = target
        """What ``lmrun tui`` shows it by, as long as it has no run."""
        self.run: RunDirectory | None = None
        """The run, once it is known."""
        self.phase, self.detail = "starting", ""
        """What it did last before it had a run."""
        self.failure = ""
        """Why it ended without a run, in its own words."""
        self.started = time.monotonic()
        self._runs_dir = runs_dir
        self._log = runs_dir / f".starting-{secrets.token_hex(4)}.log"
        self._read = 0
        with self._log.open("xb") as output, _ignored(signal.SIGHUP):
            self._process = subprocess.Popen(
                [*LMRUN, *command, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it lives; asking leaves no zombie behind."""
        return self._process.poll()

    @property
    def ending(self) -> str:
        """How it ended: ``killed by SIGKILL``, ``exit code 3``; empty while it lives."""
        code = self.exit_code
        if code is None:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def look(self) -> None:
        """Read what it has said since the last look, until its run is known or it has failed."""
        if self.run or self.failure:
            return
        ended = self.exit_code is not None  # before reading: what it said last is read then
        for record in self._records():
            if record["event"] == "progress":
                self.phase, self.detail = str(record["phase"]), str(record["detail"])
            elif record["event"] == "launch":
                self.run = RunDirectory(self._runs_dir / str(record["run"]))
                with contextlib.suppress(OSError):
                    self._log = self._log.replace(self.run.engine_log)
                return
        if ended:
            self.failure = self._last_words() or f"it said nothing{_full(self._runs_dir)}: {self.ending}"
            self._log.unlink(missing_ok=True)

    def end(self) -> None:
        """Ask it to end, as Ctrl-C does: its run can be resumed."""
        with contextlib.suppress(OSError):
            self._process.terminate()

    def _records(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if line.startswith(_RECORD.encode()):
                    yield json.loads(line)

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(line for line in lines if not line.startswith(_RECORD))


def _full(folder: Path) -> str:
    """Why an engine may have said nothing: there was no room for its words."""
    with contextlib.suppress(OSError):
        return "" if shutil.disk_usage(folder).free else ", for the disk is full"
    return ""


def start_batch(manifest: Path, options: Options, runs_dir: Path) -> Engine:
    """Start ``lmrun batch``, whose runs go to ``runs_dir``: it resumes the manifest's unfinished run, or begins one."""
    return Engine(["batch", str(manifest), *options.running()], runs_dir, manifest.stem, manifest)


def start_retry(run: RunDirectory) -> Engine:
    """Start ``lmrun retry``, which goes on with this very run."""
    return Engine(["retry", str(run.path)], run.path.parent, run.id, run.path)


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """A child started in the block ignores the signal: that is what it inherits, and what an engine respects."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def runs_of(manifest: Path, options: Options) -> tuple[Path, RunDirectory | None]:
    """Where the runs of a manifest go, and the one that an engine works on, if there is one.

    Raises:
        LmrunError: if the manifest is wrong.
    """
    from lmrun.engine.alive import is_live
    from lmrun.engine.inputs import open_manifest
    from lmrun.engine.open import unfinished
    from lmrun.manifest import manifest_hash

    loaded = open_manifest(str(manifest), options.overrides())
    found = unfinished(loaded.run.runs_dir, manifest_hash(loaded))
    return loaded.run.runs_dir, found[0] if found and is_live(*found) else None
