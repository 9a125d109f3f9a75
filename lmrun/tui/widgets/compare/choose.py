"""Choosing the two sides: runs × models, first A, then B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from lmrun.store.pairs import Side
from lmrun.tui.text import one_line
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of a run."""

    side: Side
    name: str
    """Of the manifest."""
    started: str

    @property
    def words(self) -> str:
        """What is searched."""
        return f"{self.side.model} {self.name} {self.side.run.id}".lower()


class ChooseSides(ModalScreen["tuple[Side, Side] | None"]):
    """A list that gets shorter as one types; enter takes A, then B."""

    DEFAULT_CSS = """
    ChooseSides { align: center middle; }
    ChooseSides Vertical { width: 90%; max-width: 110; height: 70%; background: $panel; border: round $primary;
      padding: 0 1; }
    ChooseSides Input { background: $surface; margin: 0 0 1 0; }
    ChooseSides VirtualTable { background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("pagedown", "move(10)", "page down", show=False, priority=True),
        Binding("pageup", "move(-10)", "page up", show=False, priority=True),
    ]

    def __init__(self, candidates: Sequence[Candidate], sides: tuple[Side, Side] | None) -> None:
        super().__init__()
        self._candidates = candidates
        self._listed = list(candidates)
        self._sides = sides
        self._a: Side | None = None

    def compose(self) -> ComposeResult:
        """Search and list."""
        with Vertical():
            yield Input(placeholder="type a part of a model's or run's name", compact=True)
            yield VirtualTable(
                [Column("", 1), Column("model", 28), Column("run", 0), Column("started", 16)], self._rows, id="sides"
            )

    def on_mount(self) -> None:
        """Begin with A, on the side that is A now."""
        self._ask(self._sides[0] if self._sides else None)

    def _ask(self, now: Side | None) -> None:
        box = self.query_one(Vertical)
        box.border_title = "side A: enter chooses" if self._a is None else "side B: enter chooses"
        box.border_subtitle = "esc cancels" if self._a is None else "esc back to A"
        self.query_one(Input).value = ""
        self._list()
        places = [place for place, candidate in enumerate(self._listed) if candidate.side == now]
        self._table.move_to(places[0] if places else 0)

    @property
    def _table(self) -> VirtualTable:
        return self.query_one("#sides", VirtualTable)

    def _list(self) -> None:
        words = self.query_one(Input).value.lower().split()
        self._listed = [c for c in self._candidates if all(word in c.words for word in words)]
        self._table.renew(len(self._listed))

    def _rows(self, start: int, stop: int) -> list[Row]:
        marks = {self._a: "A"} if self._a else {}
        if self._sides and not self._a:
            marks = {self._sides[1]: "B", self._sides[0]: "A"}
        return [
            (
                Cell(marks.get(candidate.side, ""), "strong"),
                Cell(one_line(candidate.side.model)),
                Cell(one_line(candidate.name)),
                Cell(candidate.started, "dim"),
            )
            for candidate in self._listed[start:stop]
        ]

    def on_input_changed(self, event: Input.Changed) -> None:
        """Fewer, or more."""
        event.stop()
        self._list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self._choose()

    def on_virtual_table_chosen(self, event: VirtualTable.Chosen) -> None:
        """Enter or a click in the list."""
        event.stop()
        self._choose()

    def _choose(self) -> None:
        if not self._listed:
            return
        side = self._listed[self._table.cursor].side
        if self._a is None:
            self._a = side
            self._ask(self._sides[1] if self._sides else None)
        elif side == self._a:
            self.notify("A and B are the same: choose another model or run", severity="warning")
        else:
            self.dismiss((self._a, side))

    def action_move(self, rows: int) -> None:
        """The cursor follows the arrows also while one types."""
        self._table.move_to(self._table.cursor + rows)

    def action_back(self) -> None:
        """To A, then out."""
        if self._a is None:
            self.dismiss(None)
        else:
            a, self._a = self._a, None
            self._ask(a)
