"""The page dashboard."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.tui.pages.base import Page


class DashboardPage(Page):
    """To be built."""

    page = "dashboard"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("dashboard")
