"""``/v1/messages/batches`` as Anthropic describes it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from lmrun.testing.batches import DAY, Batch, Batches, json_lines
from lmrun.testing.generating import Refused

_OUTCOMES = ("succeeded", "errored", "canceled", "expired")


class MessageBatches(Batches):
    """Batches of messages."""

    prefix = "msgbatch_"
    url = ""
    """Address of the server."""

    def reply(self, method: str, parts: list[str], body: bytes) -> Any:
        """The reply to a request: JSON, or the bytes of the results. Raises :class:`Refused`."""
        match method, *parts:
            case "POST", "messages", "batches":
                made = orjson.loads(body)
                return self.show(self.start(made.get("requests") or [], made))
            case "GET", "messages", "batches":
                return self.listed()
            case "GET", "messages", "batches", name:
                return self.show(self.poll(name))
            case "POST", "messages", "batches", name, "cancel":
                return self.show(self.cancel(name))
            case "GET", "messages", "batches", name, "results":
                results = self.find(name).results
                if results is None:
                    raise Refused("The batch has not ended; its results are not there yet.", status=404)
                return json_lines(results)
        return None

    def result(self, index: int, request: dict[str, Any], given_up: str | None) -> dict[str, Any]:
        """A line of the results."""
        result: dict[str, Any] = {"type": given_up}
        if not given_up:
            status, reply = self.answer("/v1/messages", request["params"])
            succeeded = {"type": "succeeded", "message": reply}
            result = succeeded if status == 200 else {"type": "errored", "error": reply}
        return {"custom_id": request["custom_id"], "result": result}

    def show(self, batch: Batch) -> dict[str, Any]:
        """A batch as the API describes it."""
        created = datetime.fromtimestamp(batch.created, timezone.utc)
        ended = batch.results is not None
        outcomes = Counter(line["result"]["type"] for line in batch.results or ())
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "canceling" if batch.canceled else "in_progress",
            "request_counts": {
                "processing": 0 if ended else len(batch.requests),
                **{outcome: outcomes[outcome] for outcome in _OUTCOMES},
            },
            "ended_at": datetime.now(timezone.utc).isoformat() if ended else None,
            "created_at": created.isoformat(),
            "expires_at": (created + timedelta(seconds=DAY)).isoformat(),
            "archived_at": None,
            "cancel_initiated_at": created.isoformat() if batch.canceled else None,
            "results_url": f"{self.url}/v1/messages/batches/{batch.id}/results" if ended else None,
        }
