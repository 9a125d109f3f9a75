"""The table of any length."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rich.color import Color
from textual.app import App, ComposeResult

from lmrun.tui.widgets.virtual import Cell, Column, VirtualTable


class _Table(App[None]):
    def compose(self) -> ComposeResult:
        yield VirtualTable([Column("name", 0)], lambda start, stop: [(Cell("right", "good"),)] * (stop - start))

    @property
    def table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    def colours(self) -> set[Color | None]:
        """Of what the third row says."""
        return {
            segment.style.color for segment in self.table.render_line(3) if segment.style and "right" in segment.text
        }


def test_kept_styles_follow_the_theme() -> None:
    async def go() -> None:
        app = _Table()
        async with app.run_test() as pilot:
            app.table.renew(10)
            await pilot.pause()
            before = app.colours()
            # Like the one before but for what is good: the style of the whole table stays the same.
            app.register_theme(replace(app.current_theme, name="other", success="magenta"))
            app.theme = "other"
            await pilot.pause()
            after = app.colours()
            assert before != after
            assert after == {app.table.get_component_rich_style("virtual--good").color}

    asyncio.run(go())
