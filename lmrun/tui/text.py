"""Text of models and datasets as something that can be drawn: never markup, never an escape, never endless."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from lmrun.display.format import safe

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


def fit(text: str, width: int, *, right: bool = False) -> str:
    """A safe one-line text in exactly so many cells, cut with ``…``."""
    if width <= 0:
        return ""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - size) + text if right else text + " " * (width - size)
