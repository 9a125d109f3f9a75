"""A few lines of aligned cells, as wide as what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content

from lmrun.tui.text import fit

GAP = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """Safe text of one cell, and its style: theme variables, e.g. ``bold $primary``."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A column of a grid."""

    least: int = 0
    """At least so wide, so that changing numbers do not move what stands beside them."""
    most: int = 60
    right: bool = False
    rank: int = 0
    """Columns of a higher rank go first where there is no room; those of rank 0 stay."""
    fill: bool = False
    """Takes what others leave, up to ``most``, and gives way first."""


def grid(rows: Sequence[Sequence[Piece]], places: Sequence[Place], width: int) -> list[Content]:
    """Lines of at most ``width`` cells. A column in which every cell is empty takes no room."""
    widths = _widths(rows, places, width)
    return [_line(row, places, widths) for row in rows]


def _widths(rows: Sequence[Sequence[Piece]], places: Sequence[Place], width: int) -> dict[int, int]:
    widths = {}
    for number, place in enumerate(places):
        if natural := max((cell_len(row[number].text) for row in rows), default=0):
            widths[number] = min(place.most, max(place.least, natural))

    def over() -> int:
        return sum(widths.values()) + GAP * max(0, len(widths) - 1) - width

    filling = next((n for n in widths if places[n].fill), None)
    for rank in sorted({place.rank for place in places if place.rank}, reverse=True):
        slack = max(0, widths[filling] - max(8, places[filling].least)) if filling in widths else 0
        if over() <= slack:
            break
        widths = {n: size for n, size in widths.items() if places[n].rank != rank}
    if filling is not None and filling in widths:
        widths[filling] = max(1, min(places[filling].most, widths[filling] - over()))
    return widths


def _line(row: Sequence[Piece], places: Sequence[Place], widths: dict[int, int]) -> Content:
    parts: list[Content] = []
    for number, size in widths.items():
        if parts:
            parts.append(Content(" " * GAP))
        parts.append(Content.styled(fit(row[number].text, size, right=places[number].right), row[number].style))
    return Content("").join(parts)


def flow(pieces: Sequence[tuple[int, Sequence[Piece]]], width: int, gap: str) -> Content:
    """Groups of pieces behind each other; those of a higher rank go first where there is no room."""
    kept = [(rank, group) for rank, group in pieces if any(piece.text for piece in group)]

    def size() -> int:
        return sum(cell_len(piece.text) for _, group in kept for piece in group) + len(gap) * (len(kept) - 1)

    while len(kept) > 1 and size() > width:
        worst = max(range(len(kept)), key=lambda n: (kept[n][0], n))
        if kept[worst][0] == 0:
            break
        del kept[worst]
    drawn = [Content("").join([Content.styled(piece.text, piece.style) for piece in group]) for _, group in kept]
    return Content(gap).join(drawn)
