"""The line of keys: what fits, what stays on a narrow screen, and what a click does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.help import HelpScreen
from lmrun.tui.state import RunState
from lmrun.tui.watch import RunWatch
from lmrun.tui.widgets.keys import Keys
from tests.tui.conftest import app_for, drive, screen_text, wait_until


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


@pytest.mark.parametrize(
    ("state", "shown", "hidden"),
    [
        ("complete", ["⏎ samples", "v plots"], ["p pause", "R resume", "E retry errors"]),
        ("incomplete", ["E retry errors"], ["p pause", "R resume"]),
        ("dead", ["R resume"], ["p pause", "E retry errors"]),
        ("running", ["p pause"], ["R resume", "E retry errors"]),
    ],
)
def test_the_footer_has_only_keys_that_can_do_something(
    finished: RunDirectory, state: RunState, shown: list[str], hidden: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_as_ever = RunWatch.look
    monkeypatch.setattr(RunWatch, "look", lambda self: replace(look_as_ever(self), state=state))
    app = app_for(finished)

    async def look(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: all(words in keys(app) for words in shown), str(shown))
        assert [words for words in hidden if words in keys(app)] == []

    drive(app, look)


def test_enter_stands_in_the_footer_where_it_opens_something(two_models: RunDirectory) -> None:
    app = app_for(two_models, "runs")

    async def look(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "⏎ open" in keys(app))
        assert "R resume" not in keys(app), "the run is complete"
        await pilot.press("6")
        await wait_until(pilot, lambda: "l level" in keys(app))
        assert "⏎ open" not in keys(app), "a line of the log is there in full"
        await pilot.press("4")
        await wait_until(pilot, lambda: "⏎ open" in keys(app))
        await wait_until(pilot, lambda: "colours" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: "esc back" in keys(app))
        assert "⏎ open" not in keys(app)

    drive(app, look)


def test_the_plots_have_no_help_of_their_own(finished: RunDirectory) -> None:
    app = app_for(finished)

    async def look(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        await wait_until(pilot, lambda: "next plot" in keys(app))
        assert "help" not in keys(app)
        assert "q quit" in keys(app)

    drive(app, look)
