"""Labels and notes that people put to samples: beside the run's own database, so that no scoring touches them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeAlias

from lmrun.store.connect import connect, connect_readonly, transaction
from lmrun.store.runs import RunDirectory

_MIGRATIONS = (
    """
    CREATE TABLE notes (
        model TEXT NOT NULL,
        label TEXT NOT NULL,                           -- of the job
        doc_id INTEGER NOT NULL,
        mark TEXT NOT NULL,                            -- a word or two: bug, ambiguous, wrong gold …
        text TEXT NOT NULL,
        changed REAL NOT NULL,                         -- Unix seconds
        PRIMARY KEY (model, label, doc_id)
    ) WITHOUT ROWID
    """,
)

Place: TypeAlias = tuple[str, str, int]
"""Model, label of the job and doc: what a sample is called, however often it is scored."""


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody has to say of a sample."""

    mark: str
    """A word or two, to find it by: the label."""
    text: str = ""
    changed: float = 0.0
    """Unix seconds."""


class Notes:
    """The notes of a run. Nothing is held open, so that every thread may use them."""

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.notes

    def get(self, model: str, label: str, doc_id: int) -> Note | None:
        """The note of a sample."""
        return self._read(" WHERE model = ? AND label = ? AND doc_id = ?", model, label, doc_id).get(
            (model, label, doc_id)
        )

    def all(self) -> dict[Place, Note]:
        """Every note, by sample in the order of their names."""
        return self._read("")

    def set(self, model: str, label: str, doc_id: int, mark: str, text: str = "") -> None:
        """Put a note to a sample in place of an earlier one; without label and text there is none any more."""
        db = connect(self._path, _MIGRATIONS)
        try:
            with transaction(db):
                db.execute("DELETE FROM notes WHERE model = ? AND label = ? AND doc_id = ?", (model, label, doc_id))
                if mark or text:
                    db.execute(
                        "INSERT INTO notes VALUES (?, ?, ?, ?, ?, ?)", (model, label, doc_id, mark, text, time.time())
                    )
        finally:
            db.close()

    def _read(self, where: str, *values: object) -> dict[Place, Note]:
        if not self._path.exists():
            return {}
        db = connect_readonly(self._path, _MIGRATIONS)
        try:
            columns = "model, label, doc_id, mark, text, changed"
            rows = db.execute(f"SELECT {columns} FROM notes{where} ORDER BY model, label, doc_id", values).fetchall()
        finally:
            db.close()
        return {(row["model"], row["label"], row["doc_id"]): Note(*row[3:]) for row in rows}
