"""Limits by a clock that only the test moves, against servers that really keep theirs."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from lmrun.backends.api.headers import retry_after, spent
from lmrun.backends.api.limits import Limits, Pace, Window
from lmrun.backends.api.options import ApiOptions, Concurrency, Retry

NOW = 1_790_000_000.0


def wall() -> float:
    return NOW


# -- headers -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 100_000))
def test_retry_after_in_all_its_forms(seconds: int) -> None:
    moment = datetime.fromtimestamp(NOW + seconds, timezone.utc)
    for value in (str(seconds), format_datetime(moment, usegmt=True), moment.isoformat().replace("+00:00", "Z")):
        assert retry_after(CIMultiDict({"Retry-After": value}), wall) == seconds
    both = CIMultiDict({"retry-after-ms": str(seconds), "Retry-After": "99"})
    assert retry_after(both, wall) == seconds / 1000


@given(st.text())
def test_no_header_can_break_anything(text: str) -> None:
    names = ["retry-after", "retry-after-ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
    headers = CIMultiDict(dict.fromkeys(names, text))
    wait = retry_after(headers, wall)
    assert wait is None or 0 <= wait < math.inf
    assert 0 <= spent(headers, wall) < math.inf


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(1, 10_000))
def test_a_budget_that_is_spent_comes_back_bit_by_bit(hours: int, minutes: int, seconds: int, limit: int) -> None:
    headers = CIMultiDict(
        {
            "X-RateLimit-Limit-Requests": str(limit),
            "X-RateLimit-Remaining-Requests": "0",
            "X-RateLimit-Reset-Requests": f"{hours}h{minutes}m{seconds}s",
        }
    )
    assert spent(headers, wall) == pytest.approx((hours * 3600 + minutes * 60 + seconds) / limit)
    headers["X-RateLimit-Remaining-Requests"] = "1"
    assert spent(headers, wall) == 0


@pytest.mark.parametrize(
    ("reset", "seconds"), [("6m0s", 360.0), ("20ms", 0.02), ("1.5s", 1.5), ("1m30.5s", 90.5), ("2", 2.0)]
)
def test_resets_as_openai_writes_them(reset: str, seconds: float) -> None:
    headers = CIMultiDict({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset})
    assert spent(headers, wall) == pytest.approx(seconds)


def test_resets_as_anthropic_writes_them() -> None:
    reset = datetime.fromtimestamp(NOW + 30, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = {"limit": "60", "remaining": "0", "reset": reset}
    headers = CIMultiDict({f"anthropic-ratelimit-requests-{name}": value for name, value in names.items()})
    assert spent(headers, wall) == pytest.approx(0.5)


# -- paces and windows -------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.lists(st.floats(0, 0.5), min_size=5, max_size=60))
def test_a_pace_is_never_exceeded_in_any_stretch(per_minute: int, pauses: list[float]) -> None:
    pace, now = Pace(per_minute / 60), 0.0
    sent = []
    for pause in pauses:
        now += pause + pace.delay(now + pause)
        pace.take(now)
        sent.append(now)
    for first in range(len(sent)):
        for last in range(first + 1, len(sent)):
            assert last - first <= (sent[last] - sent[first] + 0.06) * pace.rate + 1e-6


def test_tokens_are_corrected_by_what_was_used() -> None:
    limits = Limits(ApiOptions(tokens_per_minute=60_000))
    limits.reserve(0.0, 10_000)
    assert limits.delay(0.0) == pytest.approx(10.0, abs=0.1)
    limits.used(10_000, 1_000)
    assert limits.delay(0.0) == pytest.approx(1.0, abs=0.1)


@given(st.integers(1, 64), st.integers(1, 512), st.lists(st.booleans(), max_size=300))
def test_a_window_stays_between_one_and_its_bound(start: int, most: int, outcomes: list[bool]) -> None:
    window = Window(start, most)
    for now, good in enumerate(outcomes):
        if good:
            window.answered(int(window.size))
        else:
            before = window.size
            window.refused(float(now), float(now))
            assert window.size >= before / 2 or window.size == 1
        assert 1 <= window.size <= max(start, most) and window.size <= most


def test_one_round_trip_lowers_the_window_once() -> None:
    window = Window(64, 64)
    assert window.refused(sent=0.0, now=1.0)
    assert [window.refused(sent=0.5, now=1.1) for _ in range(20)] == [False] * 20
    assert window.size == 32
    assert window.refused(sent=1.2, now=1.3)


def test_the_window_grows_to_its_bound_in_few_round_trips() -> None:
    window = Window(8, 512)
    trips = 0
    while window.size < 512:
        for _ in range(int(window.size)):
            window.answered(int(window.size))
        trips += 1
    assert trips == 6


def test_a_pause_is_of_the_model() -> None:
    limits = Limits(ApiOptions())
    limits.refused(sent=0.0, now=1.0, pause=30.0)
    assert limits.delay(1.0) == 30.0 and limits.delay(31.0) == 0.0


def test_refusals_without_an_answer_between_them_slow_everything_down() -> None:
    limits = Limits(ApiOptions(retry=Retry(max_wait=60)))
    now, waits = 0.0, []
    for _ in range(12):
        limits.refused(sent=now, now=now + 0.01, pause=0)
        waits.append(limits.delay(now + 0.01))
        now += 0.02 + waits[-1]
    assert waits[0] == 0 and waits[-1] == pytest.approx(15.0)
    assert waits == pytest.approx(sorted(waits))


# -- learning the pace of a server -------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """So many requests per second, and so many saved up."""

    rate: float
    size: float
    level: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    def admits(self, now: float) -> bool:
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        admitted = self.level >= 1
        self.level -= admitted
        return admitted


@dataclass
class World:
    """Requests, a server and time; what the sender does, without a socket."""

    admits: Callable[[float], bool]
    pause: float = 0.0
    latency: float = 0.05
    now: float = 0.0
    sent: int = 0
    done: int = 0
    at_hundred: tuple[float, int] = (0.0, 0)
    limits: Limits = field(default_factory=lambda: Limits(ApiOptions(concurrency=Concurrency(8, 64))))

    def run(self, count: int) -> None:
        draw = random.Random(1)
        events: list[tuple[float, int, str, bool, float, int]] = []
        ready, tries, order = list(range(count)), [0] * count, 0
        while self.done < count:
            delay = 0.0
            while ready and not (delay := self.limits.delay(self.now)):
                one = heapq.heappop(ready)
                self.limits.sent(self.now)
                self.sent, order = self.sent + 1, order + 1
                good = self.admits(self.now)
                heapq.heappush(
                    events, (self.now + (self.latency if good else 0.005), order, "reply", good, self.now, one)
                )
            upcoming = [events[0][0]] if events else []
            if ready and delay != math.inf:
                upcoming.append(self.now + delay + 1e-6)
            self.now = max(self.now, min(upcoming))
            while events and events[0][0] <= self.now:
                at, _, what, good, sent, one = heapq.heappop(events)
                if what == "again":
                    heapq.heappush(ready, one)
                    continue
                self.limits.ended()
                if good:
                    self._answered(sent)
                    continue
                self.limits.refused(sent, self.now, self.pause)
                tries[one] += 1
                wait = 0.0 if self.pause else draw.uniform(0, min(60, 0.2 * 2 ** tries[one]))
                order += 1
                heapq.heappush(events, (at + wait, order, "again", True, 0.0, one))

    def _answered(self, sent: float) -> None:
        self.limits.answered(sent, self.now)
        self.done += 1
        if self.done == 100:
            self.at_hundred = (self.now, self.sent)


@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("latency", [0.05, 1.0])
@pytest.mark.parametrize(("rate", "size"), [(5, 5), (5, 10), (5, 50), (50, 50), (500, 500)])
def test_the_rate_of_a_server_is_learned(rate: float, size: float, latency: float, pause: float) -> None:
    world = World(Bucket(rate, size).admits, pause, latency)
    count = max(1000, int(rate * 100))
    if rate * latency > 60:
        rate = 60 / latency  # what 64 in flight can ask for
    world.run(count)
    since, sent = world.at_hundred
    assert (count - 100) / (world.now - since) >= 0.9 * rate
    assert (world.sent - sent) / (count - 100) <= 1.2


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_refusals_that_are_chance_do_not_stop_the_run(share: float) -> None:
    draw = random.Random(1)
    world = World(lambda now: draw.random() >= share)
    world.run(5000)
    assert 5000 / world.now > 20
    assert world.sent / 5000 < 1.1 / (1 - share)


def test_a_user_changes_the_window_and_the_server_still_does() -> None:
    window = Window(8, 8)
    sizes = []
    for factor in (1 / 1.25, 1 / 1.25, 1.25, 1.25, 1.25):
        window.scale(factor)
        sizes.append((int(window.size), window.most))
    assert sizes == [(6, 6), (4, 4), (5, 5), (7, 7), (9, 9)]
    assert window.refused(0.0, 1.0) and window.size < 9
    for _ in range(20):
        window.scale(1 / 1.25)
    assert (window.size, window.most) == (1, 1)
    window.scale(1.25)
    assert (window.size, window.most) == (2, 2)


def test_more_at_once_than_the_manifest_allows_only_where_the_user_goes_there() -> None:
    window = Window(8, 64)
    window.scale(1.25)
    assert (window.size, window.most) == (10, 64)


def test_while_held_nothing_goes() -> None:
    limits = Limits(ApiOptions())
    limits.held = True
    assert limits.delay(0.0) == math.inf
    limits.held = False
    assert limits.delay(0.0) == 0.0
