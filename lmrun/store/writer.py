"""The run store, written by the one engine that works on the run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from lmrun.requests import Request, context_as_json
from lmrun.store import overlaps
from lmrun.store.connect import connect, transaction
from lmrun.store.counts import Counts, counts_of, forget_counts, record_counts
from lmrun.store.queue import Queue
from lmrun.store.records import (
    AnsweredSample,
    DecontaminationRecord,
    JobRecord,
    JobStatus,
    MetricRecord,
    ModelStatus,
    SampleOutcome,
    SampleRecord,
    ScoreRecord,
    Source,
    Subset,
    Tokens,
)
from lmrun.store.rows import answered_sample, extraction_counts, metric_records, metric_row, to_json
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import MIGRATIONS
from lmrun.store.usage import keep_tokens_of_errors, tokens_by_model

_PAGE = 500
"""Samples read at a time."""


class RunStore:
    """An open ``run.db``. Every method that writes is one transaction: done, or not done at all."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._db = connect(run.database, MIGRATIONS)
        self.queue = Queue(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- facts of the run ----------------------------------------------------------------------------------------------

    def set_info(self, **values: Any) -> None:
        """Record facts of the run by name."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO run VALUES (?, ?)", [(name, to_json(value)) for name, value in values.items()]
            )

    def info(self) -> dict[str, Any]:
        """All facts of the run."""
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM run")}

    def event(self, level: str, event: str, **fields: Any) -> None:
        """Record something that happened, for the faces."""
        self._db.execute(
            "INSERT INTO events (time, level, event, fields) VALUES (?, ?, ?, ?)",
            (time.time(), level, event, to_json(fields)),
        )

    def gauge(self, at: float, values: Mapping[str, float]) -> None:
        """Record what was measured at a time, by name."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO gauges VALUES (?, ?, ?)", [(at, name, value) for name, value in values.items()]
            )

    # -- the plan ------------------------------------------------------------------------------------------------------

    def add_model(self, name: str, backend: str, model: str, fingerprint: str, facts: Mapping[str, Any]) -> int:
        """Record a model, once; returns its id."""
        self._db.execute(
            "INSERT OR IGNORE INTO models (name, backend, model, fingerprint, facts) VALUES (?, ?, ?, ?, ?)",
            (name, backend, model, fingerprint, to_json(dict(facts))),
        )
        return int(self._db.execute("SELECT id FROM models WHERE name = ?", (name,)).fetchone()[0])

    def set_model(self, model_id: int, status: ModelStatus, error: Mapping[str, str | None] | None = None) -> None:
        """Record how far a model is."""
        self._db.execute(
            "UPDATE models SET status = ?, error = ? WHERE id = ?",
            (status, to_json(error) if error else None, model_id),
        )

    def add_job(self, model_id: int, job: JobRecord) -> tuple[int, JobStatus]:
        """Record a job, once; returns its id and how far it is."""
        values = {
            "model_id": model_id,
            "label": job.label,
            "task": job.task,
            "alias": job.alias,
            "version": to_json(job.version),
            "num_fewshot": job.num_fewshot,
            "output_type": job.output_type,
            "setting": to_json(dict(job.setting)),
            "config": to_json(dict(job.config)),
            "scoring": to_json(dict(job.scoring)),
            "task_hash": job.task_hash,
            "datasets": to_json(dict(job.datasets)),
            "n_docs_total": job.n_docs_total,
            "n_docs": job.n_docs,
        }
        columns, slots = ", ".join(values), ", ".join(f":{name}" for name in values)
        self._db.execute(f"INSERT OR IGNORE INTO jobs ({columns}) VALUES ({slots})", values)
        row = self._db.execute(
            "SELECT id, status FROM jobs WHERE model_id = ? AND label = ?", (model_id, job.label)
        ).fetchone()
        return int(row["id"]), row["status"]

    def set_job(self, job_id: int, status: JobStatus, error: Mapping[str, str | None] | None = None) -> None:
        """Record how far a job is."""
        self._db.execute(
            "UPDATE jobs SET status = ?, error = ? WHERE id = ?", (status, to_json(error) if error else None, job_id)
        )

    def prompt_hash(self, label: str) -> str | None:
        """Hash over all prompts of a job, whatever the model; None before it is rendered."""
        row = self._db.execute("SELECT prompt_hash FROM jobs WHERE label = ? ORDER BY id", (label,)).fetchone()
        return row[0] if row else None

    def add_group(self, model_id: int, label: str, position: int, spec: Mapping[str, Any]) -> None:
        """Record a group whose value is computed from this run's jobs."""
        self._db.execute(
            "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?)", (model_id, label, position, to_json(dict(spec)))
        )

    # -- rendering -----------------------------------------------------------------------------------------------------

    def clear_samples(self, job_id: int) -> None:
        """Forget the samples of a job whose rendering was cut short."""
        with transaction(self._db):
            self._db.execute(
                "DELETE FROM requests WHERE sample_id IN (SELECT id FROM samples WHERE job_id = ?)", (job_id,)
            )
            self._db.execute("DELETE FROM samples WHERE job_id = ?", (job_id,))

    def add_samples(self, job_id: int, samples: Iterable[SampleRecord]) -> None:
        """Store rendered docs with their requests."""
        with transaction(self._db):
            for sample in samples:
                cursor = self._db.execute(
                    """INSERT INTO samples (job_id, doc_id, doc, target, text, choices, status, error)
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                    (
                        job_id,
                        sample.doc_id,
                        to_json(dict(sample.doc)),
                        to_json(sample.target),
                        to_json(sample.text),
                        to_json(sample.choices),
                        "error" if sample.error else "pending",
                        to_json(sample.error) if sample.error else None,
                    ),
                )
                self._add_requests(int(cursor.lastrowid or 0), sample.requests)

    def _add_requests(self, sample_id: int, requests: Sequence[tuple[int, int, str, Request]]) -> None:
        rows = []
        context_ids: dict[int, int] = {}  # the choices of a doc share one context object
        for position, repeat, key, request in requests:
            is_chat = not isinstance(request.context, str)
            if id(request.context) not in context_ids:
                body = to_json(context_as_json(request.context)) if is_chat else str(request.context)
                context_ids[id(request.context)] = self._text_id(body)
            rows.append(
                (
                    sample_id,
                    position,
                    repeat,
                    key,
                    request.kind,
                    context_ids[id(request.context)],
                    is_chat,
                    request.continuation,
                    to_json(dict(request.generation)),
                    request.seed,
                )
            )
        self._db.executemany("INSERT INTO requests VALUES (?,?,?,?,?,?,?,?,?,?)", rows)

    def _text_id(self, body: str) -> int:
        digest = hashlib.blake2b(body.encode(), digest_size=16).digest()
        self._db.execute("INSERT OR IGNORE INTO texts (hash, body) VALUES (?, ?)", (digest, body))
        return int(self._db.execute("SELECT id FROM texts WHERE hash = ?", (digest,)).fetchone()[0])

    def finish_rendering(self, job_id: int, prompt_hash: str) -> None:
        """All docs of the job are stored."""
        self._db.execute("UPDATE jobs SET status = 'rendered', prompt_hash = ? WHERE id = ?", (prompt_hash, job_id))

    # -- answering -----------------------------------------------------------------------------------------------------

    def unanswered_keys(self, job_id: int) -> Iterator[list[str]]:
        """Content keys of the job's requests that no response in this run answers, page by page."""
        first, last = self._db.execute("SELECT min(id), max(id) FROM samples WHERE job_id = ?", (job_id,)).fetchone()
        for start in range(first or 0, (last or -1) + 1, _PAGE):
            rows = self._db.execute(
                """SELECT DISTINCT r.key FROM requests r JOIN samples s ON s.id = r.sample_id
                   LEFT JOIN responses a ON a.key = r.key
                   WHERE s.job_id = ? AND s.id >= ? AND s.id < ? AND a.key IS NULL""",
                (job_id, start, start + _PAGE),
            ).fetchall()
            if rows:
                yield [row[0] for row in rows]

    def add_responses(self, answers: Iterable[tuple[str, int, Source, str]]) -> None:
        """Make answers durable: (key, job that asked, source, response as JSON text)."""
        now = time.time()
        rows = [(*answer, now) for answer in answers]
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)", rows)
            forget_counts(self._db, (job_id for _, job_id, *_ in rows))

    def doubt(self, keys: Sequence[str], kind: str) -> list[str]:
        """Where a sample of ``keys`` has an error of ``kind``, give that error to all its requests.

        Returns the keys of those that had an answer.
        """
        doubted = """SELECT mine.sample_id, min(json_extract(p.response, '$.error')) AS error
                       FROM requests mine JOIN requests other USING (sample_id) JOIN responses p ON p.key = other.key
                      WHERE mine.key IN (SELECT value FROM json_each(:keys))
                        AND p.source = 'error' AND json_extract(p.response, '$.error.kind') = :kind
                      GROUP BY mine.sample_id"""
        with transaction(self._db):
            rows = self._db.execute(
                f"""WITH doubted AS ({doubted})
                    UPDATE responses SET source = 'error', response = json_patch(response, json_object(
                        'error', json(doubted.error), 'logprob', NULL, 'is_greedy', NULL))
                      FROM doubted JOIN requests USING (sample_id)
                     WHERE responses.key = requests.key AND responses.source != 'error'
                     RETURNING responses.key, responses.job_id""",
                {"keys": json.dumps(list(keys)), "kind": kind},
            ).fetchall()
            forget_counts(self._db, (job_id for _, job_id in rows))
        return [key for key, _ in rows]

    def add_hits(self, job_id: int, hits: Iterable[tuple[str, str]]) -> None:
        """Store the cache's answers."""
        now = time.time()
        rows = [(key, job_id, "cache", body, now) for key, body in hits]
        with transaction(self._db):
            self._db.executemany("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?)", rows)
            forget_counts(self._db, [job_id])

    def computed(self, job_id: int) -> Iterator[list[tuple[str, str, str]]]:
        """Answers that this job computed (key, kind of request, response as JSON text), page by page."""
        last = 0
        while rows := self._db.execute(
            """SELECT a.rowid, a.key, (SELECT kind FROM requests r WHERE r.key = a.key LIMIT 1), a.response
               FROM responses a WHERE a.job_id = ? AND a.source = 'computed' AND a.rowid > ?
               ORDER BY a.rowid LIMIT ?""",
            (job_id, last, _PAGE),
        ).fetchall():
            yield [(key, kind, body) for _, key, kind, body in rows]
            last = rows[-1][0]

    def tokens(self) -> dict[str, Tokens]:
        """By model, the tokens of what this run asked; what the cache answered took none."""
        return tokens_by_model(self._db)

    def counts(self, job_id: int) -> Counts:
        """How the samples of a job ended, and where its answers came from."""
        return counts_of(self._db, job_id)

    def extractions(self, job_id: int) -> dict[str, dict[str, int]]:
        """By filter that extracts: how many samples have which status."""
        return extraction_counts(self._db, job_id)

    def reopen_errors(self, job_id: int) -> bool:
        """Drop the errors of a job so that they are asked again, whichever job asked first; False if there are none.

        Docs that could not be rendered stay errors: they have nothing to ask.
        """
        failed = """SELECT r.key FROM requests r JOIN samples s ON s.id = r.sample_id
                    WHERE s.job_id = ? AND (s.status = 'error' OR r.key IN
                      (SELECT key FROM responses WHERE source = 'error'))"""
        with transaction(self._db):
            if not self._db.execute(f"{failed} LIMIT 1", (job_id,)).fetchone():
                return False
            keep_tokens_of_errors(self._db, failed, job_id)
            dropped = self._db.execute(
                f"DELETE FROM responses WHERE source = 'error' AND key IN ({failed}) RETURNING job_id", (job_id,)
            ).fetchall()
            forget_counts(self._db, [job_id, *(first for (first,) in dropped)])
            self._db.execute("UPDATE jobs SET status = 'looked_up' WHERE id = ?", (job_id,))
        return True

    # -- scoring -------------------------------------------------------------------------------------------------------

    def answered_samples(self, job_id: int) -> Iterator[AnsweredSample]:
        """Samples of a job in doc order with all their responses, read page by page: writes may come in between."""
        last = -1
        while True:
            rows = self._db.execute(
                """SELECT s.*, r.position, r.repeat, a.response
                   FROM (SELECT * FROM samples WHERE job_id = ? AND doc_id > ? ORDER BY doc_id LIMIT ?) s
                   LEFT JOIN requests r ON r.sample_id = s.id LEFT JOIN responses a ON a.key = r.key
                   ORDER BY s.doc_id, r.position, r.repeat""",
                (job_id, last, _PAGE),
            ).fetchall()
            if not rows:
                return
            last = rows[-1]["doc_id"]
            for _, group in groupby(rows, key=lambda row: row["id"]):
                yield answered_sample(list(group))

    def write_outcomes(self, job_id: int, outcomes: Iterable[SampleOutcome]) -> None:
        """Store the scores of samples of a job, replacing earlier ones."""
        kept = list(outcomes)
        ended = [_outcome_row(outcome) for outcome in kept]
        scores = [_score_row(outcome.sample_id, score) for outcome in kept for score in outcome.scores]
        with transaction(self._db):
            forget_counts(self._db, [job_id])
            self._db.executemany("DELETE FROM scores WHERE sample_id = ?", [(row[-1],) for row in ended])
            self._db.executemany(
                """UPDATE samples SET status = ?, correct = ?, truncated = ?, refused = ?, dropped = ?, no_match = ?,
                     error = ? WHERE id = ?""",
                ended,
            )
            self._db.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)", scores)

    def metrics(self, job_id: int) -> list[MetricRecord]:
        """Aggregated metrics of a job, in the order of its task."""
        return metric_records(self._db, job_id)

    def add_decontamination(self, found: Mapping[str, DecontaminationRecord]) -> None:
        """Record which docs overlap with the corpora, by label of the job."""
        with transaction(self._db):
            overlaps.write_decontamination(self._db, found)

    def is_decontaminated(self) -> bool:
        """Whether that is recorded."""
        return bool(overlaps.decontamination(self._db))

    def dirty_docs(self, job_id: int) -> frozenset[int] | None:
        """Ids of the docs of a job that overlap with a corpus; None where they were not looked for."""
        return overlaps.dirty_docs(self._db, job_id)

    def finish_scoring(
        self,
        job_id: int,
        metrics: Sequence[MetricRecord],
        subsets: Mapping[Subset, Sequence[MetricRecord]],
        scoring: Mapping[str, Any],
    ) -> None:
        """Replace the job's aggregated metrics, and record how they were scored."""
        rows = [(job_id, *metric_row(position, metric)) for position, metric in enumerate(metrics)]
        with transaction(self._db):
            self._db.execute("DELETE FROM metrics WHERE job_id = ?", (job_id,))
            self._db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            overlaps.write_subset_metrics(self._db, job_id, subsets)
            self._db.execute(
                "UPDATE jobs SET status = 'scored', error = NULL, scoring = ? WHERE id = ?",
                (to_json(dict(scoring)), job_id),
            )
            record_counts(self._db, job_id)


def _outcome_row(outcome: SampleOutcome) -> tuple[Any, ...]:
    return (
        "error" if outcome.error else "skipped" if outcome.skipped else "scored",
        outcome.correct,
        outcome.truncated,
        outcome.refused,
        outcome.dropped,
        outcome.no_match,
        to_json(outcome.error) if outcome.error else None,
        outcome.sample_id,
    )


def _score_row(sample_id: int, score: ScoreRecord) -> tuple[Any, ...]:
    return (
        sample_id,
        score.filter,
        to_json(score.filtered),
        to_json(dict(score.metrics)),
        score.extraction,
        to_json(score.span) if score.span else None,
        score.correct,
    )
