"""Numbers and durations as people read them; text of models made safe to print."""

from __future__ import annotations

import re
import unicodedata

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Marks that reorder the text around them: shown, they could make an answer look like another one.
_BIDI = {0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069}


def duration(seconds: float) -> str:
    """``75`` → ``1m15s``; below a minute with one decimal below ten seconds."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{secs:02d}s" if minutes else f"{secs}s"


def number(value: object) -> str:
    """A metric's value or stderr with four decimals; what is not a number as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4f}"


def share(value: float) -> str:
    """A share in percent, e.g. ``2.5%``; empty for none."""
    return "" if value == 0 else "<0.1%" if value < 0.0005 else f"{value:.1%}"


def size(n: int) -> str:
    """Bytes as people read them."""
    amount = float(n)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def brief(n: int) -> str:
    """A large count in few characters, e.g. ``3.2M``; below ten thousand in full."""
    amount = float(n)
    if n < 10_000:
        return f"{n:,}"
    for unit in ("k", "M"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f}{unit}"
    return f"{amount / 1000:,.1f}G"


def dollars(amount: float) -> str:
    """An amount of US dollars without the unit: two decimals, four below a dollar."""
    return "0" if amount == 0 else f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"


def spending(usd: float, tokens: int) -> str:
    """What was spent, e.g. ``1.24 USD, 3.2M tokens``; dollars are left out where there are none."""
    paid = f"{dollars(usd)} USD, " if usd else ""
    return f"{paid}{brief(tokens)} tokens"


def safe(text: str) -> str:
    """Text of a model or dataset without anything a terminal would act on.

    Escape sequences become ``␛``, other control characters their pictures (``␇``); newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(_visible(c) for c in _ESCAPE.sub("␛", text))


def _visible(c: str) -> str:
    code = ord(c)
    if c in "\n\t":
        return c
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in _BIDI or unicodedata.category(c) in ("Cc", "Cs"):
        return "�"
    return c
