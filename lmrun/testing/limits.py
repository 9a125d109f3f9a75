"""Rate limits that are really kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from lmrun.testing.errors import error, is_anthropic
from lmrun.testing.script import Limits


class Verdict(NamedTuple):
    """Whether a request is let in."""

    refusal: Any
    """Body of the 429, or None."""
    headers: Mapping[str, str]


class Limiter:
    """A bucket of requests that fills steadily, and a limit of requests in flight."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._size = max(1.0, limits.requests_per_second or 0)
        self._level = self._size
        self._at = time.monotonic()

    def admit(self, path: str, in_flight: int) -> Verdict:
        """Let a request in or refuse it; ``in_flight`` counts it too."""
        limits = self._limits
        if limits.in_flight is not None and in_flight > limits.in_flight:
            return self._refused(path, f"More than {limits.in_flight} requests at once.", 1.0, {})
        rate = limits.requests_per_second
        if rate is None:
            return Verdict(None, {})
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._at) * rate)
        self._at = now
        admitted = self._level >= 1
        self._level -= admitted
        headers = self._headers(path, rate) if limits.headers else {}
        if admitted:
            return Verdict(None, headers)
        return self._refused(
            path, f"Rate limit reached: {rate:g} requests per second.", (1 - self._level) / rate, headers
        )

    def _refused(self, path: str, message: str, wait: float, headers: Mapping[str, str]) -> Verdict:
        more = {"Retry-After": str(math.ceil(wait))} if self._limits.retry_after else {}
        if more and not is_anthropic(path):
            more["retry-after-ms"] = str(math.ceil(wait * 1000))
        return Verdict(error(path, 429, message), {**headers, **more})

    def _headers(self, path: str, rate: float) -> dict[str, str]:
        """What is left, and when the bucket will be full again."""
        limit, remaining, seconds = int(self._size), int(self._level), (self._size - self._level) / rate
        if is_anthropic(path):
            reset = datetime.now(timezone.utc) + timedelta(seconds=math.ceil(seconds))
            start, when = "anthropic-ratelimit-requests-{}", reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            start, when = "x-ratelimit-{}-requests", f"{seconds:.3f}s"
        return {
            start.format("limit"): str(limit),
            start.format("remaining"): str(remaining),
            start.format("reset"): when,
        }
