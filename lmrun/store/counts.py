"""The counts of a job: recorded when it is scored, so that nobody counts a million rows; counted while it changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from lmrun.store.usage import ASKED, TOKEN_SUMS

_SAMPLES = """
    SELECT count(*) FILTER (WHERE status = 'scored'), count(*) FILTER (WHERE status = 'error'),
      count(*) FILTER (WHERE status = 'skipped'), count(*) FILTER (WHERE truncated),
      count(*) FILTER (WHERE refused), count(*) FILTER (WHERE dropped > 0)
    FROM samples WHERE job_id = ?"""
_RESPONSES = "SELECT count(*), count(*) FILTER (WHERE source = 'cache') FROM responses WHERE job_id = ?"


class Counts(NamedTuple):
    """Of the samples of a job, and of the requests that it asked first."""

    n_scored: int
    n_errors: int
    n_skipped: int
    n_truncated: int
    n_refused: int
    n_dropped: int
    requests: int
    cache_hits: int


def job_counts(db: sqlite3.Connection) -> dict[int, Counts]:
    """By job, in the order of the plan."""
    jobs = db.execute("SELECT id FROM jobs ORDER BY id").fetchall()
    return {job_id: counts_of(db, job_id) for (job_id,) in jobs}


def counts_of(db: sqlite3.Connection, job_id: int) -> Counts:
    """As recorded, or as they are now."""
    names = ", ".join(Counts._fields)
    recorded = db.execute(f"SELECT {names} FROM job_counts WHERE job_id = ?", (job_id,)).fetchone()
    return Counts(*recorded) if recorded else _count(db, job_id)


def record_counts(db: sqlite3.Connection, job_id: int) -> None:
    """Count a job, and its tokens, once and for all: until it changes."""
    tokens = db.execute(f"SELECT {TOKEN_SUMS} FROM responses a WHERE a.job_id = ? AND {ASKED}", (job_id,)).fetchone()
    row = (job_id, *_count(db, job_id), *tokens)
    db.execute(f"INSERT OR REPLACE INTO job_counts VALUES ({', '.join('?' * len(row))})", row)


def forget_counts(db: sqlite3.Connection, job_ids: Iterable[int]) -> None:
    """What is recorded of these jobs does not hold any more."""
    db.executemany("DELETE FROM job_counts WHERE job_id = ?", [(job_id,) for job_id in set(job_ids)])


def _count(db: sqlite3.Connection, job_id: int) -> Counts:
    return Counts(*db.execute(_SAMPLES, (job_id,)).fetchone(), *db.execute(_RESPONSES, (job_id,)).fetchone())
