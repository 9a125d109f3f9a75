"""Lines of a text that may be long, and where they break: safe text with named styles, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import get_character_cell_size

from lmrun.display.format import safe
from lmrun.tui.text import LONGEST


class Span(NamedTuple):
    """A stretch of a line that is drawn in its own way."""

    start: int
    end: int
    style: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line before it is broken at the width of the screen."""

    text: str
    style: str = ""
    """A name of a component class of the reader, or nothing."""
    spans: Sequence[Span] = ()
    gutter: str = ""
    """Stands before the line and before what is broken off it."""
    gutter_style: str = ""
    fill: str = ""
    """One character that fills the rest of the line."""


class Piece(NamedTuple):
    """Text as it comes, of any number of lines."""

    text: str
    style: str = ""


def flow(
    pieces: Iterable[Piece], *, style: str = "", gutter: str = "", gutter_style: str = "", limit: int = LONGEST
) -> Iterator[Line]:
    """Pieces one after the other as lines; of what is longer than ``limit`` the rest is counted."""
    text, room, left = "", limit, 0
    spans: list[Span] = []
    for piece in pieces:
        kept, left = piece.text[: max(0, room)], left + max(0, len(piece.text) - max(0, room))
        room -= len(piece.text)
        for number, part in enumerate(kept.split("\n")):
            if number:
                yield Line(text, style, tuple(spans), gutter, gutter_style)
                text, spans = "", []
            shown = safe(part).expandtabs(4)
            if piece.style and shown:
                spans.append(Span(len(text), len(text) + len(shown), piece.style))
            text += shown
    yield Line(text, style, tuple(spans), gutter, gutter_style)
    if left:
        yield Line(f"… {left:,} more characters", "dim", (), gutter, gutter_style)


def rule(title: str, note: str = "", style: str = "dim") -> Line:
    """``── title · note ─────``."""
    words = f"── {title} " + (f"· {note} " if note else "")
    start = len(f"── {title} ")
    return Line(words, style, (Span(start, len(words), "dim"),) if note else (), fill="─")


BLANK = Line("")


def breaks(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where a line is broken: at spaces where there are any, else within a word."""
    start, length, narrow = 0, len(text), text.isascii()
    while True:
        fits = start + width if narrow else _fitting(text, start, width)
        if fits >= length:
            yield start, length
            return
        space = text.rfind(" ", start, fits + 1)
        if space > start:
            yield start, space
            start = space + 1
        else:
            yield start, fits
            start = fits


def _fitting(text: str, start: int, width: int) -> int:
    """Up to where a text goes into ``width`` cells; at least one character further."""
    cells = 0
    for place in range(start, min(len(text), start + 4 * width)):
        character = text[place]
        cells += 1 if character.isascii() else get_character_cell_size(character)
        if cells > width:
            return max(place, start + 1)
    return min(len(text), max(start + 1, start + 4 * width))
