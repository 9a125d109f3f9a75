"""What is being computed, and how long the rest will take: told by what computes, read by another thread."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_EULER = 0.5772
"""The longest of ``n`` exponentially distributed lengths is about ``ln n`` and this times their mean."""

_LONG = 0.5
"""Seconds beside which what comes with every call, however little it does, is short."""


@dataclass(slots=True)
class Outlook:
    """Of the work that a backend was last given."""

    phase: str = ""
    rest: float | None = None
    """Seconds; None where that is unknown."""


class Pace:
    """Seconds for one of something, of late."""

    def __init__(self, span: int) -> None:
        """``span``: how many times are remembered."""
        self._times: deque[tuple[int, float]] = deque(maxlen=span)
        self._used = self._provisional = False

    @contextmanager
    def timed(self, amount: int, whole: int = 1) -> Iterator[None]:
        """So many are done meanwhile, of ``whole`` that could be.

        Few at once take longer each, unless all take long. The first time is slow, and counts until there is another.
        """
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        if 2 * amount >= whole or (seconds >= _LONG and self._used):
            if self._provisional:
                self._times.clear()
            self._times.append((amount, seconds))
            self._provisional = not self._used
        self._used = True

    def seconds_for(self, amount: float) -> float | None:
        """How long so many will take; None before there is anything to judge from."""
        if not self._times:
            return None
        return amount * sum(seconds for _, seconds in self._times) / sum(n for n, _ in self._times)


@dataclass(slots=True)
class Lengths:
    """How long answers become, as far as they have: by chance, with the same chance to stop after each token."""

    tokens: int = 0
    """Of all answers so far, those that are not done included."""
    stopped: int = 0
    """Answers that came to an end before the limit."""

    def expected(self, most: int) -> float:
        """Tokens that an answer has still to come, which may have ``most``: the mean of the distribution, cut there."""
        if not self.stopped:
            return float(most)
        mean = self.tokens / self.stopped
        return -mean * math.expm1(-most / mean)

    def longest(self, most: int, answers: int) -> float:
        """The same of the longest of so many."""
        if not self.stopped or not answers:
            return float(most)
        return min(float(most), self.tokens / self.stopped * (math.log(answers) + _EULER))
