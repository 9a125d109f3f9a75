"""The views of a sample by name, and which sample it is."""

from __future__ import annotations

from typing import Literal, get_args

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from lmrun.tui.text import fit

View = Literal["Prompt", "Output", "Choices", "Meta"]
VIEWS: tuple[View, ...] = get_args(View)


class Tabs(Widget):
    """One line: the views, the one that is shown marked, and at the right what is shown."""

    COMPONENT_CLASSES = {"tabs--here"}  # noqa: RUF012 - Textual's way
    DEFAULT_CSS = """
    Tabs { height: 1; background: $panel; color: $text-muted; }
    Tabs .tabs--here { background: $background; color: $text-primary; text-style: bold; }
    """
    view: reactive[View] = reactive("Prompt")
    words = reactive("")

    class Chosen(Message):
        """A click on a view."""

        def __init__(self, view: View) -> None:
            super().__init__()
            self.view: View = view

    def render(self) -> RenderResult:
        """The line."""
        text = Text(no_wrap=True)
        here = self.get_component_rich_style("tabs--here")
        for view in VIEWS:
            text.append(f"▌{view} " if view == self.view else f" {view} ", here if view == self.view else "")
        room = self.size.width - cell_len(text.plain) - 3
        if room > 4:
            text.append(" " + fit(self.words, room, right=True))
        return text

    def on_click(self, event: Click) -> None:
        """Show a view."""
        start = 0
        for view in VIEWS:
            start += len(view) + 2
            if event.x < start:
                self.post_message(self.Chosen(view))
                return
