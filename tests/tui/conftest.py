"""What tests of the terminal app share: small finished runs, a pilot without a plug-in, and bounded waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from tests.engine.conftest import World, world

__all__ = ["World", "world"]

PATIENCE = 30.0
"""Seconds after which what should have come counts as missing. Nothing waits so long but in a test that fails."""

Steps = Callable[[Pilot[None]], Awaitable[object]]
BOTH_TASKS = '[[tasks]]\nname = ["colours", "speech"]\n'


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No animations, no settings of whoever runs the tests, and a size that no terminal decides."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of the processes that check manifests
    monkeypatch.setenv("LMRUN_CONFIG", str(tmp_path / "no-config.toml"))
    for name in ("NO_COLOR", "COLUMNS", "LINES", "EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def finished(world: World) -> RunDirectory:
    """A finished run: one scripted model, a multiple-choice and a generation task of ten docs each."""
    return world.run(world.manifest(world.stub(), tasks=BOTH_TASKS)).directory


@pytest.fixture
def two_models(world: World) -> RunDirectory:
    """A finished run of two scripted models that answer differently."""
    models = (world.stub("first"), world.stub("second", salt="other"))
    return world.run(world.manifest(*models, tasks=BOTH_TASKS)).directory


@pytest.fixture
def with_errors(world: World) -> RunDirectory:
    """A finished run in which one doc of each task has an error."""
    return world.run(world.manifest(world.stub(fail="colour 3"), tasks=BOTH_TASKS)).directory


def app_for(run: RunDirectory | None, page: str = "dashboard", runs_dir: Path = Path("runs")) -> LmrunApp:
    """The app as ``lmrun tui`` makes it."""
    return LmrunApp(run, runs_dir=run.path.parent if run else runs_dir, page=page)


def drive(app: LmrunApp, steps: Steps, size: tuple[int, int] = (120, 40)) -> LmrunApp:
    """Run the app without a terminal, and do these steps in it; an error in either fails the test."""

    async def go() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await steps(pilot)

    asyncio.run(go())
    return app


async def wait_until(pilot: Pilot[None], condition: Callable[[], object], what: str = "") -> None:
    """Return as soon as the condition holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            assert isinstance(pilot.app, LmrunApp)
            pytest.fail(f"never came: {what or 'a condition'}; the screen:\n{screen_text(pilot.app)}")
        await pilot.pause(0.02)


def screen_text(app: LmrunApp) -> str:
    """What stands on the screen, line by line."""
    size, compositor = app.screen.size, app.screen._compositor
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in compositor.render_strips(size))
