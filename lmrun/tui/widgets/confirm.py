"""A question before something that cannot be undone."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from lmrun.tui.text import one_line


class Confirm(ModalScreen[bool]):
    """Gives True for yes."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm Vertical { width: auto; max-width: 76; min-width: 44; height: auto; background: $panel;
      border: round $warning; padding: 1 2; }
    Confirm Static { width: auto; max-width: 70; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, title: str, question: str, yes: str) -> None:
        """``yes`` says in a word or two what will be done."""
        super().__init__()
        self._title, self._question, self._yes = title, question, yes

    def compose(self) -> ComposeResult:
        """The question, and its two answers."""
        with Vertical() as box:
            box.border_title = self._title
            answers = Text.assemble("\n\n", ("y", "bold"), f" {self._yes}     ", ("n", "bold"), " no")
            yield Static(Text(one_line(self._question, 500)).append_text(answers), markup=False)

    def action_answer(self, answer: bool) -> None:
        """Close with an answer."""
        self.dismiss(answer)
