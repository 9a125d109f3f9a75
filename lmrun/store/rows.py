"""Between values and columns."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import Any

import orjson

from lmrun.requests import Request, RequestKind, Response, context_from_json, response_as_json, response_from_json
from lmrun.store.records import AnsweredSample, MetricRecord

# Made once: `json.dumps` makes an encoder per call, which takes as long as a small value.
_encoder = json.JSONEncoder(ensure_ascii=False, default=str)


def to_json(value: Any) -> str:
    """JSON text of a value; what JSON has no type for (dates, bytes, …) becomes its string."""
    text = _encoder.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: only its escape can be stored
        return json.dumps(value, default=str)
    return text


def json_value(text: str) -> Any:
    """The value of stored JSON text."""
    try:
        return orjson.loads(text)
    except ValueError:  # infinities and nan, which strict JSON does not know
        return json.loads(text)


def response_text(response: Response) -> str:
    """A response as the stores hold it."""
    # orjson would make null of an infinity, and refuses half a surrogate pair.
    if response.logprob is None or math.isfinite(response.logprob):
        try:
            return orjson.dumps(response_as_json(response)).decode()
        except TypeError:
            pass
    return to_json(response_as_json(response))


def response_value(text: str) -> Response:
    """Inverse of :func:`response_text`. Raises ValueError or TypeError for what is no response."""
    return response_from_json(json_value(text))


REQUEST_COLUMNS = "r.kind, r.is_chat, t.body, r.continuation, r.generation, r.repeat, r.seed"
"""Of ``requests`` as ``r`` and its context in ``texts`` as ``t``: what :func:`request_of` takes."""


def request_of(
    kind: RequestKind, is_chat: int, body: str | None, continuation: str, generation: str, repeat: int, seed: int | None
) -> Request:
    """A stored request."""
    context = context_from_json(json_value(body or "[]")) if is_chat else body or ""
    return Request(kind, context, continuation, _generation(generation), repeat, seed)


@lru_cache(maxsize=256)
def _generation(text: str) -> Mapping[str, Any]:
    """Generation parameters: the same for all requests of a job, so that they are read and held once."""
    return MappingProxyType(json_value(text))


def request_from_row(row: sqlite3.Row) -> Request:
    """The request in a row that has the columns of ``requests`` and ``body``, its context."""
    names = ("kind", "is_chat", "body", "continuation", "generation", "repeat", "seed")
    return request_of(*(row[name] for name in names))


def metric_records(db: sqlite3.Connection, job_id: int) -> list[MetricRecord]:
    """Aggregated metrics of a job, in the order of its task."""
    rows = db.execute("SELECT * FROM metrics WHERE job_id = ? ORDER BY position", (job_id,))
    return list(map(metric_from_row, rows))


def metric_from_row(row: sqlite3.Row) -> MetricRecord:
    """A stored metric."""
    return MetricRecord(
        metric=row["metric"],
        filter=row["filter"],
        value=json.loads(row["value"]),
        stderr=json.loads(row["stderr"]),
        interval=json.loads(row["interval"]) if row["interval"] else None,
        n=row["n"],
        higher_is_better=None if row["higher_is_better"] is None else bool(row["higher_is_better"]),
    )


def metric_row(position: int, metric: MetricRecord) -> tuple[Any, ...]:
    """The columns of a metric from ``position`` on."""
    interval = to_json(list(metric.interval)) if metric.interval else None
    value, stderr = to_json(metric.value), to_json(metric.stderr)
    return (position, metric.metric, metric.filter, value, stderr, interval, metric.n, metric.higher_is_better)


def extraction_counts(db: sqlite3.Connection, job_id: int) -> dict[str, dict[str, int]]:
    """By filter that extracts: how many samples of a job are ``matched``, ``no_match`` and ``ambiguous``."""
    rows = db.execute(
        """SELECT c.filter, c.extraction, count(*) FROM scores c JOIN samples s ON s.id = c.sample_id
           WHERE s.job_id = ? AND c.extraction IS NOT NULL GROUP BY 1, 2 ORDER BY min(c.rowid)""",
        (job_id,),
    )
    found: dict[str, dict[str, int]] = {}
    for name, status, count in rows:
        found.setdefault(name, {})[status] = count
    return found


def answered_sample(rows: Sequence[sqlite3.Row]) -> AnsweredSample:
    """A sample from its rows, one per response."""
    first = rows[0]
    responses: list[list[Response]] = []
    error = None
    # An error of rendering is for good; one of a response is looked for again, as the response may be there by now.
    if first["position"] is None:
        error = (
            json.loads(first["error"])
            if first["error"]
            else {"kind": "not_rendered", "message": "the doc gave no requests"}
        )
        rows = ()
    for _, repeats in groupby(rows, key=lambda row: row["position"]):
        responses.append([])
        for row in repeats:
            if row["response"] is None:
                error = error or {"kind": "not_answered", "message": "the run ended before this request was answered"}
                continue
            response = response_value(row["response"])
            responses[-1].append(response)
            if response.error and not error:
                error = {"kind": response.error.kind, "message": response.error.message}
    return AnsweredSample(
        id=first["id"],
        doc_id=first["doc_id"],
        doc=json.loads(first["doc"]),
        target=json.loads(first["target"]),
        text=json.loads(first["text"]),
        choices=json.loads(first["choices"]),
        responses=responses,
        error=error,
    )
