"""Thousands of keys in any order, on every page, of runs of every kind: nothing may come of it but pages."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot

from lmrun.engine.control.protocol import Reply
from lmrun.store.runs import RunDirectory
from lmrun.tui import app as app_module
from lmrun.tui import ask as ask_module
from lmrun.tui import engine as engine_module
from lmrun.tui.actions import APP, PAGES, TABLE
from lmrun.tui.app import LmrunApp
from tests.engine.conftest import World
from tests.tui.conftest import BOTH_TASKS, app_for, drive
from tests.tui.test_soak import ScriptedEngine

SEEDS = [int(seed) for seed in os.environ.get("LMRUN_MONKEY_SEEDS", "1").split(",")]
"""Of the order of the keys: other ones can be tried from outside."""
PRESSES = int(os.environ.get("LMRUN_MONKEY_PRESSES", "250"))
"""Of each seed and kind of run."""
SECONDS = 4.0 * PRESSES / 250
"""That a monkey has at most: on a slow machine it presses fewer keys."""
KEYS = sorted(
    {key for table in (APP, TABLE, *PAGES.values()) for action in table for key in action.keys.split(",")}
    | {
        "left",
        "right",
        "backspace",
        "delete",
        "space",
        "y",
        "n",
        "a",
        "w",
        "ctrl+c",
        "ctrl+q",
        "ctrl+a",
        "quotation_mark",
    }
    | {"enter", "escape", "tab", "shift+tab"}
)
SIZES = [(120, 40), (80, 24), (1, 1), (400, 100), (2, 50), (200, 2), (60, 12)]
PASTED = ["wrong", "\x1b[31m\x00\u202e[b]", 'task:"', "!" * 2_000, "(" * 500, "label:a\nlabel:b", "1e999", "%s{}\\"]

Breaking = Callable[[RunDirectory], object]


def _garbage(run: RunDirectory) -> None:
    run.database.write_bytes(b"SQLite format 3\0" + os.urandom(8_000))
    run.log.write_bytes(os.urandom(20_000))


BROKEN: dict[str, Breaking] = {
    "whole": lambda run: None,
    "garbage": _garbage,
    "empty": lambda run: run.database.write_bytes(b""),
    "cut": lambda run: os.truncate(run.database, run.database.stat().st_size // 2),
    "gone": lambda run: shutil.rmtree(run.path),
}
"""What becomes of the run while the app looks at it."""


@pytest.fixture(autouse=True)
def _harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started ends at once, what is sent arrives nowhere, and no key leaves the app."""
    nothing = (sys.executable, "-S", "-c", "raise SystemExit(3)", "--")
    monkeypatch.setattr(engine_module, "LMRUN", nothing)
    monkeypatch.setattr(ask_module, "LMRUN", nothing)
    monkeypatch.setattr(app_module, "_send", lambda run, name, arguments: Reply(name < "r", "word " * 40))
    monkeypatch.setattr(LmrunApp, "exit", lambda self, *_arguments, **_named: None)


async def _press(pilot: Pilot[None], seed: int, halfway: Callable[[], object]) -> None:
    dice, end, trail = random.Random(seed), time.monotonic() + SECONDS, []
    try:
        for number in range(PRESSES):
            if number == PRESSES // 4:
                halfway()
            if time.monotonic() > end:
                halfway()
                break
            if dice.random() < 0.02:
                await pilot.resize_terminal(*dice.choice(SIZES))
            if dice.random() < 0.02:
                pilot.app.post_message(Paste(dice.choice(PASTED)))
            trail.append(dice.choice(KEYS))
            await pilot.press(trail[-1])
    except BaseException:
        sys.stderr.write(f"seed {seed}, the last keys: {trail[-60:]}\n")
        raise


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", BROKEN)
def test_of_a_finished_run(how: str, seed: int, two_models: RunDirectory) -> None:
    app = app_for(two_models)
    drive(app, lambda pilot: _press(pilot, seed, lambda: BROKEN[how](two_models)))


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_run(seed: int, tmp_path: Path) -> None:
    app = app_for(None, "manifests", tmp_path)
    drive(app, lambda pilot: _press(pilot, seed, lambda: None))


@pytest.mark.parametrize("seed", SEEDS)
def test_while_an_engine_works(seed: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run(world.manifest(world.stub(fail="colour 3"), tasks=BOTH_TASKS)).directory
    engine = ScriptedEngine(run)
    monkeypatch.setattr(app_module, "RunWatch", lambda _run: engine)
    drive(app_for(run), lambda pilot: _press(pilot, seed, engine.tick))
