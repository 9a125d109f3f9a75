"""What the answers of a run took, summed in the database."""

from __future__ import annotations

import json
import sqlite3

from lmrun.store.records import Tokens

_DROPPED = "tokens_of_dropped_errors"
"""Fact of the run: by model, what those answers took that were errors and were asked again."""
TOKEN_SUMS = ", ".join(
    f"coalesce(sum(json_extract(a.response, '$.{name}_tokens')), 0)"
    for name in ("prompt", "cached", "completion", "reasoning")
)
"""Of ``responses a``: the fields of ``Tokens``."""
ASKED = "a.source IN ('computed', 'error')"
"""What the cache answered took none."""


def tokens_by_model(db: sqlite3.Connection) -> dict[str, Tokens]:
    """Tokens of what each model was asked for in this run; answers from the cache cost nothing."""
    found = {name: Tokens() for (name,) in db.execute("SELECT name FROM models ORDER BY id")}
    changing = f"{ASKED} AND a.job_id IN (SELECT id FROM jobs EXCEPT SELECT job_id FROM job_counts)"
    for source in (_dropped(db), _recorded(db), _sums(db, changing)):
        for name, tokens in source.items():
            found[name] += tokens
    return found


def keep_tokens_of_errors(db: sqlite3.Connection, keys: str, job_id: int) -> None:
    """Remember what the errors took that are about to be dropped; ``keys`` selects them."""
    dropped = _dropped(db)
    for name, tokens in _sums(db, f"a.source = 'error' AND a.key IN ({keys})", job_id).items():
        dropped[name] = dropped.get(name, Tokens()) + tokens
    kept = json.dumps({name: tokens._asdict() for name, tokens in dropped.items() if tokens.total})
    db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (_DROPPED, kept))


def _dropped(db: sqlite3.Connection) -> dict[str, Tokens]:
    row = db.execute("SELECT value FROM run WHERE name = ?", (_DROPPED,)).fetchone()
    return {name: Tokens(**counts) for name, counts in json.loads(row[0]).items()} if row else {}


def _recorded(db: sqlite3.Connection) -> dict[str, Tokens]:
    sums = ", ".join(f"sum(c.{name}_tokens)" for name in Tokens._fields)
    rows = db.execute(
        f"""SELECT m.name, {sums} FROM job_counts c JOIN jobs j ON j.id = c.job_id JOIN models m ON m.id = j.model_id
            GROUP BY m.id"""
    )
    return {model: Tokens(*counts) for model, *counts in rows}


def _sums(db: sqlite3.Connection, which: str, *values: int) -> dict[str, Tokens]:
    rows = db.execute(
        f"""SELECT m.name, {TOKEN_SUMS} FROM responses a JOIN jobs j ON j.id = a.job_id
            JOIN models m ON m.id = j.model_id WHERE {which} GROUP BY m.id""",
        values,
    )
    return {model: Tokens(*counts) for model, *counts in rows}


def unanswered(db: sqlite3.Connection) -> int:
    """How many distinct requests of a run have no answer yet."""
    statement = "SELECT count(DISTINCT r.key) FROM requests r WHERE r.key NOT IN (SELECT key FROM responses)"
    return int(db.execute(statement).fetchone()[0])
