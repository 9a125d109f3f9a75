"""How fast models were of late, for sparklines."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from lmrun.engine.progress import ModelProgress

KEPT = 120
"""Values per model."""
STEP = 1.0
"""Seconds between two of them."""


class History:
    """The last values of every model, oldest first."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}
        self._next = 0.0

    def add(self, now: float, models: Sequence[ModelProgress]) -> None:
        """Keep how fast they are now, unless the last time was just before."""
        if now < self._next:
            return
        self._next = now + STEP
        for model in models:
            speed = model.requests_per_second if model.tokens_per_second is None else model.tokens_per_second
            if speed is not None:
                self._values.setdefault(model.name, deque(maxlen=KEPT)).append(speed)

    def values(self) -> Mapping[str, Sequence[float]]:
        """By model."""
        return {name: tuple(values) for name, values in self._values.items()}
