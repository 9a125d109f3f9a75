"""What is measured while a run goes on, over time: the machine, and how fast the models answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

from lmrun.engine.progress import Snapshot

INTERVAL = 5.0
"""Seconds between two measurements."""
_MOST_KEPT = 10_000
"""Measurements that are kept while the engine's thread is away, e.g. in a long batch."""


class Gauges:
    """Measures in a thread of its own, so that long batches are seen as well; the engine's thread writes it down."""

    def __init__(self, record: Callable[[float, Mapping[str, float]], None]) -> None:
        self._record = record
        self._measured: deque[tuple[float, dict[str, float]]] = deque(maxlen=_MOST_KEPT)

    @contextmanager
    def measured(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """Measure while the block runs."""
        over = Event()

        def measure() -> None:
            while not over.wait(INTERVAL):
                self._measured.append((time.time(), dict(values(look()))))

        thread = Thread(target=measure, name="gauges", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=5)
            self.sample()

    def sample(self) -> None:
        """Write down what was measured meanwhile; called by the engine's thread, as often as it likes."""
        while self._measured:
            self._record(*self._measured.popleft())


def values(snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    """What is kept of a snapshot, by name."""
    named: list[tuple[str, float | None]] = [("rss_bytes", snapshot.rss), ("cpu_percent", snapshot.cpu)]
    for device in snapshot.devices:
        gpu = f"gpu{device.name.split()[0]}"
        named += [
            (f"{gpu}_memory_bytes", device.memory_used),
            (f"{gpu}_utilisation_percent", device.utilisation),
            (f"{gpu}_power_watts", device.power),
        ]
    for name in ("requests_per_second", "tokens_per_second", "in_flight", "limit"):
        known = [value for model in snapshot.models if (value := getattr(model, name)) is not None]
        named.append((name, float(sum(known)) if known else None))
    return ((name, value) for name, value in named if value is not None)
