"""A question that is only answered by typing a word."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from lmrun.tui.text import shown


class TypedConfirm(ModalScreen[bool]):
    """Yes only where one of ``words`` is typed, and enter pressed."""

    DEFAULT_CSS = """
    TypedConfirm { align: center middle; }
    TypedConfirm Vertical { width: 90%; max-width: 76; height: auto; background: $panel; border: round $error;
      border-title-color: $text-error; padding: 0 1; }
    TypedConfirm Static { height: auto; margin: 0 0 1 0; }
    TypedConfirm Input { background: $surface; margin: 0 0 1 0; }
    TypedConfirm #wrong { color: $text-error; margin: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(False)", "cancel")]

    def __init__(self, title: str, question: str, words: Collection[str]) -> None:
        super().__init__()
        self._title, self._question, self._words = title, question, words

    def compose(self) -> ComposeResult:
        """The question, and where to type."""
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "esc cancels"
            yield Static(shown(self._question), markup=False)
            yield Input(compact=True)
            yield Static("", id="wrong", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        if event.value.strip() in self._words:
            self.dismiss(True)
        else:
            self.query_one("#wrong", Static).update("that is not what was asked for; nothing is done")
