"""A text of any length to scroll through: lines are broken once per width, and only those on the screen are drawn."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.strip import Strip

from lmrun.tui.actions import bindings
from lmrun.tui.widgets.sample.lines import Line, breaks
from lmrun.tui.widgets.styled import StyledLines

_STYLES = (
    *("dim", "strong", "good", "bad", "warn"),
    *("system", "user", "assistant", "example"),
    *("found", "even", "odd", "special", "join", "bar", "rest"),
)
_END = attrgetter("end")


class Reader(StyledLines, can_focus=True):
    """Shows lines."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"reader--{name}" for name in _STYLES}
    DEFAULT_CSS = """
    Reader { height: 1fr; background: $background; color: $foreground; scrollbar-size-vertical: 1;
      scrollbar-gutter: stable; overflow-x: hidden; }
    Reader .reader--dim { color: $text-muted; }
    Reader .reader--strong { text-style: bold; }
    Reader .reader--good { color: $text-success; }
    Reader .reader--bad { color: $text-error; }
    Reader .reader--warn { color: $text-warning; }
    Reader .reader--system { color: $text-warning; }
    Reader .reader--user { color: $text-primary; }
    Reader .reader--assistant { color: $text-accent; }
    Reader .reader--example { color: $text-muted; }
    Reader .reader--found { text-style: reverse bold; }
    Reader .reader--even { background: $primary 20%; }
    Reader .reader--odd { background: $primary 40%; }
    Reader .reader--special { color: $text-warning; text-style: bold; }
    Reader .reader--join { color: $text-error; text-style: bold; }
    Reader .reader--bar { color: $primary; }
    Reader .reader--rest { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [b for b in bindings("table") if getattr(b, "action", "") != "choose"]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self._width = 0
        self._rows = array("l")
        """Three numbers for each row of the screen: its line, and where it begins and ends in it."""

    def show(self, lines: Sequence[Line], *, keep: bool = False) -> None:
        """Show other lines, from their beginning or, to ``keep`` the place, from where the old ones stood."""
        self._lines = lines
        self._break_lines()
        if not keep:
            self.scroll_to(y=0, animate=False, force=True)
        self.refresh()

    @property
    def width(self) -> int:
        """Cells of a line."""
        return max(10, self.scrollable_content_region.width - 2)

    def on_resize(self, event: Resize) -> None:
        """Break lines anew where the width has changed."""
        if self.width != self._width:
            self._break_lines()

    def _break_lines(self) -> None:
        self._width = self.width
        rows = array("l")
        for number, line in enumerate(self._lines):
            room = max(4, self._width - cell_len(line.gutter))
            for start, end in breaks(line.text, room):
                rows.extend((number, start, end))
        self._rows = rows
        self.virtual_size = Size(0, len(rows) // 3)

    def render_line(self, y: int) -> Strip:
        """A row."""
        row = 3 * (self.scroll_offset.y + y)
        base = self._base
        if row >= len(self._rows):
            return Strip.blank(self.size.width, base)
        number, start, end = self._rows[row : row + 3]
        line = self._lines[number]
        own = self._style(line.style, base)
        segments = [Segment(" ", base)]
        if line.gutter:
            segments.append(Segment(line.gutter, self._style(line.gutter_style, base)))
        segments.extend(self._segments(line, start, end, own))
        if line.fill and end == len(line.text):
            used = sum(cell_len(segment.text) for segment in segments)
            segments.append(Segment(line.fill * max(0, self.width + 1 - used), self._style("dim", base)))
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _segments(self, line: Line, start: int, end: int, own: Style) -> Iterator[Segment]:
        at = start
        for place in range(bisect_right(line.spans, start, key=_END), len(line.spans)):
            span = line.spans[place]
            left, right = max(span.start, at), min(span.end, end)
            if left >= end:
                break
            if left > at:
                yield Segment(line.text[at:left], own)
            yield Segment(line.text[left:right], self._style(span.style, own))
            at = right
        if at < end:
            yield Segment(line.text[at:end], own)

    def _style(self, name: str, base: Style) -> Style:
        if not name:
            return base
        if (name, base) not in self._styles:
            self._styles[name, base] = self._made(name, base)
        return self._styles[name, base]

    def _made(self, name: str, base: Style) -> Style:
        # What is set comes from the partial style, which ignores opacity; how it looks, from the whole one.
        whole = self.get_component_rich_style(f"reader--{name}")
        own = self.get_component_rich_style(f"reader--{name}", partial=True)
        return base + own + Style(color=own.color and whole.color, bgcolor=own.bgcolor and whole.bgcolor)

    # -- actions: those of a list, that scroll -------------------------------------------------------------------------

    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height - 2)

    def action_cursor_down(self) -> None:
        """A line down."""
        self.scroll_relative(y=1, animate=False, force=True)

    def action_cursor_up(self) -> None:
        """A line up."""
        self.scroll_relative(y=-1, animate=False, force=True)

    def action_scroll_few(self, step: int) -> None:
        """A few lines down or up."""
        self.scroll_relative(y=step * max(1, self._page() // 2), animate=False, force=True)

    def action_page_down(self) -> None:
        """A page down."""
        self.scroll_relative(y=self._page(), animate=False, force=True)

    def action_page_up(self) -> None:
        """A page up."""
        self.scroll_relative(y=-self._page(), animate=False, force=True)

    def action_first(self) -> None:
        """To the beginning."""
        self.scroll_to(y=0, animate=False, force=True)

    def action_last(self) -> None:
        """To the end."""
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
