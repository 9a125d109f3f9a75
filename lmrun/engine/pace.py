"""How much is done per second of late."""

from __future__ import annotations

from collections import deque

_SPAN = 15.0
"""Seconds that count as of late, …"""
_FEWEST = 5
"""… unless fewer groups of answers came in them."""
_GRAIN = 0.5
"""Seconds within which answers count as one group."""


class Pace:
    """Requests and tokens, counted from a moment on."""

    def __init__(self, now: float) -> None:
        self._marks = deque([(now, 0, 0)])
        self._requests = self._tokens = 0

    def add(self, now: float, requests: int, tokens: int) -> None:
        """So many are done."""
        self._requests += requests
        self._tokens += tokens
        marks = self._marks
        if len(marks) > 1 and now - marks[-2][0] < _GRAIN:
            marks.pop()
        marks.append((now, self._requests, self._tokens))
        while len(marks) > _FEWEST and now - marks[1][0] > _SPAN:
            marks.popleft()

    def rates(self, now: float) -> tuple[float | None, float | None]:
        """Requests and tokens per second; None before there is anything to judge from."""
        since, requests, tokens = self._marks[0]
        if now <= since or self._requests == requests:
            return None, None
        passed = now - since
        return (self._requests - requests) / passed, (self._tokens - tokens) / passed
