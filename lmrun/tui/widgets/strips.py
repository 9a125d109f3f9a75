"""The strips above the jobs: models, devices, totals, and what goes on. One widget each, drawn as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import RenderResult
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget

from lmrun.tui.pages.base import NARROW, SHORT
from lmrun.tui.state import RunView


class Strip(Widget):
    """Some lines about a run. In a box with a title, or as one bare line where there is little room."""

    DEFAULT_CSS = """
    Strip { height: auto; text-wrap: nowrap; text-overflow: ellipsis; padding: 0 1;
      border: round $foreground 25%; border-title-color: $text-muted; border-title-style: none; }
    .-narrow Strip, .-short Strip { border: none; height: 1; }
    """
    title = ""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = self.title
        self._view: RunView | None = None
        self._least = 0
        self._lines: list[Content] = []

    @property
    def count(self) -> int:
        """How many lines it has to say."""
        return sum(bool(line.plain) for line in self._lines)

    def again(self) -> None:
        """Draw for another room."""
        self.show(self._view, self._least)

    def show(self, view: RunView | None, least: int = 0) -> None:
        """The run as it is now, in as many lines at least as what stands beside it; draws only what has changed."""
        self._view, self._least = view, least
        lines = self._drawn()
        if lines != self._lines:
            taller = len(lines) != len(self._lines)
            self._lines = lines
            self.refresh(layout=taller)

    def on_resize(self, event: Resize) -> None:
        """Lines follow the width."""
        self.again()

    @property
    def brief(self) -> bool:
        """There is room for one line only."""
        width, height = self.screen.size
        return width < NARROW or height < SHORT

    def _drawn(self) -> list[Content]:
        width = self.content_size.width or self.app.size.width - 4
        if self._view is None:
            return []
        if self.brief:
            return [self.line(self._view, width)]
        lines = list(self.lines(self._view, width))
        return lines + [Content("")] * (self._least - len(lines))

    def lines(self, view: RunView, width: int) -> Sequence[Content]:
        """In a box."""
        raise NotImplementedError

    def line(self, view: RunView, width: int) -> Content:
        """As one bare line."""
        raise NotImplementedError

    def render(self) -> RenderResult:
        """All lines."""
        return Content("\n").join(self._lines)
