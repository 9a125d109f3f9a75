"""The line of keys: what fits, what stays on a narrow screen, and what a click does."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.help import HelpScreen
from lmrun.tui.widgets.keys import Keys
from tests.tui.conftest import app_for, drive, screen_text


def keys(app: LmrunApp) -> str:
    return screen_text(app).split("\n")[-1]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_keys_of_the_app_stay(finished: RunDirectory, width: int) -> None:
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        await pilot.pause()
        assert "? help" in keys(app)
        assert "q quit" in keys(app)
        assert len(keys(app)) <= width
        assert ("F follow" in keys(app)) == (width >= 80)

    drive(app, look, (width, 24))


def test_a_click_is_a_key(finished: RunDirectory) -> None:
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        await pilot.pause()
        await pilot.click(Keys, offset=(keys(app).index("? help") + 3, 0))
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)

    drive(app, look)


def test_keys_of_the_user(finished: RunDirectory) -> None:
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        app.set_keymap({"log.follow": "ctrl+f"})
        app.screen.refresh_bindings()
        await pilot.pause()
        assert "^f follow" in keys(app)

    drive(app, look)
