"""With NO_COLOR nothing is coloured, and nothing is lost: signs say what colours say, and the cursor is seen."""

from __future__ import annotations

import pytest
from rich.style import Style
from textual.color import Color
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.log import MARKS as LEVEL_MARKS
from lmrun.tui.state import MARKS as STATE_MARKS
from lmrun.tui.themes import THEMES
from lmrun.tui.widgets.frame import TABS
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import app_for, drive, wait_until


@pytest.fixture(autouse=True)
def _no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def drawn(app: LmrunApp) -> list[tuple[str, Style]]:
    """Text and style of everything on the screen."""
    return [
        (segment.text, segment.style or Style())
        for strip in app.screen._compositor.render_strips(app.screen.size)
        for segment in strip
    ]


def rgb(style: Style) -> list[Color]:
    return [Color.from_rich_color(color) for color in (style.color, style.bgcolor) if color and not color.is_default]


@pytest.mark.parametrize("page", TABS)
def test_everything_is_grey(finished: RunDirectory, page: str) -> None:
    app = app_for(finished, page)

    async def look(pilot: Pilot[None]) -> None:
        for theme in THEMES:
            app.theme = theme.name
            await pilot.pause()
            assert [
                (text, color) for text, style in drawn(app) for color in rgb(style) if not color.r == color.g == color.b
            ] == []

    drive(app, look)


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
def test_the_log_can_be_read(finished: RunDirectory, theme: str) -> None:
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        app.theme = theme
        table = app.screen.query_one(VirtualTable)
        await wait_until(pilot, lambda: table.count > 1)
        await pilot.pause()
        faint = [
            (text, style)
            for text, style in drawn(app)
            if text.strip() and style.color and style.bgcolor
            if abs(rgb(style)[0].brightness - rgb(style)[1].brightness) < 0.2
        ]
        assert faint == []

    drive(app, look)


def test_the_cursor_is_seen(finished: RunDirectory) -> None:
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        table = app.screen.query_one(VirtualTable)
        await wait_until(pilot, lambda: table.count > 1)
        here, there = (app.screen.get_style_at(5, table.region.y + 1 + row) for row in (table.cursor, table.cursor - 1))
        assert here.bgcolor and there.bgcolor
        assert (
            abs(Color.from_rich_color(here.bgcolor).brightness - Color.from_rich_color(there.bgcolor).brightness) > 0.2
        )

    drive(app, look)


def test_signs_differ() -> None:
    assert len(set(STATE_MARKS.values())) == len(STATE_MARKS)
    assert len(set(LEVEL_MARKS.values())) == len(LEVEL_MARKS)
