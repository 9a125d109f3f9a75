"""Errors of a run by kind: how many, an example, what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from lmrun.engine.failures import LASTING
from lmrun.errors import LmrunError
from lmrun.store.error_kinds import ErrorKind
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from lmrun.tui.text import one_line, shown

EXAMPLE = 600
"""Characters of an example."""


class ErrorsScreen(ModalScreen[bool]):
    """Gives True where the user wants what failed to be asked again."""

    DEFAULT_CSS = """
    ErrorsScreen { align: center middle; }
    ErrorsScreen VerticalScroll { width: 90%; max-width: 110; height: auto; max-height: 90%; background: $panel;
      border: round $error; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e", "answer(False)", "close"),
        Binding("E", "answer(True)", "retry"),
        Binding("j", "scroll_down", "down", show=False),
        Binding("k", "scroll_up", "up", show=False),
    ]

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self._run_directory = run

    def compose(self) -> ComposeResult:
        """One text, which scrolls."""
        with VerticalScroll() as box:
            box.border_title = "errors by kind"
            box.border_subtitle = "esc closes"
            yield Static("reading …", markup=False)

    def on_mount(self) -> None:
        """Read beside the loop."""
        self.run_worker(self._read, name="errors", thread=True, exit_on_error=False)

    def _read(self) -> list[ErrorKind]:
        reader = RunReader(self._run_directory)
        try:
            return reader.error_kinds()
        finally:
            reader.close()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show what was read."""
        if event.state is WorkerState.SUCCESS:
            kinds = event.worker.result or []
            self.query_one(Static).update(told(kinds))
            if kinds:
                self.query_one(VerticalScroll).border_subtitle = "E asks again · esc closes"
        elif event.state is WorkerState.ERROR:
            error = event.worker.error
            words = error.message if isinstance(error, LmrunError) else str(error)
            self.query_one(Static).update(shown(f"the errors cannot be read: {words}"))

    def action_scroll_down(self) -> None:
        """A line down."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_scroll_up(self) -> None:
        """A line up."""
        self.query_one(VerticalScroll).scroll_up(animate=False)

    def action_answer(self, again: bool) -> None:
        """Close."""
        self.dismiss(again)


def told(kinds: Sequence[ErrorKind]) -> Text:
    """All kinds below each other."""
    if not kinds:
        return Text("✓ no errors")
    return Text("\n\n").join(_kind(kind) for kind in kinds)


def _kind(kind: ErrorKind) -> Text:
    noun = kind.what if kind.count == 1 else f"{kind.what}s"
    jobs = ", ".join(kind.jobs[:3]) + (f" and {len(kind.jobs) - 3} more" if len(kind.jobs) > 3 else "")
    head = Text.assemble(("✗ ", "bold"), (f"{kind.count:,} {noun}", "bold"), "  ", (one_line(kind.kind), "bold"))
    head.append(f"  {one_line(jobs)}", "dim")
    head.append("\n  ").append_text(shown(kind.message, limit=EXAMPLE))
    if advice := kind.hint or LASTING.get(kind.kind, ""):
        head.append("\n  hint: ", "italic").append_text(shown(advice, "italic"))
    return head
