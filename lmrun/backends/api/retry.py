"""When a failed request is asked again, and when it is given up. Tenacity carries the loop.

The first try of a request does not pass here: nothing of this costs anything as long as nothing fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from lmrun.backends.api.failures import CONNECTION, MALFORMED, Failed
from lmrun.backends.api.options import Retry

T = TypeVar("T")
SAME_FAULT = 5
"""Faults of the server (5xx) with the same words in a row, after which one request is given up."""
REFUSALS = 4
"""Refusals (429) count apart from failures, and this many times as many are borne."""


class Course:
    """What has become of one request so far; says when to stop (tenacity's ``stop``) and how long to wait.

    ``strange`` bounds failures that look as if there were no such server at all.
    """

    def __init__(self, options: Retry, strange: int | None = None) -> None:
        self._options = options
        self._most_strange = strange or options.attempts
        self._failures = self._refusals = self._strange = self._same = 0
        self._words = ""
        self._wait = wait_random_exponential(multiplier=1.0, max=options.max_wait)
        self._wait_refused = wait_random_exponential(multiplier=0.2, max=options.max_wait)

    def stop(self, state: RetryCallState) -> bool:
        """Whether the last failure was the last try."""
        failed = _failure(state)
        failed.attempts = state.attempt_number
        if failed.refused:
            self._refusals += 1
            return self._refusals >= REFUSALS * self._options.attempts
        self._failures += 1
        self._strange += failed.kind in (CONNECTION, MALFORMED)
        words = f"{failed.status} {failed.message}" if (failed.status or 0) >= 500 else ""
        self._same = self._same + 1 if words and words == self._words else 1
        self._words = words
        return (
            self._failures >= self._options.attempts
            or self._strange >= self._most_strange
            or (bool(words) and self._same >= SAME_FAULT)
        )

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next try. A pause that the server asks for holds the whole model back, not this request."""
        failed = _failure(state)
        if failed.pause:
            return 0.0
        return (self._wait_refused if failed.refused else self._wait)(state)


async def again(
    first: Failed,
    attempt: Callable[[], Awaitable[T]],
    course: Course,
    sleep: Callable[[float], Awaitable[None]],
) -> tuple[T, int]:
    """Try until there is an answer, after a first try that failed; says how many tries it took.

    Raises:
        Failed: the last try did.
    """
    pending: Failed | None = first

    async def one() -> T:
        nonlocal pending
        if pending is not None:
            failed, pending = pending, None
            raise failed
        return await attempt()

    retrying = AsyncRetrying(
        stop=course.stop,
        wait=course.wait,
        retry=retry_if_exception(lambda error: isinstance(error, Failed) and error.retryable),
        sleep=sleep,
        reraise=True,
    )
    return await retrying(one), int(retrying.statistics["attempt_number"])


def _failure(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Failed)
    return error
