"""The page log."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.tui.pages.base import Page


class LogPage(Page):
    """To be built."""

    page = "log"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("log")
