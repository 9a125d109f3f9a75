"""From what came back for a call to the responses of its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmrun.backends.api.call import Asked, Call, Ready
from lmrun.backends.api.failures import CONTENT_FILTER, Failed
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Response, ResponseError


def unasked(asked: Asked, error: Unanswerable) -> Ready:
    """The response to a request that cannot be asked."""
    return Ready(asked.position, replace(error.response(), attempts=0))


def failure(failed: Failed, generates: bool) -> Response:
    """The response to a request that is given up.

    A content filter of the provider that refuses a prompt is a refusal, as if the model itself had declined; where a
    text was to be scored it is an error, for there is no number.
    """
    if failed.kind == CONTENT_FILTER and generates:
        notes = {"content_filter": failed.message}
        return Response(text="", finish_reason="refusal", attempts=failed.attempts, notes=notes)
    return Response(error=ResponseError(failed.kind, str(failed)), attempts=failed.attempts)


def annotated(response: Response, attempts: int, *notes: Mapping[str, Any]) -> Response:
    """The response with how often it was asked for, and notes beside its own."""
    if attempts == 1 and not any(notes):
        return response
    merged = {name: value for source in (*notes, response.notes) for name, value in source.items()}
    return replace(response, attempts=attempts, notes=merged)


class Parts:
    """Puts together the responses to requests that were cut into several calls."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, Response]] = {}

    def is_lost(self, position: int) -> bool:
        """An earlier part has failed, and the others need not be asked."""
        found = self._open.get(position)
        return found is not None and found[1].error is not None

    def add(self, position: int, parts: int, response: Response) -> Response | None:
        """The whole, once all parts are there. The first error stands for the whole."""
        left, whole = self._open.pop(position, (parts, None))
        whole = response if whole is None else _together(whole, response)
        if left > 1:
            self._open[position] = (left - 1, whole)
            return None
        return whole

    def whole(self, call: Call, responses: Sequence[Response]) -> list[tuple[int, Response]]:
        """The requests that are complete with the responses to a call, each with its position."""
        done = list(zip(call.owners, responses, strict=True))
        if not call.parts:
            return done
        added = [(position, self.add(position, n, r)) for (position, r), n in zip(done, call.parts, strict=True)]
        return [(position, response) for position, response in added if response is not None]

    def clear(self) -> None:
        """Forget what is not complete."""
        self._open.clear()


def _together(a: Response, b: Response) -> Response:
    if a.error or b.error:
        return a if a.error else b
    return replace(
        a,
        logprob=None if a.logprob is None or b.logprob is None else a.logprob + b.logprob,
        is_greedy=None if a.is_greedy is None or b.is_greedy is None else a.is_greedy and b.is_greedy,
        prompt_tokens=a.prompt_tokens + b.prompt_tokens,
        cached_tokens=a.cached_tokens + b.cached_tokens,
        completion_tokens=a.completion_tokens + b.completion_tokens,
        reasoning_tokens=a.reasoning_tokens + b.reasoning_tokens,
        dropped_tokens=a.dropped_tokens + b.dropped_tokens,
        attempts=max(a.attempts, b.attempts),
        notes={**a.notes, **b.notes},
    )
