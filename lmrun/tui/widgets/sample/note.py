"""The dialog for a sample's label and note."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from lmrun.store.notes import Note


class Written(NamedTuple):
    """What the user wants to keep; nothing at all takes the note away."""

    mark: str
    text: str


class NoteScreen(ModalScreen[Written | None]):
    """Asks for a label and a note; None where the user leaves."""

    DEFAULT_CSS = """
    NoteScreen { align: center middle; }
    NoteScreen Vertical { width: 90%; max-width: 80; height: 16; max-height: 95%; background: $panel;
      border: round $primary; padding: 0 1; }
    NoteScreen Static { color: $text-muted; height: 1; }
    NoteScreen Input, NoteScreen TextArea { background: $surface; border: none; margin-bottom: 1; }
    NoteScreen TextArea { height: 1fr; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("ctrl+s", "keep", "keep", priority=True),
    ]

    def __init__(self, title: str, note: Note | None) -> None:
        super().__init__()
        self._title = title
        self._note = note or Note("")

    def compose(self) -> ComposeResult:
        """Label over note."""
        with Vertical() as box:
            box.border_title = self._title.replace("[", "\\[")
            box.border_subtitle = "⏎ or ^s keeps · esc leaves"
            yield Static("label: a word or two, to filter by (label:…)", markup=False)
            yield Input(self._note.mark, compact=True, select_on_focus=False)
            yield Static("note", markup=False)
            yield TextArea(self._note.text, show_line_numbers=False, soft_wrap=True, tab_behavior="focus")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the label."""
        event.stop()
        self.action_keep()

    def action_keep(self) -> None:
        """Keep what is written."""
        text = self.query_one(TextArea).text
        self.dismiss(Written(self.query_one(Input).value.strip(), text.strip()))

    def action_leave(self) -> None:
        """Keep nothing."""
        self.dismiss(None)
