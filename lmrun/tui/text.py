"""Text of models and datasets as something that can be drawn: never markup, never an escape, never endless."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from lmrun.display.format import safe

_SHORTEST = 6
"""Cells below which a text is not cut in its middle."""
LONGEST = 200_000
"""Characters of one text that are shown; the rest is counted."""


def shown(text: str, style: str = "", limit: int = LONGEST) -> Text:
    """A whole text with its lines."""
    cut = text[:limit]
    drawn = Text(safe(cut).expandtabs(4), style=style)
    if len(text) > limit:
        drawn.append(f"\n… {len(text) - limit:,} more characters", "italic dim")
    return drawn


def one_line(text: str, limit: int = 300) -> str:
    """The beginning of a text in one line."""
    return safe(text[:limit]).replace("\n", "⏎").replace("\t", " ")


def fit(text: str, width: int, *, right: bool = False, middle: bool = False) -> str:
    """A safe one-line text in exactly so many cells, cut with ``…``: at its end, or in its middle."""
    if width <= 0:
        return ""
    size = cell_len(text)
    if size > width and middle and width > _SHORTEST:
        head = width // 2
        tail = set_cell_size(text[::-1], width - 1 - head)[::-1]
        return f"{set_cell_size(text, head)}…{tail}"
    if size > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - size) + text if right else text + " " * (width - size)
