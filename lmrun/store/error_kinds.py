"""Errors of a run by kind, in an open ``run.db``: of samples, of answers not scored yet, of jobs and models."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """What went wrong in one way."""

    what: Literal["sample", "request", "job", "model"]
    """What has the error. Of a job that is not scored yet, only its requests are known."""
    kind: str
    count: int
    message: str
    """Of one of them."""
    jobs: Sequence[str]
    """Labels, or names of models."""
    hint: str = ""


def error_kinds(db: sqlite3.Connection) -> list[ErrorKind]:
    """What went wrong, whole models first, then what cost most."""
    return [*_failed(db), *sorted(_of_samples(db), key=lambda found: -found.count)]


def _of_samples(db: sqlite3.Connection) -> list[ErrorKind]:
    found = []
    for what, statement in (
        (
            "sample",
            """SELECT json_extract(s.error, '$.kind'), count(*), min(json_extract(s.error, '$.message')),
                      json_group_array(DISTINCT j.label)
               FROM jobs j JOIN samples s ON s.job_id = j.id AND s.status = 'error' GROUP BY 1""",
        ),
        (
            "request",
            """SELECT json_extract(a.response, '$.error.kind'), count(*),
                      min(json_extract(a.response, '$.error.message')), json_group_array(DISTINCT j.label)
               FROM responses a JOIN jobs j ON j.id = a.job_id
               WHERE a.source = 'error' AND j.status != 'scored' GROUP BY 1""",
        ),
    ):
        for kind, count, message, jobs in db.execute(statement):
            found.append(ErrorKind(what, kind or "", count, message or "", json.loads(jobs)))  # type: ignore[arg-type]
    return found


def _failed(db: sqlite3.Connection) -> list[ErrorKind]:
    found: dict[tuple[str, str], ErrorKind] = {}
    for what, statement in (
        ("model", "SELECT name, error FROM models WHERE error IS NOT NULL ORDER BY id"),
        ("job", "SELECT label, error FROM jobs WHERE error IS NOT NULL ORDER BY id"),
    ):
        for name, text in db.execute(statement):
            error = json.loads(text)
            message = str(error.get("message") or "")
            same = found.get((what, message))
            found[what, message] = (
                replace(same, count=same.count + 1, jobs=[*same.jobs, name])
                if same
                else ErrorKind(what, error.get("kind") or "", 1, message, [name], error.get("hint") or "")  # type: ignore[arg-type]
            )
    return list(found.values())
