"""Requests made ready for a model: those of the next job while the device computes this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

from lmrun.backends.hf.loaded import Loaded
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Request, RequestKind, Response, content_key

_Draft = TypeVar("_Draft")

_MOST_READY = 1 << 17
"""Requests of the next job that are ready, at most: the memory of their tokens is that of as many rows."""


class Desk:
    """Drafts requests with one loaded model. What is drafted early is the same, to the last token."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._next: Iterator[Request] = iter(())
        self._ready: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        """Drafts by the content of their requests: of the next job, and of this one."""

    def foresee(self, requests: Iterator[Request]) -> None:
        """A job begins, and these are likely to be asked after it."""
        self._known, self._ready = self._ready, {}
        self._next = self._loaded.encoder.ahead(requests)

    def meanwhile(self, count: int) -> None:
        """Draft some requests of the next job: the device computes, and nobody waits for this."""
        try:
            for request in islice(self._next, min(count, _MOST_READY - len(self._ready))):
                self._foresee(request)
        except Exception:  # noqa: BLE001 - not a fault of this job: what is wrong is told when it is asked
            self._next = iter(())

    def _foresee(self, request: Request) -> None:
        loaded = self._loaded
        draft: dict[RequestKind, Callable[[Request], Any]] = {
            "loglikelihood": loaded.pair,
            "loglikelihood_rolling": loaded.windows,
            "generate_until": loaded.prompt,
        }
        with suppress(Unanswerable):
            self._ready[content_key("", request)] = draft[request.kind](request)

    def drafts(
        self, requests: Iterable[Request], draft: Callable[[Request], _Draft]
    ) -> tuple[dict[int, _Draft], dict[int, Response]]:
        """What ``draft`` makes of requests, by position and in their order, and what stands in place of an answer."""
        found: dict[int, _Draft] = {}
        refused: dict[int, Response] = {}
        places: deque[int] = deque()

        def unknown() -> Iterator[Request]:
            for i, request in enumerate(requests):
                known = self._known.pop(content_key("", request), None) if self._known else None
                if known is None:
                    places.append(i)
                    yield request
                else:
                    found[i] = known

        for request in self._loaded.encoder.ahead(unknown()):
            i = places.popleft()
            try:
                found[i] = draft(request)
            except Unanswerable as error:
                refused[i] = error.response()
        return dict(sorted(found.items())), refused
