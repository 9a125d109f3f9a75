"""Small windows above a page: a text to read, and what to do with a run on leaving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lmrun.tui.text import one_line, shown

Choice = Literal["detach", "stop"]


class Notice(ModalScreen[None]):
    """Something to read, e.g. why an engine did not start."""

    DEFAULT_CSS = """
    Notice { align: center middle; }
    Notice VerticalScroll { width: 90%; max-width: 110; height: auto; max-height: 80%; background: $panel;
      border: round $error; padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,ctrl+c", "dismiss", "close")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """The text, scrolled where it is long."""
        with VerticalScroll() as scroll:
            scroll.border_title = Text(one_line(self._title))
            scroll.border_subtitle = "esc closes"
            yield Static(shown(self._text), markup=False)


class Leave(ModalScreen[Choice | None]):
    """What becomes of runs that go on when the app is left."""

    DEFAULT_CSS = """
    Leave { align: center middle; }
    Leave Vertical { width: 64; max-width: 95%; height: auto; background: $panel; border: round $primary;
      padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter,q,ctrl+c", "choose('detach')", "detach"),
        Binding("s", "choose('stop')", "stop"),
        Binding("escape,c", "dismiss", "cancel"),
    ]

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def compose(self) -> ComposeResult:
        """What goes on, and the keys."""
        it, its, goes = ("it", "its", "goes") if len(self._names) == 1 else ("them", "their", "go")
        text = Text.assemble(
            *((f"● {one_line(name)}\n", "bold") for name in self._names),
            f"{goes} on without this app.\n\n",
            ("  d ", "bold reverse"),
            f"  leave {it} alone (also ⏎ q)\n",
            ("  s ", "bold reverse"),
            f"  stop {it}: answers on {its} way are kept, R resumes\n",
            ("esc ", "bold reverse"),
            "  stay here",
        )
        with Vertical() as box:
            box.border_title = "leave"
            yield Static(text, markup=False)

    def action_choose(self, choice: Choice) -> None:
        """Leave, and that."""
        self.dismiss(choice)
