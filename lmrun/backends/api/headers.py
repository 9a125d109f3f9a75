"""What a server says about its limits in the headers of a reply: how long to keep quiet."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_EPOCH = 1_000_000_000
"""A bare number above this is a point in time, not a duration."""
_BUDGETS = (
    "x-ratelimit-{}-requests",
    "x-ratelimit-{}-tokens",
    "anthropic-ratelimit-requests-{}",
    "anthropic-ratelimit-tokens-{}",
    "anthropic-ratelimit-input-tokens-{}",
    "anthropic-ratelimit-output-tokens-{}",
)


def retry_after(headers: Mapping[str, str], wall: Callable[[], float] = time.time) -> float | None:
    """Seconds that the server asks to wait (``retry-after-ms``, ``Retry-After`` as seconds or date); None: it does not.

    ``headers`` looks names up in any case.
    """
    precise = _number(headers.get("retry-after-ms", ""))
    if precise is not None:
        return precise / 1000
    return _wait(headers.get("retry-after", ""), wall)


def spent(headers: Mapping[str, str], wall: Callable[[], float] = time.time) -> float:
    """Seconds until something is left again of a budget that the headers call used up; 0: nothing is used up.

    The reset that providers announce is when the whole budget is back. It comes back steadily, so where its size is
    known, the wait is for one part of it.
    """
    return max((_refill(headers, name, wall) for name in _BUDGETS), default=0.0)


def _refill(headers: Mapping[str, str], name: str, wall: Callable[[], float]) -> float:
    remaining = headers.get(name.format("remaining"))
    if remaining is None or _number(remaining) != 0:
        return 0.0
    reset = _wait(headers.get(name.format("reset"), ""), wall) or 0.0
    size = _number(headers.get(name.format("limit"), "")) or 1.0
    share = 1.0 if "tokens" not in name else 0.05 * size
    return reset * min(1.0, share / max(size, 1.0))


def _wait(text: str, wall: Callable[[], float]) -> float | None:
    text = text.strip()
    number = _number(text)
    if number is not None:
        return max(0.0, number - wall()) if number > _EPOCH else number
    duration = _duration(text)
    if duration is not None:
        return duration
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - wall())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _duration(text: str) -> float | None:
    """``6m0s``, ``1.5s``, ``20ms``."""
    pieces = _PIECE.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


def _moment(text: str) -> float | None:
    """A date of HTTP or of RFC 3339, in seconds since the epoch."""
    for parse in (parsedate_to_datetime, _rfc3339):
        try:
            moment = parse(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _rfc3339(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
