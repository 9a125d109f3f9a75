"""The page samples."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from lmrun.store.reader import SampleQuery
from lmrun.tui.pages.base import Page


class SamplesPage(Page):
    """To be built."""

    page = "samples"

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("samples")

    def open(self, query: SampleQuery) -> None:
        """Show these samples; the page may not have been shown before."""
