"""lmrun's side: the commands that a user runs, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parity.cases import REPLIES, Setting
from tests.toml import toml_lines

ROOT = Path(__file__).resolve().parents[2]
Rows = list[dict[str, Any]]
STUB = {"backend": "scripted", "model": "stub", "options": {"replies": REPLIES}}


class CommandFailedError(AssertionError):
    """An lmrun command did not end as it had to."""


# Packages of another environment are found after those of this one.
MAIN = "import sys; sys.path += {0!r}; from lmrun.cli import main; main()"


def lmrun(*arguments: str, cwd: Path, ok: Sequence[int] = (0,), packages: Sequence[str] = ()) -> str:
    """Run the command and return what it printed on stdout. ``packages``: folders with further packages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-c", MAIN.format(list(packages)), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise CommandFailedError(f"lmrun {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-6000:]}")
    return done.stdout


@dataclass(frozen=True)
class Scored:
    """A finished run."""

    results: dict[str, Any]
    """``results/<model>.json``."""
    samples: dict[str, Rows]
    """By task: samples as ``lmrun show --json`` prints them, in doc order."""


class Ours:
    """lmrun over a mirror, with its files in ``folder``, on its own tasks or also on those of another folder."""

    def __init__(
        self, mirror: Path, folder: Path, tasks_path: Path | None = None, packages: Sequence[str] = ()
    ) -> None:
        """``packages``: folders with packages that code in ``tasks_path`` needs."""
        self.mirror = mirror.resolve()
        self._packages = packages
        self.folder = folder
        self._tasks = ("--tasks-path", str(tasks_path.resolve()), "--trust") if tasks_path else ()
        folder.mkdir(parents=True, exist_ok=True)

    def task_names(self) -> list[str]:
        """Every task (no groups, no tags)."""
        rows = json.loads(lmrun("ls", "tasks", "--json", *self._tasks, cwd=self.folder))
        return [row["name"] for row in rows]

    def preview(self, tasks: Sequence[str], setting: Setting, limit: int) -> tuple[dict[str, Rows], dict[str, str]]:
        """Requests per task as ``lmrun preview`` prints them, and the error of every task that it refuses."""
        if not tasks:
            return {}, {}
        try:
            return self._preview(tasks, setting, limit), {}
        except CommandFailedError as error:
            if len(tasks) == 1:
                return {}, {tasks[0]: str(error)}
        # One task that is refused stops all: halves are tried again until it stands alone.
        found: dict[str, Rows] = {}
        errors: dict[str, str] = {}
        for half in halves(tasks):
            rows, failed = self.preview(half, setting, limit)
            found.update(rows)
            errors.update(failed)
        return found, errors

    def _preview(self, tasks: Sequence[str], setting: Setting, limit: int) -> dict[str, Rows]:
        manifest = self._manifest("preview", tasks, setting, STUB)
        printed = self._lmrun("preview", str(manifest), "--json", "-n", str(limit), *self._common)
        rows: dict[str, Rows] = {}
        for line in filter(None, printed.split("\n")):  # other line separators stand in texts
            row = json.loads(line)
            rows.setdefault(row["task"], []).append(row)
        return rows

    def score(
        self, tasks: Sequence[str], setting: Setting, limit: int | None, model: Mapping[str, Any] | None = None
    ) -> Scored:
        """Run tasks on a model (the stub, if none is given) and read the results."""
        manifest = self._manifest("score", tasks, setting, model or STUB)
        limits = () if limit is None else ("--limit", str(limit))
        options = ("--fresh", "--no-cache", "--json", "--runs-dir", "runs", *limits, *self._common)
        self._lmrun("batch", str(manifest), *options)
        run = max((self.folder / "runs").iterdir())
        results = _numbers(json.loads((run / "results" / "model.json").read_text(encoding="utf-8")))
        printed = self._lmrun("show", str(run), "--model", "model", "-n", "10000000", "--json")
        samples: dict[str, Rows] = {}
        for line in filter(None, printed.split("\n")):
            row = json.loads(line)
            for score in row["scores"]:
                score["metrics"] = _numbers(score["metrics"])
            samples.setdefault(row["task"], []).append(row)
        return Scored(results, samples)

    def _lmrun(self, *arguments: str) -> str:
        return lmrun(*arguments, cwd=self.folder, packages=self._packages)

    @property
    def _common(self) -> tuple[str, ...]:
        return ("--mirror", str(self.mirror), "--offline", *self._tasks)

    def _manifest(self, name: str, tasks: Sequence[str], setting: Setting, model: Mapping[str, Any]) -> Path:
        values: dict[str, Any] = {}
        if setting.num_fewshot is not None:
            values["num_fewshot"] = setting.num_fewshot
        if setting.chat:
            values["apply_chat_template"] = True
            values["fewshot_as_multiturn"] = setting.multiturn
        if setting.generation is not None:
            values["generation"] = dict(setting.generation)
        if setting.system_instruction is not None:
            values["system_instruction"] = setting.system_instruction
        lines = [f'name = "{name}"', "[[models]]", 'name = "model"', *toml_lines(model)]
        for task in tasks:
            lines += ["[[tasks]]", *toml_lines({"name": task, **values})]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def _numbers(value: Any) -> Any:
    """What stands as text for a number that JSON has not got is that number again."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def halves(items: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Two lists of the same size, or nearly so."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]
