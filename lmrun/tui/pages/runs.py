"""The page runs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.tui.pages.base import Page


class RunsPage(Page):
    """To be built."""

    page = "runs"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("runs")
