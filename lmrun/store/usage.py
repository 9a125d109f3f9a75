"""What the answers of a run took, summed in the database."""

from __future__ import annotations

import sqlite3

from lmrun.store.records import Tokens


def tokens_by_model(db: sqlite3.Connection) -> dict[str, Tokens]:
    """Tokens of the answers that each model was asked for in this run; those from the cache cost nothing."""
    sums = ", ".join(
        f"coalesce(sum(json_extract(a.response, '$.{name}_tokens')), 0) AS {name}"
        for name in ("prompt", "cached", "completion", "reasoning")
    )
    rows = db.execute(
        f"""SELECT m.name AS model, json_extract(a.response, '$.logprob') IS NOT NULL AS scored, {sums}
            FROM models m LEFT JOIN jobs j ON j.model_id = m.id
            LEFT JOIN responses a ON a.job_id = j.id AND a.source IN ('computed', 'error')
            GROUP BY m.id, scored ORDER BY m.id"""
    )
    found: dict[str, Tokens] = {}
    for model, scored, prompt, cached, completion, reasoning in rows:
        # As in Tokens.of: a token that is scored is part of the prompt.
        tokens = Tokens(prompt + completion, cached) if scored else Tokens(prompt, cached, completion, reasoning)
        found[model] = found.get(model, Tokens()) + tokens
    return found


def unanswered(db: sqlite3.Connection) -> int:
    """How many distinct requests of a run have no answer yet."""
    statement = "SELECT count(DISTINCT r.key) FROM requests r WHERE r.key NOT IN (SELECT key FROM responses)"
    return int(db.execute(statement).fetchone()[0])
