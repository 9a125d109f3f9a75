"""The lines above and below every page."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal
from textual.events import Click
from textual.reactive import reactive
from textual.widget import Widget

from lmrun.display.format import duration
from lmrun.tui.state import LIVE, MARKS, RunView
from lmrun.tui.text import one_line

TABS = {
    "dashboard": "Dash",
    "runs": "Runs",
    "samples": "Samples",
    "compare": "Compare",
    "manifests": "Manifests",
    "log": "Log",
}
"""Pages in the order of their keys."""


class Tab(Widget):
    """The name of a page; a click goes there."""

    DEFAULT_CSS = """
    Tab { width: auto; height: 1; padding: 0 1; color: $text-muted; }
    Tab.-here { color: $text; background: $primary-muted; text-style: bold; }
    """

    def __init__(self, number: int, page: str, *, here: bool) -> None:
        super().__init__(classes="-here" if here else "")
        self._number, self._page = number, page

    def get_content_width(self, container: object, viewport: object) -> int:
        """Of the words."""
        return len(self._words())

    def _words(self) -> str:
        name = "" if self.app.size.width < 100 and not self.has_class("-here") else f" {TABS[self._page]}"
        return f"{self._number}{name}"

    def render(self) -> RenderResult:
        """Number and name."""
        return Text(self._words())

    async def on_click(self, event: Click) -> None:
        """Go there."""
        await self.app.run_action(f"app.page('{self._page}')")


class Header(Horizontal):
    """Which run, which page, how the run is."""

    DEFAULT_CSS = """
    Header { dock: top; height: 1; background: $panel; }
    Header #name { width: 1fr; padding: 0 1; }
    Header #state { width: auto; padding: 0 1; }
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page
        self._view: RunView | None = None

    def compose(self) -> ComposeResult:
        """Name, tabs, state."""
        yield Name(id="name")
        for number, page in enumerate(TABS, start=1):
            yield Tab(number, page, here=page == self._page)
        yield State(id="state")

    def show(self, view: RunView | None) -> None:
        """The run as it is now."""
        self._view = view
        if self.is_mounted:  # its parts come a moment after it
            self._fill()

    def on_mount(self) -> None:
        """What was to be shown before there was a place for it."""
        self._fill()

    def _fill(self) -> None:
        self.query_one(Name).view = self._view
        self.query_one(State).view = self._view


class Name(Widget):
    """The name of the run."""

    view: reactive[RunView | None] = reactive(None)

    def render(self) -> RenderResult:
        """``lmrun ▸ name``."""
        name = one_line(self.view.name, 60) if self.view else "no run"
        return Text.assemble(("lmrun", "bold"), (" ▸ ", "dim"), name, overflow="ellipsis", no_wrap=True)


class State(Widget):
    """How the run is, and for how long."""

    view: reactive[RunView | None] = reactive(None)

    def watch_view(self, old: RunView | None, new: RunView | None) -> None:
        """Only other words of another length move what stands beside them."""
        if len(_state(old)) != len(_state(new)):
            self.refresh(layout=True)

    def render(self) -> RenderResult:
        """``● running 00:41:07``."""
        return Text(_state(self.view), style="bold" if self.view and self.view.state in LIVE else "")


def _state(view: RunView | None) -> str:
    return f"{MARKS[view.state]} {view.state} {duration(view.elapsed)}" if view else ""
