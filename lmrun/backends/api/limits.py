"""How fast a server may be asked: what the manifest allows, and what the server turns out to bear.

Pure arithmetic over a clock that is handed in. Three things hold requests back, and the tightest counts: the window
(requests in flight, AIMD), paces (requests and tokens per second: those of the manifest, and one that is learned where
the server refuses with 429), and pauses that the server asked for. All of them are of the model, not of one request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmrun.backends.api.options import ApiOptions

DEFAULT_START = 8


class Pace:
    """So many units per second, smoothly: a unit pushes the next one back by its share of a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.free = -math.inf
        """When the next unit may go."""

    def delay(self, now: float) -> float:
        """Seconds until the next may go."""
        return max(0.0, self.free - now)

    def take(self, now: float, units: float = 1.0) -> None:
        """Something of this size goes now. It may be larger than a second's share: the next waits the longer."""
        late = max(0.005, min(0.05, 0.1 / self.rate))  # timers are; so much is caught up on
        self.free = max(self.free, now - late) + units / self.rate

    def correct(self, units: float) -> None:
        """It was larger (or smaller) by this than was thought."""
        self.free += units / self.rate


class Window:
    """Requests in flight at once: doubles each round trip until the first refusal, from then on AIMD.

    A refusal lowers the window once per round trip, and by the share of requests that are refused (at most by half),
    so that refusals which have nothing to do with us do not bring it down to one.
    """

    _MEMORY = 1 / 32

    def __init__(self, start: int, most: int) -> None:
        self.size = float(min(start, most))
        self.most = most
        self._share = 1.0
        self._lowered = -math.inf
        self._doubling = True

    def answered(self, in_flight: int) -> None:
        """A request was answered, while so many were in flight."""
        self._share *= 1 - self._MEMORY
        if in_flight + 1 >= self.size / 2:  # a window that is not used says nothing
            self.size = min(self.most, self.size + (1.0 if self._doubling else 1 / self.size))

    def refused(self, sent: float, now: float) -> bool:
        """A request sent at ``sent`` was too much. Says whether it lowered the window."""
        self._share += (1 - self._share) * self._MEMORY
        self._doubling = False
        if sent < self._lowered:
            return False
        self._lowered = now
        self.size = max(1.0, self.size * (1 - self._share / 2))
        return True

    def scale(self, factor: float) -> None:
        """The user wants more or fewer at once: from now on, and at most. What a server refuses still lowers it."""
        if factor > 1:
            self.size = float(math.ceil(int(self.size) * factor))
            self.most = max(self.most, int(self.size))
        else:
            self.most = max(1, int(int(self.size) * factor))
            self.size = float(self.most)


@dataclass(slots=True)
class _Epoch:
    """What happened since the learned pace was last changed. Refusals come fast, so what is not refused is accepted."""

    start: float
    sent: int = 0
    refused: int = 0

    def share(self) -> float:
        """Of all requests: those that were refused."""
        return self.refused / max(1, self.sent)


class Learned:
    """The pace that a server with a rate limit turns out to bear, found by trying.

    Nothing is known until refusals (429) last longer than a second. Then the pace is between ``low``, which was borne,
    and ``high``, which was refused; it is halved in until they are near, and raised again slowly at first, faster the
    longer nothing is refused. A few refusals (one in ten) are tolerated where they cost nothing but themselves.
    """

    NEAR = 1.08
    TOLERATED = 0.1
    ENOUGH = 10
    """Requests from which on an epoch says something."""
    GIVE_UP = 60.0
    """Seconds without a learned pace, after one of half the height was refused as often: it is not what counts."""

    def __init__(self) -> None:
        self._off_until = -math.inf
        self._reset()

    def _reset(self) -> None:
        self.pace: Pace | None = None
        self._epoch: _Epoch | None = None
        self._low = self._high = 0.0
        self._quiet = 0
        self._borne = False
        self._pause = 0.0
        self._worst: tuple[float, float] | None = None

    def sent(self, now: float) -> None:
        """A request goes out."""
        if self.pace is not None:
            self.pace.take(now)
        if self._epoch is not None:
            self._epoch.sent += 1

    def answered(self, sent: float, now: float) -> None:
        """A request was answered: after enough of them without a refusal, the pace goes up."""
        epoch = self._epoch
        if epoch is None or self.pace is None or sent < epoch.start or epoch.sent < self.ENOUGH:
            return
        searching = self._high > self._low * self.NEAR
        if now - epoch.start < (2.0 if searching else max(6.0, 10 * self._pause)):
            return
        if epoch.refused == 0:
            self._raise(now, self.pace)
        elif epoch.share() <= self.TOLERATED:
            self._epoch = _Epoch(now)

    def refused(self, sent: float, now: float, pause: float) -> None:
        """A request was refused, and the server wants a pause of this many seconds (0: it says nothing)."""
        if now < self._off_until:
            return
        if self._epoch is None:
            self._epoch = _Epoch(now)
        epoch = self._epoch
        if sent < epoch.start:
            return
        epoch.refused += 1
        self._pause = pause
        if self.pace is None:
            self._begin(now, epoch)
        elif pause or epoch.refused > self.TOLERATED * max(epoch.sent, 2 * self.ENOUGH):
            self._lower(now, epoch, self.pace)

    def _begin(self, now: float, epoch: _Epoch) -> None:
        passed = now - epoch.start + self._pause
        if now - epoch.start < 1.0:
            return
        self._low = max(1, epoch.sent - epoch.refused) / passed
        # In a pause the server would have borne more.
        self._high = self._low * (4 if self._pause else 1)
        self.pace = Pace(1.0)
        self._set(now, self.pace, math.sqrt(self._low * self._high))

    def _is_useless(self, share: float, rate: float) -> bool:
        if self._worst is None or share <= self._worst[0] / 2:
            self._worst = (share, rate)
        return rate < self._worst[1] / 2 and not self._pause

    def _lower(self, now: float, epoch: _Epoch, pace: Pace) -> None:
        if self._is_useless(epoch.share(), pace.rate):
            self._reset()
            self._off_until = now + self.GIVE_UP
            return
        self._high, self._quiet = pace.rate, 0
        if self._low > 0.99 * pace.rate:
            # A pace that was borne before is not far off; one that was only guessed may be.
            accepted = (epoch.sent - epoch.refused) / max(0.1, now - epoch.start + self._pause)
            self._low = min(max(accepted, (0.94 if self._borne else 0.5) * pace.rate), 0.97 * pace.rate)
        self._borne = False
        near = self._high <= self._low * self.NEAR
        self._set(now, pace, self._low if near else math.sqrt(self._low * self._high))

    def _raise(self, now: float, pace: Pace) -> None:
        self._low, self._borne = pace.rate, True
        if self._high > self._low * self.NEAR:
            rate = math.sqrt(self._low * self._high)
        else:
            rate = self._low * (1 + 0.01 * 2**self._quiet)
            self._quiet += 1
        self._set(now, pace, rate)

    def _set(self, now: float, pace: Pace, rate: float) -> None:
        pace.rate = rate
        self._epoch = _Epoch(now)


class Limits:
    """What holds requests to one model back."""

    def __init__(self, options: ApiOptions) -> None:
        most = options.concurrency.max
        self.window = Window(options.concurrency.start or DEFAULT_START, most)
        self.learned = Learned()
        self.in_flight = 0
        self.held = False
        """Nothing is sent, because the user wants it so."""
        self.paused_until = -math.inf
        self._longest = options.retry.max_wait / 4
        self._row = 0
        self._row_at = -math.inf
        self._requests = _per_minute(options.requests_per_minute)
        self._tokens = _per_minute(options.tokens_per_minute)

    def delay(self, now: float) -> float:
        """Seconds until the next request may be sent; 0: now; infinite: not before something happens."""
        if self.held or self.in_flight >= int(self.window.size):
            return math.inf
        wait = self.paused_until - now
        for pace in (self._requests, self._tokens, self.learned.pace):
            if pace is not None and pace.free - now > wait:
                wait = pace.free - now
        return max(0.0, wait)

    def sent(self, now: float) -> None:
        """A request goes out."""
        self.in_flight += 1
        self.learned.sent(now)
        if self._requests is not None:
            self._requests.take(now)

    def reserve(self, now: float, tokens: int) -> None:
        """The request that goes out can cost so many tokens."""
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def used(self, reserved: int, tokens: int) -> None:
        """It has cost so many."""
        if self._tokens is not None:
            self._tokens.correct(tokens - reserved)

    def ended(self) -> None:
        """A request has come back, or is given up."""
        self.in_flight -= 1

    def answered(self, sent: float, now: float) -> None:
        """The server gave an answer; call it after :meth:`ended`."""
        self._row = 0
        self.window.answered(self.in_flight)
        self.learned.answered(sent, now)

    def overloaded(self, sent: float, now: float) -> None:
        """The server could not (503, 529, or no answer in time)."""
        self.window.refused(sent, now)
        self._brake(sent, now)

    def refused(self, sent: float, now: float, pause: float) -> None:
        """The server would not (429), and asks for a pause of this many seconds (0: it says nothing)."""
        self.window.refused(sent, now)
        self.learned.refused(sent, now, pause)
        if pause:
            self.pause(now, pause)
        else:
            self._brake(sent, now)

    def _brake(self, sent: float, now: float) -> None:
        """Pause, longer each round trip, where nothing is answered between two refusals."""
        if sent < self._row_at:
            return
        self._row, self._row_at = self._row + 1, now
        if self._row > 1:
            self.pause(now, min(self._longest, 0.1 * 2 ** (self._row - 2)))

    def pause(self, now: float, seconds: float) -> None:
        """Nothing is sent for so long."""
        self.paused_until = max(self.paused_until, now + seconds)

    @property
    def rate(self) -> float | None:
        """Requests per second that may be sent, where there is such a limit."""
        return min((pace.rate for pace in (self._requests, self.learned.pace) if pace), default=None)


def _per_minute(count: int | None) -> Pace | None:
    return None if count is None else Pace(count / 60)
