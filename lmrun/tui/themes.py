"""Themes of lmrun; those of Textual can be chosen too. Pages use their variables only, never a colour of their own."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="lmrun-dark",
    primary="#6ea8fe",
    secondary="#9d8cff",
    accent="#5fd3bc",
    warning="#e5b567",
    error="#f47174",
    success="#7bd88f",
    foreground="#d8dee9",
    background="#12151c",
    surface="#171b24",
    panel="#1f2430",
    dark=True,
)
LIGHT = Theme(
    name="lmrun-light",
    primary="#2158c7",
    secondary="#6a4fc9",
    accent="#00796b",
    warning="#9a6200",
    error="#b3261e",
    success="#1f7a33",
    foreground="#1d2430",
    background="#ffffff",
    surface="#f8f9fb",
    panel="#e9edf3",
    dark=False,
)
CONTRAST = Theme(
    name="lmrun-contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#00ffff",
    warning="#ffd700",
    error="#ff6060",
    success="#00ff66",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#202020",
    dark=True,
)
THEMES = (DARK, LIGHT, CONTRAST)
