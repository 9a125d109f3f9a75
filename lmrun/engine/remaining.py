"""How long the rest of a run takes: what is left of each kind of request, and how fast that kind went so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from lmrun.requests import RequestKind


@dataclass(slots=True)
class _Given:
    """What a backend works on that may say itself how long it will take."""

    kind: RequestKind
    work: int
    counted: int = 0
    """Of the work, what is no longer left."""
    rest: float | None = None
    """Seconds, as it last said, …"""
    said: float = 0.0
    """… at this moment."""
    base: int = 0
    """What was counted when it first said something, …"""
    since: float | None = None
    """… and when it began with the rest."""

    def hear(self, rest: float | None, now: float, since: float) -> None:
        if self.since is None and rest is not None:
            self.base, self.since = self.counted, since
        self.rest, self.said = rest, now

    def done(self, now: float) -> int:
        """Of the work, by time."""
        passed = now - (now if self.since is None else self.since)
        return self.base + (round((self.work - self.base) * passed / (passed + self.rest_at(now))) if passed > 0 else 0)

    def rest_at(self, now: float) -> float:
        """Seconds, as it said, less those since."""
        return max(0.0, (self.rest or 0.0) - (now - self.said))


class Remaining:
    """Work by kind of request, as a generated token takes another time than a scored one. Times are a run's own."""

    def __init__(self) -> None:
        self._left: Counter[RequestKind] = Counter()
        self._done: Counter[RequestKind] = Counter()
        self._seconds: defaultdict[RequestKind, float] = defaultdict(float)
        self._last = 0.0
        self._given: _Given | None = None

    def expect(self, work: Mapping[RequestKind, int]) -> None:
        """So much is left in all."""
        self._left, self._given = Counter(work), None

    def forgo(self, work: Mapping[RequestKind, int]) -> None:
        """So much of it is not wanted any more."""
        for kind, amount in work.items():
            self._left[kind] = max(0, self._left[kind] - amount)

    def begin(self, now: float) -> None:
        """Time goes into work from now on."""
        self._last = now

    def give(self, kind: RequestKind, work: int) -> None:
        """A backend is given so much."""
        self._given = _Given(kind, work)

    def hear(self, rest: float | None, now: float) -> None:
        """The backend says how many seconds the work that it was given will still take, or that it cannot tell."""
        given = self._given
        if given is None or rest == given.rest:
            return
        if given.since is None:
            self._done[given.kind] -= given.counted  # what was answered without work tells nothing of the pace
        given.hear(rest, now, self._last)

    def worked(self, work: Mapping[RequestKind, int], now: float) -> None:
        """Requests of so much work are answered; the time since the last ones went into it."""
        given = self._given
        if given and given.rest is not None:
            work = {given.kind: given.done(now) - given.counted}  # less than nothing where it takes longer than it said
        if given:
            given.counted += work.get(given.kind, 0)
        self._count(work, now)

    def settle(self, now: float) -> None:
        """All that the backend was given is done."""
        if self._given:
            self._count({self._given.kind: self._given.work - self._given.counted}, now)
        self._given = None

    def _count(self, work: Mapping[RequestKind, int], now: float) -> None:
        total = sum(work.values())
        for kind, amount in work.items():
            self._seconds[kind] += (now - self._last) * (amount / total if total else 1 / len(work))
            self._done[kind] += amount
            self._left[kind] = max(0, self._left[kind] - amount)
        self._last = now

    def rest(self, now: float) -> float | None:
        """Seconds until what the backend was given is done, as it says."""
        given = self._given
        return given.rest_at(now) if given and given.rest is not None else None

    def seconds(self, now: float) -> float | None:
        """Until nothing is left; None before there is anything to judge from."""
        given, rest = self._given, self.rest(now)
        left, done, seconds = Counter(self._left), Counter(self._done), defaultdict(float, self._seconds)
        if given and rest is not None:
            left[given.kind] = max(0, left[given.kind] - (given.work - given.counted))
            done[given.kind] += given.done(now) - given.counted
            seconds[given.kind] += now - self._last
        total = self._by_pace(left, done, seconds)
        if total is None:
            return rest if rest is not None and not left.total() else None
        return total + rest if rest is not None else max(0.0, total - (now - self._last))

    def _by_pace(
        self, left: Mapping[RequestKind, int], done: Mapping[RequestKind, int], seconds: Mapping[RequestKind, float]
    ) -> float | None:
        """By the pace of each kind, or of all kinds where one has not begun."""
        all_done, all_seconds = sum(done.values()), sum(seconds.values())
        if all_done <= 0:
            return None
        return sum(
            amount * (seconds[kind] / done[kind] if done.get(kind, 0) > 0 else all_seconds / all_done)
            for kind, amount in left.items()
        )
