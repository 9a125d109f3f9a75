"""A run as the faces see it: read-only, also while another process writes it, also on another machine."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from lmrun.errors import LmrunError
from lmrun.store import overlaps
from lmrun.store.browse import SampleLine, sample_lines
from lmrun.store.connect import BUSY_TIMEOUT_MS, connect_readonly
from lmrun.store.counts import Counts, counts_of, job_counts
from lmrun.store.error_kinds import ErrorKind, error_kinds
from lmrun.store.gauges import Point, gauge_series
from lmrun.store.notes import Note, Notes, Place
from lmrun.store.query import ENDINGS, SampleQuery, count, parts, prepare, windows
from lmrun.store.records import (
    DecontaminationRecord,
    Exchange,
    GroupView,
    JobView,
    MetricRecord,
    SampleDetail,
    SampleRow,
    ScoreRecord,
    Subset,
    Tokens,
)
from lmrun.store.rows import extraction_counts, json_value, metric_records, request_from_row, response_value
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import JOB_COUNTS, MIGRATIONS, OLDEST_READ
from lmrun.store.usage import tokens_by_model, unanswered

__all__ = ["UNREADABLE", "RunReader", "SampleQuery"]

UNREADABLE = (
    LmrunError,
    sqlite3.Error,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading can raise where a run's files are damaged, gone, or hold what no lmrun has written."""

_SAMPLE = """SELECT s.*, j.label, m.name AS model FROM samples s JOIN jobs j ON j.id = s.job_id
             JOIN models m ON m.id = j.model_id WHERE s.id = ?"""


class RunReader:
    """An open run, for reading."""

    def __init__(self, run: RunDirectory, *, patience_ms: int = BUSY_TIMEOUT_MS) -> None:
        """``patience_ms`` is how long a question waits while somebody writes who must not be read beside.

        Raises:
            StoreError: if it cannot be read, or was written by another version of lmrun.
        """
        self.run = run
        self.notes = Notes(run)
        self._db = connect_readonly(run.database, MIGRATIONS, OLDEST_READ, patience_ms=patience_ms)
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'job_counts'").fetchone():
            self._db.execute(JOB_COUNTS.replace("TABLE", "TEMP TABLE"))  # a run of an earlier version
        prepare(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def info(self) -> dict[str, Any]:
        """All facts of the run (status, created, finished, manifest_hash …)."""
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM run")}

    def models(self) -> list[dict[str, Any]]:
        """Models in the order of the manifest: id, name, backend, model, fingerprint, facts, status, error."""
        rows = self._db.execute("SELECT * FROM models ORDER BY id")
        return [{**dict(r), "facts": json.loads(r["facts"]), "error": json.loads(r["error"] or "null")} for r in rows]

    def tokens(self) -> dict[str, Tokens]:
        """By model, the tokens of what this run asked; what the cache answered took none."""
        return tokens_by_model(self._db)

    def unanswered(self) -> int:
        """How many distinct requests have no answer yet."""
        return unanswered(self._db)

    def version(self) -> int:
        """Another number whenever somebody else has written to the run."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def states(self) -> tuple[tuple[int, str], ...]:
        """(id, status) of all jobs."""
        return tuple((row[0], row[1]) for row in self._db.execute("SELECT id, status FROM jobs ORDER BY id"))

    def unanswered_of(self, job_id: int) -> int:
        """How many distinct requests of a job have no answer yet."""
        statement = """SELECT count(DISTINCT r.key) FROM samples s JOIN requests r ON r.sample_id = s.id
                       WHERE s.job_id = ? AND r.key NOT IN (SELECT key FROM responses)"""
        return int(self._db.execute(statement, (job_id,)).fetchone()[0])

    def jobs(self) -> list[JobView]:
        """Jobs in the order of the plan, with their counts."""
        rows = self._db.execute(
            "SELECT j.*, m.name AS model FROM jobs j JOIN models m ON m.id = j.model_id ORDER BY j.id"
        ).fetchall()
        counts = job_counts(self._db)
        return [_job_view(row, counts[row["id"]]) for row in rows]

    def job(self, model: str, label: str) -> JobView:
        """One job of a model."""
        row = self._db.execute(
            """SELECT j.*, m.name AS model FROM jobs j JOIN models m ON m.id = j.model_id
               WHERE m.name = ? AND j.label = ?""",
            (model, label),
        ).fetchone()
        return _job_view(row, counts_of(self._db, row["id"]))

    def extractions(self, job_id: int) -> dict[str, dict[str, int]]:
        """By filter that extracts: how many samples have which status (``matched``, ``no_match``, ``ambiguous``)."""
        return extraction_counts(self._db, job_id)

    def groups(self) -> list[GroupView]:
        """Groups of every model, parents before children."""
        rows = self._db.execute(
            "SELECT m.name, g.label, g.spec FROM groups g JOIN models m ON m.id = g.model_id ORDER BY m.id, g.position"
        )
        return [GroupView(name, label, json.loads(spec)) for name, label, spec in rows]

    def metrics(self, job_id: int) -> list[MetricRecord]:
        """Aggregated metrics of a job, in the order of its task."""
        return metric_records(self._db, job_id)

    def subset_metrics(self, job_id: int) -> dict[tuple[str, str], dict[Subset, MetricRecord]]:
        """By (metric, filter) the values of the clean and of the dirty docs; empty where none were looked for."""
        return overlaps.subset_metrics(self._db, job_id)

    def decontamination(self) -> dict[str, DecontaminationRecord]:
        """Which docs overlap with the corpora, by label of the job; empty where none were looked for."""
        return overlaps.decontamination(self._db)

    def samples(self, query: SampleQuery) -> Iterator[SampleRow]:
        """Samples that fit, in the order of jobs and docs."""
        ids = chain.from_iterable(self.sample_ids(query))
        end = None if query.limit is None else query.offset + query.limit
        for sample_id in islice(ids, query.offset, end):
            yield _sample_row(self._db.execute(_SAMPLE, (sample_id,)).fetchone())

    def sample_ids(self, query: SampleQuery) -> Iterator[array[int]]:
        """Ids of samples that fit, in the order of jobs and docs, whatever ``limit`` says.

        They come in chunks as they are found, the first one at once. Of a rare kind of sample many chunks are empty:
        between any two the caller can stop.
        """
        for part in parts(self._db, query, self._notes(query)):
            yield from windows(self._db, part)

    def sample_lines(self, ids: Sequence[int]) -> list[SampleLine]:
        """What a list shows of these samples, in their order: for as many as are seen at once."""
        return sample_lines(self._db, ids, self.notes.all())

    def wrong_among(self, ids: Sequence[int]) -> frozenset[int]:
        """Which of these samples have a wrong answer."""
        statement = f"SELECT s.id FROM samples s WHERE s.id IN (SELECT value FROM json_each(?)) AND {ENDINGS['wrong']}"
        return frozenset(row[0] for row in self._db.execute(statement, (json.dumps(list(ids)),)))

    def count(self, query: SampleQuery) -> int:
        """How many samples fit, whatever ``limit`` says."""
        return sum(count(self._db, part) for part in parts(self._db, query, self._notes(query)))

    def sample(self, sample_id: int) -> SampleDetail:
        """One sample with its requests, responses and scores."""
        row = self._db.execute(_SAMPLE, (sample_id,)).fetchone()
        requests = self._db.execute(
            """SELECT r.*, t.body, a.response, a.source FROM requests r LEFT JOIN texts t ON t.id = r.context_id
               LEFT JOIN responses a ON a.key = r.key WHERE r.sample_id = ? ORDER BY r.position, r.repeat""",
            (sample_id,),
        )
        return SampleDetail(
            row=_sample_row(row),
            doc=json.loads(row["doc"]),
            target=json.loads(row["target"]),
            choices=json.loads(row["choices"]),
            exchanges=[_exchange(r) for r in requests],
            scores=self._scores(sample_id),
            note=self.notes.get(row["model"], row["label"], row["doc_id"]),
            text=json.loads(row["text"]),
        )

    def errors(self) -> dict[str, int]:
        """By kind of error: how many samples it cost."""
        rows = self._db.execute(
            """SELECT json_extract(error, '$.kind'), count(*) FROM samples WHERE status = 'error'
               GROUP BY 1 ORDER BY 2 DESC"""
        )
        return {row[0]: row[1] for row in rows}

    def _notes(self, query: SampleQuery) -> Mapping[Place, Note]:
        return self.notes.all() if any(term.key == "label" for term in query.terms) else {}

    def error_kinds(self) -> list[ErrorKind]:
        """What went wrong, also with whole jobs and models, each kind with an example."""
        return error_kinds(self._db)

    def gauge_series(self, points: int) -> Mapping[str, Sequence[Point]]:
        """Measurements over the time of the run, by name, thinned out to so many points."""
        return gauge_series(self._db, points)

    def _scores(self, sample_id: int) -> list[ScoreRecord]:
        rows = self._db.execute("SELECT * FROM scores WHERE sample_id = ? ORDER BY rowid", (sample_id,))
        return [
            ScoreRecord(
                filter=r["filter"],
                filtered=json.loads(r["filtered"]),
                metrics=json.loads(r["metrics"]),
                extraction=r["extraction"],
                span=json.loads(r["span"]) if r["span"] else None,
                correct=None if r["correct"] is None else bool(r["correct"]),
            )
            for r in rows
        ]


def _job_view(row: sqlite3.Row, counts: Counts) -> JobView:
    plain = (
        *("id", "model", "label", "task", "alias", "num_fewshot", "output_type", "status", "n_docs_total", "n_docs"),
        *("task_hash", "prompt_hash"),
    )
    return JobView(
        **{name: row[name] for name in plain},
        **counts._asdict(),
        version=json_value(row["version"]),
        error=json.loads(row["error"]) if row["error"] else None,
        datasets=json_value(row["datasets"]),
        setting=json_value(row["setting"]),
        config=json_value(row["config"]),
        scoring=json_value(row["scoring"]),
    )


def _sample_row(row: sqlite3.Row) -> SampleRow:
    return SampleRow(
        id=row["id"],
        model=row["model"],
        label=row["label"],
        doc_id=row["doc_id"],
        status=row["status"],
        correct=None if row["correct"] is None else bool(row["correct"]),
        truncated=bool(row["truncated"]),
        refused=bool(row["refused"]),
        dropped=row["dropped"],
        no_match=bool(row["no_match"]),
        error=json.loads(row["error"]) if row["error"] else None,
    )


def _exchange(row: sqlite3.Row) -> Exchange:
    return Exchange(
        position=row["position"],
        repeat=row["repeat"],
        key=row["key"],
        request=request_from_row(row),
        response=response_value(row["response"]) if row["response"] else None,
        source=row["source"],
    )
