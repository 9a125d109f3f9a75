"""What a server has seen."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple

_SECRET = ("authorization", "x-api-key", "api-key", "cookie")


class Seen(NamedTuple):
    """A request as it came."""

    path: str
    query: str
    headers: Mapping[str, str]
    """By lower-case name, without those that carry keys."""
    body: Any
    """As JSON, or the bytes where it is none."""


class Counters:
    """Counts of requests, and the last of them in full."""

    def __init__(self, keep: int) -> None:
        self.seen: deque[Seen] = deque(maxlen=keep)
        self.reset()

    def reset(self) -> None:
        """Begin from nothing; what is in flight stays so."""
        self.requests = 0
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.in_flight = getattr(self, "in_flight", 0)
        self.peak = self.in_flight
        self._tries: Counter[bytes] = Counter()
        self.seen.clear()

    @contextmanager
    def flight(self) -> Iterator[None]:
        """While a request is being answered."""
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def attempt(self, path: str, body: bytes) -> int:
        """Which try of this request it is, from 1: the same body to the same address."""
        key = blake2b(body, digest_size=16, key=path.encode()[:64]).digest()
        self._tries[key] += 1
        return self._tries[key]

    def record(self, path: str, query: str, headers: Mapping[str, str], body: Any) -> None:
        """Keep a request, without keys."""
        if self.seen.maxlen:
            lower = {name.lower(): value for name, value in headers.items()}
            self.seen.append(Seen(path, query, {k: v for k, v in lower.items() if k not in _SECRET}, body))

    def as_json(self) -> dict[str, Any]:
        """All counts."""
        return {
            "requests": self.requests,
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "tries": {str(n): count for n, count in sorted(Counter([*self._tries.values()]).items())},
            "in_flight": self.in_flight,
            "in_flight_peak": self.peak,
        }
