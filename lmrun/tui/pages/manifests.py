"""The page manifests."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.tui.pages.base import Page


class ManifestsPage(Page):
    """To be built."""

    page = "manifests"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("manifests")
