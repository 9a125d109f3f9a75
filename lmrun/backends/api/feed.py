"""From the stream of requests to calls, read no further ahead than there is room."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias

from lmrun.backends.api.answers import unasked
from lmrun.backends.api.call import Asked, Call, Ready, Wire
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Request

LARGEST_GROUP = 256
"""Requests with one context that are looked at together."""


class Item(NamedTuple):
    """A call on its way, with its place in the line."""

    rank: int
    call: Call
    generates: bool
    alone: bool = False
    """Not to be joined with others (again)."""


Fed: TypeAlias = Item | Ready
"""Something to send, or what needs no sending."""


class Feed:
    """Reads requests and lets the wire turn them into calls."""

    def __init__(self, requests: Iterator[tuple[int, Request]], wire: Wire) -> None:
        self._wire = wire
        self._fed = self._calls(iter(requests))
        self.exhausted = False

    def take(self, count: int) -> list[Fed]:
        """As many calls as there is room for."""
        taken = list(islice(self._fed, count))
        self.exhausted = len(taken) < count
        return taken

    def _calls(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Fed]:
        rank = 0
        for group in _groups(requests):
            generates = group[0].request.kind == "generate_until"
            try:
                for call in self._wire.calls(group):
                    if isinstance(call, Ready):
                        yield call
                    else:
                        yield Item(rank, call, generates)
                        rank += 1
            except Unanswerable as error:
                yield from (unasked(asked, error) for asked in group)


def _groups(requests: Iterator[tuple[int, Request]]) -> Iterator[list[Asked]]:
    """Requests that follow each other and share kind and context. Rolling ones have no context to share."""
    group: list[Asked] = []
    for position, request in requests:
        if group and not (
            request.kind == group[0].request.kind != "loglikelihood_rolling"
            and request.context == group[0].request.context
            and len(group) < LARGEST_GROUP
        ):
            yield group
            group = []
        group.append(Asked(position, request))
    if group:
        yield group
