"""What the batch APIs of OpenAI and Anthropic have in common: a batch gets on whenever it is polled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lmrun.testing.generating import Engine, Refused

Answer = Callable[[str, Any], tuple[int, Any]]
"""Status and body of the reply to one request, by its address and body."""

DAY = 24 * 3600


@dataclass
class Batch:
    """One batch of either provider."""

    id: str
    requests: list[dict[str, Any]]
    """As they came."""
    made: Mapping[str, Any]
    """What the client said of the whole batch."""
    created: float = field(default_factory=time.time)
    polls: int = 0
    canceled: bool = False
    results: list[Any] | None = None
    """Results of all requests, in another order than they came in; None while the batch is in progress."""


class Batches:
    """Batches of one provider, kept as long as the server runs."""

    prefix: str
    """Of the ids of batches."""

    def __init__(self, engine: Engine, answer: Answer) -> None:
        self.engine, self.answer = engine, answer
        self._batches: dict[str, Batch] = {}

    def result(self, index: int, request: dict[str, Any], given_up: str | None) -> Any:
        """What becomes of one request; ``given_up`` is ``"canceled"`` or ``"expired"`` if it got no answer."""
        raise NotImplementedError

    def show(self, batch: Batch) -> dict[str, Any]:
        """A batch as the API describes it."""
        raise NotImplementedError

    def start(self, requests: list[dict[str, Any]], made: Mapping[str, Any]) -> Batch:
        """A new batch. Raises :class:`Refused`."""
        names = {request.get("custom_id") for request in requests}
        if not requests or None in names or len(names) < len(requests):
            raise Refused("A batch needs requests, each with a custom_id of its own.", param="requests")
        batch = Batch(f"{self.prefix}{next(self.engine.numbers)}", requests, made)
        self._batches[batch.id] = batch
        return batch

    def find(self, name: str) -> Batch:
        """A batch by its id. Raises :class:`Refused`."""
        if name not in self._batches:
            raise Refused(f"No batch found with id '{name}'.", status=404)
        return self._batches[name]

    def poll(self, name: str) -> Batch:
        """The batch a little later."""
        batch = self.find(name)
        batch.polls += 1
        if batch.results is None and (batch.canceled or batch.polls > self.engine.script.batch_polls):
            batch.results = [*self._results(batch)][::-1]
        return batch

    def _results(self, batch: Batch) -> Iterator[Any]:
        for i, request in enumerate(batch.requests):
            expired = "expired" if self.engine.script.batch_expires and i % 2 else None
            yield self.result(i, request, "canceled" if batch.canceled else expired)

    def cancel(self, name: str) -> Batch:
        """Give up a batch that is in progress."""
        batch = self.find(name)
        batch.canceled = batch.results is None
        return batch

    def listed(self) -> dict[str, Any]:
        """All batches, the newest first."""
        data = [self.show(batch) for batch in reversed(self._batches.values())]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}


def json_lines(values: list[Any]) -> bytes:
    """JSON, one value a line."""
    return b"\n".join(orjson.dumps(value) for value in values)
