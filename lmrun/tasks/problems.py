"""Small helpers that give every error of this package the same shape."""

from __future__ import annotations

from collections.abc import Iterable

from lmrun.errors import Location, Problem, TaskError


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
