"""What every key does, made from the table of actions."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lmrun.tui.actions import APP, PAGES, TABLE, Action, identifier

_SIGNS = {
    "question_mark": "?",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "equals_sign": "=",
    "underscore": "_",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "enter": "⏎",
    "escape": "esc",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "down": "↓",
    "up": "↑",
}


def key_names(keys: str) -> str:
    """Keys as people write them: ``ctrl+d,pagedown`` → ``^d PgDn``."""
    return " ".join(_SIGNS.get(key, key.replace("ctrl+", "^").replace("shift+", "⇧")) for key in keys.split(","))


class HelpScreen(ModalScreen[None]):
    """The actions of a page, of tables and of the app, with their names for ``[keys]``."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll { width: 90%; max-width: 110; height: auto; max-height: 90%; background: $panel;
      border: round $primary; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1", "dismiss", "close")]

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page

    def compose(self) -> ComposeResult:
        """One table for each group."""
        with VerticalScroll() as scroll:
            scroll.border_title = f"{self._page}: keys"
            scroll.border_subtitle = "esc closes"
            for title, page, actions in (
                ("this page", self._page, PAGES[self._page]),
                ("lists", "table", TABLE),
                ("everywhere", "app", APP),
            ):
                yield Static(self._table(title, page, actions))

    def _table(self, title: str, page: str, actions: tuple[Action, ...]) -> Table:
        keymap = self.app._keymap
        table = Table(box=None, padding=(0, 1), title=Text(title, "bold"), title_justify="left", expand=True)
        for _ in range(3):
            table.add_column(overflow="fold")
        table.show_header = False
        for action in actions:
            name = identifier(page, action)
            table.add_row(Text(key_names(keymap.get(name, action.keys)), "bold"), Text(action.help), Text(name, "dim"))
        return table
