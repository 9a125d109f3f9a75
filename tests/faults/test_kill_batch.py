"""A run by a provider's batch API, killed or interrupted while the batch is at the provider."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.testing.script import Script
from lmrun.testing.server import ScriptedServer
from tests.faults.runs import write_tasks

pytestmark = pytest.mark.timeout(600)

DOCS = 20
JOBS = {"openai-completions": ("fault_choice", "fault_generate"), "anthropic": ("fault_generate",)}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script(batch_polls=10**9)) as running:
        assert isinstance(running, ScriptedServer)
        yield running


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"), DOCS)


def start(folder: Path, backend: str, mode: str, server: ScriptedServer, tasks: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    manifest = folder / "manifest.toml"
    model = {"name": "m", "backend": backend, "model": "tiny", "base_url": server.base_url, "mode": mode}
    lines = ['name = "batches"', "[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    for task in JOBS[backend]:
        lines += ["[[tasks]]", f'name = "{task}"']
    lines += ["[tasks_path]", f"paths = [{json.dumps(str(tasks))}]", "[data]", "offline = true"]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    places = ["--runs-dir", str(folder / "runs"), "--cache", str(folder / "cache.db")]
    command = [sys.executable, "-m", "lmrun", "batch", str(manifest), *places]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate()
    return process.returncode, stderr


def end_at_the_provider(process: subprocess.Popen[str], server: ScriptedServer, with_signal: int) -> tuple[int, str]:
    """Wait until the batch is looked at, and end the process."""
    try:
        while not any("/batches/" in seen.path for seen in server.seen):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        os.kill(process.pid, with_signal)
        return finish(process)
    finally:
        process.kill()


def samples(folder: Path) -> list[Any]:
    (database,) = (folder / "runs").glob("*/run.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT key, response FROM responses ORDER BY key").fetchall()
    answers = [(key, json.loads(response)) for key, response in rows]
    return [(key, {name: answer[name] for name in answer if name != "notes"}) for key, answer in answers]


@pytest.mark.parametrize("backend", JOBS)
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_submitted_twice(
    backend: str, with_signal: signal.Signals, server: ScriptedServer, tasks: Path, tmp_path: Path
) -> None:
    code, said = end_at_the_provider(start(tmp_path / "a", backend, "batch", server, tasks), server, with_signal)
    if with_signal is signal.SIGINT:
        assert code == 130
        assert "stay at the provider" in said

    server.engine.script = dataclasses.replace(server.engine.script, batch_polls=1)
    assert finish(start(tmp_path / "a", backend, "batch", server, tasks))[0] == 0
    submissions = [seen for seen in server.seen if seen.path.endswith("/batches") and seen.body is not None]
    assert len(submissions) == 1
    assert not list((tmp_path / "a" / "runs").glob("*/batches/*/*"))

    assert finish(start(tmp_path / "b", backend, "live", server, tasks))[0] == 0
    assert samples(tmp_path / "a") == samples(tmp_path / "b")
