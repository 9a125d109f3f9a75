"""Small helpers that give every error of this package the same shape."""

from __future__ import annotations

from collections.abc import Iterable

from lmrun.errors import Location, Problem, TaskError


def did_you_mean(name: object, options: Iterable[str]) -> str | None:
    """A hint that names the options closest to ``name``, or None where nothing is close."""
    import difflib

    close = difflib.get_close_matches(str(name), list(options), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else None


def listing(names: Iterable[str], limit: int = 12) -> str:
    """Names as text for an "expected" line, cut where it gets too long to read."""
    shown = list(names)
    extra = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" … and {extra} more" if extra > 0 else "")


def task_error(
    headline: str,
    message: str,
    location: Location | None = None,
    *,
    expected: str | None = None,
    hint: str | None = None,
) -> TaskError:
    """An error with one problem: ``headline`` says what failed, the problem says why and where."""
    return TaskError(headline, hint=hint, problems=(Problem(message, location, expected, hint),))
