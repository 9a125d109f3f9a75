"""Typing a filter: applied as one types, kept, cleared, closed, and said to be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from lmrun.tui.widgets.filter_bar import LONGEST, FilterBar


def check(text: str) -> None:
    if text.endswith(":"):
        raise ValueError(f"{text} what?")


class Small(App[None]):
    BINDINGS = [Binding("slash", "filter", ""), Binding("x", "cross", "")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.crossed = 0

    def compose(self) -> ComposeResult:
        yield OptionList("a", "b")
        yield FilterBar(check, "words")

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self.seen.append(event.text)

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_cross(self) -> None:
        self.crossed += 1


def drive(steps: Callable[[Small, Pilot[None]], Awaitable[Any]]) -> None:
    async def main() -> None:
        app = Small()
        async with app.run_test(size=(80, 24)) as pilot:
            await steps(app, pilot)

    asyncio.run(main())


def test_filters_as_one_types_and_goes_back_on_enter() -> None:
    async def steps(app: Small, pilot: Pilot[None]) -> None:
        bar = app.query_one(FilterBar)
        assert not bar.display
        await pilot.press("slash", "a", "x", "slash")
        assert app.seen == ["a", "ax", "ax/"]
        assert app.crossed == 0, "keys of the page are letters while one types"
        await pilot.press("enter")
        assert bar.display and bar.text == "ax/"
        assert isinstance(app.focused, OptionList)
        await pilot.press("x")
        assert app.crossed == 1

    drive(steps)


def test_escape_clears_and_then_closes() -> None:
    async def steps(app: Small, pilot: Pilot[None]) -> None:
        bar = app.query_one(FilterBar)
        await pilot.press("slash", "a", "enter", "slash", "escape")
        assert bar.display and bar.text == "" and app.seen == ["a", ""]
        assert isinstance(app.focused, Input)
        await pilot.press("escape")
        assert not bar.display
        assert isinstance(app.focused, OptionList)

    drive(steps)


def test_what_is_no_filter_is_said_and_the_last_one_holds() -> None:
    async def steps(app: Small, pilot: Pilot[None]) -> None:
        bar = app.query_one(FilterBar)
        await pilot.press("slash", "a", "colon")
        assert app.seen == ["a"]
        assert "a: what?" in str(bar.query_one("#words", Static).render())
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.focused, Input), "what is wrong can be put right"
        assert bar.text == "a" and bar.query_one(Input).value == "a:" and app.seen == ["a"]
        await pilot.press("b", "enter")
        assert isinstance(app.focused, OptionList) and app.seen == ["a", "a:b"]

    drive(steps)


def test_a_filter_can_be_set_by_the_page() -> None:
    async def steps(app: Small, pilot: Pilot[None]) -> None:
        bar = app.query_one(FilterBar)
        bar.set("b")
        await pilot.pause()
        assert bar.display and app.seen == ["b"]
        bar.set("")
        await pilot.pause()
        assert not bar.display and app.seen == ["b", ""]

    drive(steps)


def test_a_book_that_is_pasted_is_no_filter() -> None:
    async def steps(app: Small, pilot: Pilot[None]) -> None:
        await pilot.press("slash", "a")
        app.query_one(Input).post_message(Paste("b " * LONGEST))
        await pilot.press("c")
        assert app.seen == ["a", "ac"]

    drive(steps)
