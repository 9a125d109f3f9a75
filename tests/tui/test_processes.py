"""The app and engines as real processes, the app in a real terminal (tmux): who survives what."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmrun.engine.control.client import ControlClient
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory, all_runs
from tests.tui.conftest import World

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(TMUX is None, reason="tmux is the terminal of these tests, and is not installed")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 25.0


def until(condition: Callable[[], Any], what: Callable[[], str] = lambda: "") -> Any:
    """The first value that is true."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"never came; {what()}"
        time.sleep(0.05)
    return value


class Terminal:
    """A terminal with one app in it."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self._socket = str(folder / f"{name}.tmux")
        command = ["exec", sys.executable, "-m", "lmrun", "tui", *arguments]
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", " ".join(command), cwd=folder)
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        self.pid = int(self._tmux("list-panes", "-F", "#{pane_pid}"))

    def _tmux(self, *arguments: str, cwd: Path | None = None) -> str:
        assert TMUX
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("TMUX", None)
        command = [TMUX, "-S", self._socket, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env=environment)
        return done.stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-S", "-50", "-t", ":0")

    def shows(self, text: str) -> None:
        until(lambda: text in self.screen(), self.screen)

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", ":0", *keys)

    def ended(self) -> bool:
        return not psutil.pid_exists(self.pid) or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE

    def lose(self) -> None:
        """The terminal is gone, and the kernel tells its processes so."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")


class Place:
    """A manifest that takes seconds, and terminals that are closed at the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.terminals: list[Terminal] = []

    def open(self, *arguments: str) -> Terminal:
        terminal = Terminal(self.world.folder, f"t{len(self.terminals)}", *arguments)
        self.terminals.append(terminal)
        return terminal

    def start(self, **stub: Any) -> Terminal:
        self.world.manifest(self.world.stub(**{"chunk": 1, "latency_ms": 200, **stub}))
        terminal = self.open("m.toml")
        terminal.shows("● running")
        assert self.status() == "running"
        return terminal

    def run(self) -> RunDirectory:
        (run,) = all_runs(self.world.folder / "runs")
        return run

    def info(self) -> dict[str, Any]:
        reader = RunReader(self.run())
        try:
            return reader.info()
        finally:
            reader.close()

    def status(self) -> str:
        return str(self.info()["status"])

    def completes(self) -> None:
        until(lambda: self.status() == "complete", self.status)
        assert len(self.world.calls()) == len(set(self.world.calls())) == 30


@pytest.fixture
def place(world: World) -> Iterator[Place]:
    place = Place(world)
    try:
        yield place
    finally:
        for terminal in place.terminals:
            terminal.lose()
        for run in all_runs(world.folder / "runs"):
            reader = RunReader(run)
            info = reader.info()
            reader.close()
            if info.get("status") == "running":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info["pid"], signal.SIGKILL)


def test_a_run_goes_on_after_the_app_is_left(place: Place) -> None:
    terminal = place.start()
    terminal.press("q")
    terminal.shows("leave it alone")
    terminal.press("d")
    until(terminal.ended)
    assert "goes on; watch it again with: lmrun tui runs/" in " ".join(terminal.screen().split())
    assert place.status() == "running"
    place.completes()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "terminal"])
def test_a_run_goes_on_when_the_app_dies(how: str, place: Place) -> None:
    terminal = place.start()
    if how == "terminal":
        terminal.lose()
    else:
        os.kill(terminal.pid, getattr(signal, how))
    until(terminal.ended)
    assert place.status() == "running"
    place.completes()


def test_the_death_of_the_engine_is_shown_and_its_run_resumed(place: Place) -> None:
    terminal = place.start()
    run = place.run()
    os.kill(place.info()["pid"], signal.SIGKILL)
    terminal.shows("✗ dead")
    terminal.press("R")
    terminal.shows("✓ complete")
    assert place.run() == run
    until(lambda: place.status() == "complete")
    assert len(set(place.world.calls())) == 30
    terminal.press("q")
    until(terminal.ended)


def test_two_viewers_steer_one_run(place: Place) -> None:
    first = place.start(streaming=True, in_flight=4, latency_ms=1000)
    second = place.open("latest")
    second.shows("● running")
    second.press("p")
    first.shows("‖ paused")
    second.shows("‖ paused")
    client = ControlClient(place.run())
    try:
        before = limit(client)
        first.press("+")
        until(lambda: limit(client) > before, first.screen)
    finally:
        client.close()
    first.press("p")
    second.shows("● running")
    second.press("S")
    second.shows("Stop the run?")
    second.press("y")
    first.shows("■ interrupted")
    second.shows("■ interrupted")
    assert place.status() == "interrupted"


def limit(client: ControlClient) -> int:
    snapshot = client.snapshot()
    assert snapshot
    return snapshot.models[0].limit or 0
