"""What can be done on every page, and which run the app shows."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from tests.tui.conftest import app_for, drive, screen_text, wait_until


@pytest.mark.parametrize(
    ("key", "page"),
    [("1", "dashboard"), ("2", "runs"), ("3", "samples"), ("4", "compare"), ("5", "manifests"), ("6", "log")],
)
def test_each_page_has_its_key(key: str, page: str, finished: RunDirectory) -> None:
    app = app_for(finished, page="runs" if page != "runs" else "log")

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert app.current_mode == page
        await wait_until(pilot, lambda: "complete" in screen_text(app))

    drive(app, steps)


def test_minus_goes_back(finished: RunDirectory) -> None:
    app = app_for(finished)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("6", "minus")
        assert app.current_mode == "dashboard"
        await pilot.press("minus")
        assert app.current_mode == "log"

    drive(app, steps)
