"""The line at the bottom of a page where a filter is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import DescendantBlur
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from lmrun.errors import LmrunError
from lmrun.tui.text import one_line

LONGEST = 1000
"""Characters that can be typed: a book that is pasted is no filter, and to look for each of its words takes minutes."""


class FilterBar(Horizontal):
    """Stands last in the body of a page, and takes no room until it is opened.

    What is typed applies at once. Enter goes back to where the user was and keeps the filter in view, unless it cannot
    be understood; escape clears it, and closes an empty line.
    """

    DEFAULT_CSS = """
    FilterBar { height: 1; background: $panel; display: none; }
    FilterBar.-open { display: block; }
    FilterBar #sign { width: 3; padding: 0 1; color: $text-primary; text-style: bold; }
    FilterBar Input { width: 1fr; background: $panel; }
    FilterBar #words { width: auto; max-width: 70%; padding: 0 1; color: $text-muted;
      text-wrap: nowrap; text-overflow: ellipsis; }
    FilterBar.-wrong #words { color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "clear", show=False),
        Binding("down", "apply", "apply", show=False),
    ]

    class Changed(Message):
        """Another filter is wanted; ``text`` has passed the check."""

        def __init__(self, bar: FilterBar, text: str) -> None:
            super().__init__()
            self.bar, self.text = bar, text

        @property
        def control(self) -> FilterBar:
            """The line."""
            return self.bar

    def __init__(self, check: Callable[[str], object], hint: str = "", *, id: str | None = None) -> None:  # noqa: A002
        """``check`` raises LmrunError or ValueError for what is no filter, in words for the user."""
        super().__init__(id=id)
        self._check = check
        self._hint = hint
        self._before: Widget | None = None
        self._text = ""
        self._said = ""

    def compose(self) -> ComposeResult:
        """Sign, what is typed, what is wrong with it."""
        yield Static("/", id="sign", markup=False)
        yield Input(placeholder=self._hint, compact=True, select_on_focus=False, max_length=LONGEST)
        yield Static("", id="words", markup=False)

    @property
    def text(self) -> str:
        """The filter that holds."""
        return self._text

    def open(self, text: str | None = None) -> None:
        """Let the user type, from ``text`` or from what was typed before."""
        if self.screen.focused is not self._input:
            self._before = self.screen.focused
        self.add_class("-open")
        if text is not None:
            self._input.value = text
        self._input.cursor_position = len(self._input.value)
        self._input.focus()

    def set(self, text: str) -> None:
        """Let a filter hold without the user typing it; empty: none."""
        self._input.value = text
        self.set_class(bool(text), "-open")

    def say(self, words: str) -> None:
        """Show a few words at the right, e.g. how many rows fit."""
        if self.is_mounted and not self.has_class("-wrong") and words != self._said:
            self._say(words)

    def _say(self, words: str) -> None:
        self._said = words
        self._words.update(Text(one_line(words)))

    @property
    def _input(self) -> Input:
        return self.query_one(Input)

    @property
    def _words(self) -> Static:
        return self.query_one("#words", Static)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Apply what is typed, or say what is wrong with it."""
        event.stop()
        try:
            self._check(event.value)
        except (LmrunError, ValueError) as error:
            self.add_class("-wrong")
            hint = f" · {error.hint}" if isinstance(error, LmrunError) and error.hint else ""
            self._say(f"! {error}{hint}")
            return
        self.remove_class("-wrong")
        self._say("")
        if event.value != self._text:
            self._text = event.value
            self.post_message(self.Changed(self, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self.action_apply()

    def action_apply(self) -> None:
        """Back to the list, unless something is wrong: it would look as if another filter had been typed."""
        if not self.has_class("-wrong"):
            self._leave()

    def action_clear(self) -> None:
        """Clear, then close."""
        if self._input.value:
            self._input.value = ""
        else:
            self._leave()

    def on_descendant_blur(self, event: DescendantBlur) -> None:
        """An empty line that nobody types in takes no room."""
        self.set_class(bool(self._input.value), "-open")

    def _leave(self) -> None:
        before = self._before
        if before is not None and before.is_mounted:
            before.focus()
        else:
            self.screen.set_focus(None)
        self.set_class(bool(self._input.value), "-open")
