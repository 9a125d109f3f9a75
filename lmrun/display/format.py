"""Numbers and durations as people read them; text of models made safe to print."""

from __future__ import annotations

import re
import unicodedata

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# Scripts and signs without marks, joiners or anything hidden need no second look: most text is made of them.
_PLAIN = r"\x20-\x7e\xa0-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0558\u2010-\u2027\u2030-\u205e\u2100-\u2bff"
_PLAIN_EAST = r"\u3000-\u3029\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff9f"
_UNUSUAL = re.compile(rf"[^\n\t{_PLAIN}{_PLAIN_EAST}]+")
_JOINERS = {"\u200c": "\u200c", "\u200d": ""}  # the second one hides how wide emoji are
_STACKED = 4  # marks above and below one letter; living languages need no more
_HIDDEN = "�"


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


def job_name(label: str) -> str:
    """A job's label, with the most usual axis in the words of the field."""
    return re.sub(r"@num_fewshot=(\d+)$", r" \1-shot", label)


def safe(text: str) -> str:
    """Text of a model or dataset without anything a terminal would act on, and without anything that cannot be seen.

    Escape sequences become ``␛``, other control characters their pictures (``␇``), marks that reorder text, have no
    width or pile up ``�``; newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNUSUAL.sub(_seen, _ESCAPE.sub("␛", text))


def _seen(unusual: re.Match[str]) -> str:
    run, whole = unusual[0], unusual.string
    before = whole[unusual.start() - 1] if unusual.start() else "\n"
    marks = 0
    out = []
    for place, c in enumerate(run):
        category = unicodedata.category(c)
        if category in ("Mn", "Me"):
            marks += 1
            if not "\ufe00" <= c <= "\ufe0f":  # they ask for a drawing in colour, of another width
                out.append(_mark(c, marks, alone=before in "\n\t"))
            continue
        marks, before = 0, c
        if c in _JOINERS and _joins(run[place - 1 : place], run[place + 1 : place + 2]):
            out.append(_JOINERS[c])
        else:
            out.append(_visible(c, category))
    return "".join(out)


def _joins(before: str, after: str) -> bool:
    """Whether there is something to join that stays as it is."""
    return all(c and unicodedata.category(c)[0] != "C" for c in (before, after))


def _mark(c: str, count: int, *, alone: bool) -> str:
    """A mark over or under a letter; ``alone``: at the start of a line, where it would go to what stands before."""
    if count > _STACKED:
        return _HIDDEN if count == _STACKED + 1 else ""
    return f"◌{c}" if alone and count == 1 else c


def _visible(c: str, category: str) -> str:
    code = ord(c)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if category in ("Zl", "Zp"):
        return "␤"
    # Those of Arabic and Kaithi are signs that stand around numbers; all others reorder, join or hide.
    if category in ("Cc", "Cs") or (category == "Cf" and not _is_sign(code)):
        return _HIDDEN
    return c


def _is_sign(code: int) -> bool:
    return 0x600 <= code <= 0x605 or code in (0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)
