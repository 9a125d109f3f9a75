"""A table of any length: only the rows on the screen are ever fetched or drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from lmrun.tui.actions import bindings
from lmrun.tui.text import fit
from lmrun.tui.widgets.styled import StyledLines


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Exactly one of a table should have ``width`` 0: it takes what the others leave."""

    title: str
    width: int
    right: bool = False
    least: int = 0
    """The column is left out where the table is narrower than this."""
    middle: bool = False
    """What is too long is cut in its middle: names that begin alike differ at the end."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place: safe text of one line, and how it is drawn."""

    text: str
    style: str = ""
    """A name of a component class of the table (``good``, ``bad``, ``warn``, ``dim``, ``strong``), or nothing."""


Row = Sequence[Cell]
Fetch = Callable[[int, int], Sequence[Row]]
"""Rows ``[start, stop)``; fewer where there are not so many (any more)."""

PAGE = 64
_KEPT = 32


class VirtualTable(StyledLines, can_focus=True):
    """Shows ``count`` rows that ``fetch`` gives by number."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"virtual--{name}" for name in ("head", "cursor", "cursor-away", "row", "good", "bad", "warn", "dim", "strong")
    }
    DEFAULT_CSS = """
    VirtualTable { height: 1fr; background: $surface; color: $foreground; scrollbar-size-vertical: 1;
      scrollbar-gutter: stable; overflow-x: hidden; }
    VirtualTable .virtual--head { color: $text-muted; text-style: bold; }
    VirtualTable .virtual--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    VirtualTable .virtual--cursor-away { background: $block-cursor-blurred-background; }
    VirtualTable .virtual--good { color: $text-success; }
    VirtualTable .virtual--bad { color: $text-error; }
    VirtualTable .virtual--warn { color: $text-warning; }
    VirtualTable .virtual--dim { color: $text-muted; }
    VirtualTable .virtual--strong { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("table")

    cursor = reactive(0, repaint=False)
    count = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: VirtualTable, row: int) -> None:
            super().__init__()
            self.table, self.row = table, row

        @property
        def control(self) -> VirtualTable:
            """The table."""
            return self.table

    class Chosen(Moved):
        """Enter, or a click on the row under the cursor."""

    def __init__(self, columns: Sequence[Column], fetch: Fetch, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._fetch = fetch
        self._pages: dict[int, Sequence[Row]] = {}
        self._widths: tuple[tuple[int, int], ...] = ()
        """(place in ``columns``, width) of those that are drawn."""

    # -- what others do with it ----------------------------------------------------------------------------------------

    def renew(
        self, count: int | None = None, fetch: Fetch | None = None, columns: Sequence[Column] | None = None
    ) -> None:
        """Rows may be others now. The cursor stays at its number."""
        self._fetch = fetch or self._fetch
        if columns is not None:
            self._columns = tuple(columns)
            self._lay_out()
        self._pages.clear()
        if count is not None:
            self.count = count
            if self.cursor >= count:
                self.cursor = max(0, count - 1)
        self.refresh()

    def grow(self, count: int) -> None:
        """Rows have come behind the others, which stay as they are."""
        self._pages.pop(self.count // PAGE, None)
        self.count = count
        self.refresh()

    def move_to(self, row: int) -> None:
        """Put the cursor on a row and show it."""
        self.cursor = max(0, min(row, self.count - 1))

    # -- Textual -------------------------------------------------------------------------------------------------------

    def watch_count(self, count: int) -> None:
        """The scroll bar goes by it."""
        self.virtual_size = Size(0, count + 1)  # and the head

    def watch_cursor(self, old: int, new: int) -> None:
        """Draw both rows, and tell others."""
        for row in (old, new):
            self.refresh_line(row + 1)
        self._show(new)
        if self.count:
            self.post_message(self.Moved(self, new))

    def _show(self, row: int) -> None:
        height = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False, force=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False, force=True)

    def on_resize(self, event: Resize) -> None:
        """Columns follow the width."""
        self._lay_out()
        self._show(self.cursor)

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        fits = [place for place, column in enumerate(self._columns) if column.least <= width]
        fixed = sum(self._columns[place].width + 1 for place in fits if self._columns[place].width)
        rest = max(4, width - fixed - 2)
        self._widths = tuple((place, self._columns[place].width or rest) for place in fits)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The head, or a row."""
        if y == 0:
            cells = [Cell(self._columns[place].title, "head") for place, _ in self._widths]
            return self._strip(
                cells, self._base, {place: cell for (place, _), cell in zip(self._widths, cells, strict=True)}
            )
        row = self.scroll_offset.y + y - 1
        if row >= self.count:
            return Strip.blank(self.size.width, self._base)
        base = self._base
        if row == self.cursor:
            base = self.get_component_rich_style("virtual--cursor" if self.has_focus else "virtual--cursor-away")
        found = self._row(row)
        return self._strip(found, base, dict(enumerate(found)), plain=row == self.cursor and self.has_focus)

    def _row(self, row: int) -> Row:
        page, place = divmod(row, PAGE)
        if page not in self._pages:
            if len(self._pages) >= _KEPT:
                del self._pages[next(iter(self._pages))]
            self._pages[page] = self._fetch(page * PAGE, (page + 1) * PAGE)
        rows = self._pages[page]
        return rows[place] if place < len(rows) else ()

    def _strip(self, row: Row, base: Style, cells: dict[int, Cell], *, plain: bool = False) -> Strip:
        segments = [Segment(" ", base)]
        for place, width in self._widths:
            cell = cells.get(place, Cell(""))
            style = self._style(cell.style, base, plain=plain) if cell.style else base
            column = self._columns[place]
            segments.append(Segment(fit(cell.text, width, right=column.right, middle=column.middle), style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _style(self, name: str, base: Style, *, plain: bool) -> Style:
        known = (name, base, plain)
        if known not in self._styles:
            own = self.get_component_rich_style(f"virtual--{name}")  # a partial one would ignore opacity
            self._styles[known] = base + Style(color=None if plain else own.color, bold=own.bold)
        return self._styles[known]

    def watch_has_focus(self, _has_focus: bool) -> None:
        """The cursor looks otherwise."""
        super().watch_has_focus(_has_focus)
        self.refresh_line(self.cursor + 1)

    def on_click(self, event: Click) -> None:
        """Move there; on the row of the cursor, choose it."""
        row = self.scroll_offset.y + event.y - 1
        if event.y == 0 or row >= self.count:
            return
        if row == self.cursor:
            self.action_choose()
        else:
            self.cursor = row

    # -- actions -------------------------------------------------------------------------------------------------------

    def _height(self) -> int:
        return max(1, self.scrollable_content_region.height - 2)

    def action_cursor_down(self) -> None:
        """Next row."""
        self.move_to(self.cursor + 1)

    def action_cursor_up(self) -> None:
        """Previous row."""
        self.move_to(self.cursor - 1)

    def action_page_down(self) -> None:
        """A page down."""
        self.move_to(self.cursor + self._height())

    def action_page_up(self) -> None:
        """A page up."""
        self.move_to(self.cursor - self._height())

    def action_first(self) -> None:
        """First row."""
        self.move_to(0)

    def action_last(self) -> None:
        """Last row."""
        self.move_to(self.count - 1)

    def action_choose(self) -> None:
        """Open the row."""
        if self.count:
            self.post_message(self.Chosen(self, self.cursor))

    @property
    def visible_rows(self) -> Region:
        """Numbers of the rows on the screen, as the region's rows."""
        return Region(0, self.scroll_offset.y, 1, self._height() + 1)
