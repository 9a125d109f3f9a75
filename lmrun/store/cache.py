"""The request cache: answers by content key, shared by all runs that name the same file.

A key stands for everything that can change the answer (:func:`lmrun.requests.content_key`), so an entry is never stale
and never another model's. Errors are never stored.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.store.connect import connect, transaction
from lmrun.store.rows import response_value

MIGRATIONS = (
    """
    CREATE TABLE models (fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, facts TEXT NOT NULL, created REAL NOT NULL);
    CREATE TABLE responses (
        key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, kind TEXT NOT NULL,
        response TEXT NOT NULL, created REAL NOT NULL
    );
    CREATE INDEX responses_by_model ON responses (fingerprint, created)
    """,
)
_LOOKUP = 2_000
"""Keys per look-up statement: one round trip for many keys, yet a bounded parameter."""


@dataclass(frozen=True, slots=True)
class CacheRow:
    """What the cache holds of one model and one kind of request."""

    fingerprint: str
    model: str
    kind: str
    responses: int
    bytes: int
    oldest: float
    newest: float


class Cache:
    """An open cache file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect(path, MIGRATIONS)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def remember_model(self, fingerprint: str, name: str, facts: Mapping[str, Any]) -> None:
        """Note what a fingerprint stands for, so that the cache can be read by people."""
        self._db.execute(
            "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?)",
            (fingerprint, name, json.dumps(dict(facts)), time.time()),
        )

    def get(self, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The answers that are known among ``keys``, as JSON text, in no particular order."""
        for start in range(0, len(keys), _LOOKUP):
            rows = self._db.execute(
                "SELECT key, response FROM responses WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(keys[start : start + _LOOKUP]),),
            )
            for key, body in rows:
                with suppress(ValueError, TypeError):  # a damaged entry is asked again; `verify` names it
                    response_value(body)
                    yield key, body

    def known(self, keys: Sequence[str]) -> set[str]:
        """Which of ``keys`` have an answer."""
        found: set[str] = set()
        for start in range(0, len(keys), _LOOKUP):
            rows = self._db.execute(
                "SELECT key FROM responses WHERE key IN (SELECT value FROM json_each(?)) AND json_valid(response)",
                (json.dumps(keys[start : start + _LOOKUP]),),
            )
            found.update(row[0] for row in rows)
        return found

    def put(self, fingerprint: str, answers: Iterable[tuple[str, str, str]]) -> None:
        """Store answers (key, kind of request, response as JSON text) in one transaction. None may be an error."""
        now = time.time()
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?)",
                [(key, fingerprint, kind, body, now) for key, kind, body in answers],
            )

    def forget(self, keys: Sequence[str]) -> None:
        """Delete answers that turned out to be none."""
        with transaction(self._db):
            self._db.executemany("DELETE FROM responses WHERE key = ?", [(key,) for key in keys])

    def stats(self) -> list[CacheRow]:
        """What is stored, by model and kind."""
        rows = self._db.execute(
            """SELECT r.fingerprint, coalesce(m.name, '?'), r.kind, count(*), sum(length(r.response)),
                      min(r.created), max(r.created)
               FROM responses r LEFT JOIN models m USING (fingerprint)
               GROUP BY r.fingerprint, r.kind ORDER BY 2, 1, 3"""
        )
        return [CacheRow(*row) for row in rows]

    def verify(self) -> list[str]:
        """Everything that is wrong with the file; empty when it is sound."""
        try:
            problems = [row[0] for row in self._db.execute("PRAGMA integrity_check") if row[0] != "ok"]
            entries = self._db.execute("SELECT key, response FROM responses").fetchall()
        except sqlite3.DatabaseError as error:
            return [f"the file is damaged: {error}"]
        for key, body in entries:
            try:
                response = response_value(body)
            except (ValueError, TypeError) as error:
                problems.append(f"{key}: unreadable response: {error}")
                continue
            if response.error is not None or (
                response.text is None and response.logprob is None and not response.skipped
            ):
                problems.append(f"{key}: holds no answer")
        return problems

    def prune(self, *, older_than: float | None = None, model: str | None = None) -> int:
        """Delete entries created before ``older_than`` (Unix seconds) and/or of ``model`` (label or fingerprint).

        Returns how many were deleted; gives the space back to the disk.
        """
        conditions, values = ["1"], []
        if older_than is not None:
            conditions.append("created < ?")
            values.append(older_than)
        if model is not None:
            conditions.append("fingerprint IN (SELECT fingerprint FROM models WHERE name = ? OR fingerprint = ?)")
            values.extend([model, model])  # type: ignore[list-item]
        deleted = self._db.execute(f"DELETE FROM responses WHERE {' AND '.join(conditions)}", values).rowcount
        self._db.execute("DELETE FROM models WHERE fingerprint NOT IN (SELECT fingerprint FROM responses)")
        self._db.execute("VACUUM")
        return deleted
