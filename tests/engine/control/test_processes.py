"""Engines in processes of their own: killed, hung up on, stopped from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmrun.engine.control.client import ControlClient
from lmrun.store.runs import RunDirectory, all_runs
from tests.engine.conftest import World
from tests.engine.control.conftest import Live, snapshot, until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    engines = []

    def start(manifest: Path, *before: str) -> subprocess.Popen[bytes]:
        command = [*before, sys.executable, "-m", "lmrun", "batch", str(manifest), "--runs-dir", "runs", "--no-cache"]
        engines.append(subprocess.Popen(command, cwd=world.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        return engines[-1]

    yield start
    for engine in engines:
        engine.kill()
        engine.communicate()


@pytest.fixture
def manifest(live: Live) -> Path:
    return live.world.manifest(live.slow(latency_ms=100.0, streaming=True, in_flight=2))


def working(world: World) -> tuple[RunDirectory, ControlClient]:
    """The run of an engine, and a client, once something is answered."""
    run = until(lambda: next((run for run in all_runs(world.folder / "runs") if run.control.exists()), None))
    client = ControlClient(run)
    snapshot(client, lambda now: now.done)
    return run, client


def test_what_a_killed_engine_leaves_is_taken_over(
    world: World, start: Start, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(manifest)
    run, client = working(world)
    engine.kill()
    engine.wait()
    assert client.snapshot() is None and run.control.exists()
    with monkeypatch.context() as patch, socket.socket(socket.AF_UNIX) as raw:
        patch.chdir(run.path)  # the whole path may be longer than an address can be
        with pytest.raises(ConnectionRefusedError):
            raw.connect(run.control.name)
    second = start(manifest)
    snapshot(client)
    assert client.send("stop").ok
    assert second.wait(60) == 130
    assert not run.control.exists()
    client.close()


def test_a_command_stops_as_an_interrupt_does(world: World, start: Start, manifest: Path) -> None:
    engine = start(manifest)
    run, client = working(world)
    assert client.send("pause").ok
    snapshot(client, lambda now: now.paused)
    assert client.send("stop").ok
    _, words = engine.communicate(timeout=60)
    assert engine.returncode == 130
    assert b"resume with the same command" in words
    assert '"event": "command", "do": "stop"' in run.log.read_text()
    assert start(manifest).wait(60) == 0
    assert len(world.calls()) == 30
    client.close()


def test_an_interrupt_ends_a_pause(world: World, start: Start, manifest: Path) -> None:
    engine = start(manifest)
    _, client = working(world)
    assert client.send("pause").ok
    snapshot(client, lambda now: now.paused)
    engine.send_signal(signal.SIGINT)
    assert engine.wait(60) == 130
    client.close()


def test_a_lost_terminal_ends_an_engine_unless_that_is_ignored(world: World, start: Start, manifest: Path) -> None:
    engine = start(manifest, "nohup")
    _, client = working(world)
    os.kill(engine.pid, signal.SIGHUP)
    assert engine.wait(60) == 0, "it went on to its end"
    client.close()
    other = world.folder / "other.toml"
    other.write_text(manifest.read_text().replace('"stub"', '"other"'))
    engine = start(other)
    _, client = working(world)
    assert client.send("pause").ok  # it cannot end by itself
    os.kill(engine.pid, signal.SIGHUP)
    assert engine.wait(60) == 130
    client.close()
