"""Overlaps of docs with corpora, and the metrics of the clean and the dirty docs, in an open ``run.db``."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from lmrun.store.records import DecontaminationRecord, MetricRecord, OverlapRecord, Subset
from lmrun.store.rows import metric_from_row, metric_row


def write_decontamination(db: sqlite3.Connection, found: Mapping[str, DecontaminationRecord]) -> None:
    """Store what was found, by label of the job. The caller holds the transaction."""
    for label, record in found.items():
        head = (label, record.ngram, record.docs, record.short)
        db.execute("INSERT OR REPLACE INTO decontamination VALUES (?, ?, ?, ?)", head)
        db.execute("DELETE FROM overlaps WHERE label = ?", (label,))
        rows = [(label, o.doc_id, o.ngram, o.place, o.documents, o.ngrams) for o in record.overlaps]
        db.executemany("INSERT INTO overlaps VALUES (?, ?, ?, ?, ?, ?)", rows)


def decontamination(db: sqlite3.Connection) -> dict[str, DecontaminationRecord]:
    """What was found, by label of the job; empty where nothing was looked for."""
    overlaps: dict[str, list[OverlapRecord]] = {}
    for label, *rest in db.execute("SELECT * FROM overlaps ORDER BY label, doc_id"):
        overlaps.setdefault(label, []).append(OverlapRecord(*rest))
    heads = db.execute("SELECT label, ngram, docs, short FROM decontamination ORDER BY rowid")
    return {
        label: DecontaminationRecord(ngram, docs, short, overlaps.get(label, [])) for label, ngram, docs, short in heads
    }


def dirty_docs(db: sqlite3.Connection, job_id: int) -> frozenset[int] | None:
    """Ids of the docs of a job that overlap with a corpus; None where they were not looked for."""
    label = db.execute("SELECT label FROM jobs WHERE id = ?", (job_id,)).fetchone()[0]
    if not db.execute("SELECT 1 FROM decontamination WHERE label = ?", (label,)).fetchone():
        return None
    return frozenset(row[0] for row in db.execute("SELECT doc_id FROM overlaps WHERE label = ?", (label,)))


def write_subset_metrics(db: sqlite3.Connection, job_id: int, subsets: Mapping[Subset, Sequence[MetricRecord]]) -> None:
    """Replace the metrics of a job's clean and dirty docs. The caller holds the transaction."""
    db.execute("DELETE FROM subset_metrics WHERE job_id = ?", (job_id,))
    rows = [
        (job_id, subset, *metric_row(position, metric))
        for subset, metrics in subsets.items()
        for position, metric in enumerate(metrics)
    ]
    db.executemany("INSERT INTO subset_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def subset_metrics(db: sqlite3.Connection, job_id: int) -> dict[tuple[str, str], dict[Subset, MetricRecord]]:
    """By (metric, filter) the values of the clean and of the dirty docs, where there are such docs."""
    found: dict[tuple[str, str], dict[Subset, MetricRecord]] = {}
    for row in db.execute("SELECT * FROM subset_metrics WHERE job_id = ? ORDER BY subset, position", (job_id,)):
        metric = metric_from_row(row)
        found.setdefault((metric.metric, metric.filter), {})[row["subset"]] = metric
    return found
