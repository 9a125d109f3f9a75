"""The batch APIs of OpenAI and Anthropic: what is sent, what comes back, where the limits are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp

from lmrun.backends.api import failures
from lmrun.backends.api.batch.http import BatchHttp
from lmrun.backends.api.batch.state import Batch
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.transport import Address, encode

_SKEW = 300
"""Seconds that the clocks of this machine and of the provider may differ."""


class Progress(NamedTuple):
    """How far a batch is."""

    ended: bool
    done: int = 0
    """Requests, as far as the provider tells."""
    results: Sequence[str] = ()
    """Paths of the files with what came out, once it has ended."""
    refused: Failed | None = None
    """Nothing of the batch was done."""


class Provider(Protocol):
    """The batch API of a provider."""

    most_requests: int
    most_bytes: int
    frame: tuple[bytes, bytes, bytes]
    """What stands before, between and after the requests of a file."""

    def line(self, custom_id: str, path: str, body: Mapping[str, Any]) -> bytes:
        """A request as it stands in the file."""
        ...

    def body(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body in a line of the file."""
        ...

    async def submit(self, batch: Batch, file: Path) -> str:
        """Send a file; gives the id of the batch. Raises :class:`Failed`; it may have arrived all the same."""
        ...

    async def find(self, batch: Batch, others: Collection[str]) -> str | None:
        """The id of a batch whose submission had no answer, if it has arrived; it is none of ``others``."""
        ...

    async def poll(self, batch_id: str) -> Progress:
        """Ask how far a batch is. Raises :class:`Failed`."""
        ...

    def outcome(self, line: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | Failed]:
        """What became of one request: its id, and the reply or the failure."""
        ...


class OpenAIBatches:
    """``/files`` and ``/batches``."""

    most_requests = 50_000
    most_bytes = 200_000_000
    frame = (b"", b"\n", b"\n")

    def __init__(self, http: BatchHttp) -> None:
        self._http = http
        self._path = ""

    def line(self, custom_id: str, path: str, body: Mapping[str, Any]) -> bytes:
        """A request as the provider wants it; all of a file go to one end-point."""
        self._path = f"/v1{path}"
        return encode({"custom_id": custom_id, "method": "POST", "url": self._path, "body": body})

    def body(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body in a line of the file."""
        found: Mapping[str, Any] = line["body"]
        return found

    async def submit(self, batch: Batch, file: Path) -> str:
        """Upload the file, then make a batch of it."""

        def form() -> aiohttp.FormData:
            data = aiohttp.FormData({"purpose": "batch"})
            data.add_field("file", file.open("rb"), filename=f"{batch.name}.jsonl", content_type="application/jsonl")
            return data

        uploaded = await self._http.upload("/files", form)
        body = {
            "input_file_id": _text(uploaded, "id"),
            "endpoint": self._path,
            "completion_window": "24h",
            "metadata": {"lmrun": batch.name},
        }
        made = await self._http.post_once("/batches", lambda: encode(body))
        return _text(made, "id")

    async def find(self, batch: Batch, others: Collection[str]) -> str | None:
        """By its name among the batches of the account, newest first."""
        after: dict[str, str] = {}
        while True:
            page = await self._http.get("/batches", {"limit": "100", **after})
            for listed in page.get("data") or ():
                if (listed.get("metadata") or {}).get("lmrun") == batch.name:
                    return _text(listed, "id")
                if listed.get("created_at", 0) < batch.created - _SKEW:
                    return None
                after = {"after": listed["id"]}
            if not page.get("has_more"):
                return None

    async def poll(self, batch_id: str) -> Progress:
        """Ask how far a batch is."""
        found = await self._http.get(f"/batches/{batch_id}")
        counts = found.get("request_counts") or {}
        done = (counts.get("completed") or 0) + (counts.get("failed") or 0)
        status = _text(found, "status")
        if status == "failed":
            return Progress(True, refused=_refused((found.get("errors") or {}).get("data") or ()))
        if status not in ("completed", "expired", "cancelled"):
            return Progress(False, done)
        files = (found.get("output_file_id"), found.get("error_file_id"))
        return Progress(True, done, [f"/files/{file}/content" for file in files if file])

    def outcome(self, line: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | Failed]:
        """The reply, if its status is 200."""
        response, error = line.get("response"), line.get("error")
        if isinstance(response, Mapping) and response.get("body") is not None:
            status, body = response.get("status_code"), response["body"]
            if status == 200:
                return line["custom_id"], body
            return line["custom_id"], failures.of_status(int(status or 500), encode(body))
        code = error.get("code") if isinstance(error, Mapping) else None
        if code == "batch_cancelled":
            return line["custom_id"], canceled()
        return line["custom_id"], expired() if code == "batch_expired" else failures.of_status(500, encode({**line}))


class AnthropicBatches:
    """``/messages/batches``."""

    most_requests = 100_000
    most_bytes = 256_000_000
    frame = (b'{"requests":[\n', b",\n", b"\n]}")

    _STATUS: Mapping[str, int] = {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }

    def __init__(self, http: BatchHttp) -> None:
        self._http = http

    def line(self, custom_id: str, path: str, body: Mapping[str, Any]) -> bytes:
        """A request as the provider wants it."""
        return encode({"custom_id": custom_id, "params": body})

    def body(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body in a line of the file."""
        found: Mapping[str, Any] = line["params"]
        return found

    async def submit(self, batch: Batch, file: Path) -> str:
        """Send the file."""
        made = await self._http.post_once("/messages/batches", lambda: file.open("rb"))
        return _text(made, "id")

    async def find(self, batch: Batch, others: Collection[str]) -> str | None:
        """By time and number of requests: the provider keeps no names.

        Whether it is the right one shows in the results: requests that are not among them are submitted again.
        """
        after: dict[str, str] = {}
        while True:
            page = await self._http.get("/messages/batches", {"limit": "100", **after})
            for listed in page.get("data") or ():
                made = datetime.fromisoformat(_text(listed, "created_at").replace("Z", "+00:00")).timestamp()
                if made < batch.created - _SKEW:
                    return None
                if listed["id"] not in others and sum(listed["request_counts"].values()) == len(batch.custom_ids):
                    return _text(listed, "id")
                after = {"after_id": listed["id"]}
            if not page.get("has_more"):
                return None

    async def poll(self, batch_id: str) -> Progress:
        """Ask how far a batch is. Results are read below ``base_url``: the key goes nowhere else."""
        found = await self._http.get(f"/messages/batches/{batch_id}")
        counts = found.get("request_counts") or {}
        done = sum(counts.values()) - (counts.get("processing") or 0)
        if _text(found, "processing_status") != "ended":
            return Progress(False, done)
        return Progress(True, done, [f"/messages/batches/{batch_id}/results"])

    def outcome(self, line: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | Failed]:
        """The message, if the request succeeded."""
        result = line.get("result") or {}
        kind = result.get("type")
        if kind == "succeeded":
            return line["custom_id"], result.get("message") or {}
        if kind in ("expired", "canceled"):
            return line["custom_id"], expired() if kind == "expired" else canceled()
        error = result.get("error") or {}
        named = str((error.get("error") or error).get("type"))
        return line["custom_id"], failures.of_status(self._STATUS.get(named, 500), encode(error))


def connected(backend: str, address: Address, options: ApiOptions) -> tuple[BatchHttp, Provider]:
    """A session with the batch API that belongs to a backend; to be called inside the loop."""
    http = BatchHttp(address, options)
    return http, AnthropicBatches(http) if backend == "anthropic" else OpenAIBatches(http)


def expired() -> Failed:
    """A request that the provider did not get to; nothing was charged for it."""
    return Failed("expired", "the batch ended before this request was answered", retryable=True)


def canceled() -> Failed:
    """A request of a batch that someone ended."""
    return Failed("canceled", "the batch was canceled at the provider")


_BUSY = re.compile(r"limit", re.IGNORECASE)


def _refused(errors: Sequence[Mapping[str, Any]]) -> Failed:
    said = "; ".join(dict.fromkeys(f"{e.get('code')}: {e.get('message')}" for e in errors)) or "no reason was given"
    busy = any(_BUSY.search(str(error.get("code"))) for error in errors)
    return Failed("batch_refused", said, retryable=busy)


def _text(reply: Mapping[str, Any], name: str) -> str:
    found = reply.get(name)
    if not isinstance(found, str):
        raise failures.malformed(f"{name} was expected in {str(reply)[:200]}")
    return found
