"""The page compare."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.tui.pages.base import Page


class ComparePage(Page):
    """To be built."""

    page = "compare"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("compare")
