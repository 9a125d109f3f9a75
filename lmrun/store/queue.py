"""What is still to be asked: a temporary table of the run store, so that no list of all requests is held in memory."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, NamedTuple, overload

from lmrun.requests import Request, RequestKind
from lmrun.store.rows import REQUEST_COLUMNS, json_value, request_of, to_json

_PAGE = 200
"""Requests read at a time."""
_CHARACTERS_PER_TOKEN = 4
_GENERATED_TOKEN_COST = 10
"""A generated token costs about this many prompt tokens of time; only the forecast depends on it."""

_MOST_TOKENS = 1 << 20
"""No answer is thought to be longer, whatever it may be."""

_TABLE = """
    CREATE TEMP TABLE queue (
        place INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        job_id INTEGER NOT NULL,
        sample_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        repeat INTEGER NOT NULL,
        kind TEXT NOT NULL,
        cost INTEGER NOT NULL,
        answered INTEGER NOT NULL
    )"""
_ADD = f"""
    INSERT OR IGNORE INTO queue (key, job_id, sample_id, position, repeat, kind, cost, answered)
    SELECT r.key, s.job_id, s.id, r.position, r.repeat, r.kind,
      max(1, CASE WHEN r.context_id = before.context_id THEN 0 ELSE max(0, coalesce(length(t.body), 0) - :shared) END
        + length(r.continuation) + CASE r.kind WHEN 'generate_until'
        THEN {_CHARACTERS_PER_TOKEN * _GENERATED_TOKEN_COST} * min({_MOST_TOKENS}, CAST(coalesce(
          json_extract(r.generation, '$.max_gen_toks'), json_extract(r.generation, '$.max_new_tokens'), 256)
          AS INTEGER)) ELSE 0 END),
      a.key IS NOT NULL
    FROM samples s JOIN requests r ON r.sample_id = s.id LEFT JOIN texts t ON t.id = r.context_id
    LEFT JOIN responses a ON a.key = r.key
    LEFT JOIN requests before ON before.sample_id = r.sample_id
      AND before.position = r.position - (r.repeat = 0) AND before.repeat = max(0, r.repeat - 1)
    WHERE s.job_id = :job AND (a.key IS NULL OR (:computed AND a.job_id = :job AND a.source = 'computed'))
    ORDER BY s.doc_id, r.position, r.repeat"""
_FIRST_CONTEXTS = f"""
    SELECT min(body), max(body) FROM (
      SELECT t.body FROM samples s JOIN requests r ON r.sample_id = s.id AND r.position = 0 AND r.repeat = 0
      JOIN texts t ON t.id = r.context_id WHERE s.job_id = ? ORDER BY s.doc_id LIMIT {_PAGE})"""
_READ = f"""
    SELECT q.place, q.answered, q.key, q.job_id, q.kind, q.cost, {REQUEST_COLUMNS}
    FROM queue q JOIN requests r ON r.sample_id = q.sample_id AND r.position = q.position AND r.repeat = q.repeat
    LEFT JOIN texts t ON t.id = r.context_id"""

_UPCOMING = f"""
    SELECT {REQUEST_COLUMNS} FROM samples s JOIN requests r ON r.sample_id = s.id
    LEFT JOIN texts t ON t.id = r.context_id LEFT JOIN responses a ON a.key = r.key
    WHERE s.job_id = ? AND s.doc_id BETWEEN ? AND ? AND a.key IS NULL ORDER BY s.doc_id, r.position, r.repeat"""
_DOCS = f"""
    SELECT min(doc_id), max(doc_id) FROM (
      SELECT doc_id FROM samples WHERE job_id = ? AND doc_id > ? ORDER BY doc_id LIMIT {_PAGE})"""

_UNNEEDED = """job_id IN (SELECT value FROM json_each(:jobs)) AND NOT answered
    AND NOT EXISTS (SELECT 1 FROM requests r JOIN samples s ON s.id = r.sample_id
                    WHERE r.key = queue.key AND s.job_id IN (SELECT value FROM json_each(:wanted)))"""


class Ticket(NamedTuple):
    """One request of the queue, without its text: what is kept of it until its answer is there."""

    key: str
    job_id: int
    kind: RequestKind
    cost: int
    """Rough work in characters, for the forecast: what prompts of a job or a sample share is computed once."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a job has to ask first, before any other job of the queue."""

    requests: int
    cost: dict[RequestKind, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the requests of a job have in common: the kinds, and every distinct set of generation parameters."""

    kinds: frozenset[RequestKind]
    messages: bool
    prefill: bool
    phrases: bool
    """Some continuation that is scored has several words."""
    longest: int
    """Characters of the longest continuation that is scored, without the white space around it."""
    generations: Sequence[dict[str, Any]]


class Queue:
    """Distinct requests in the order of jobs and docs; each belongs to the first job that asks it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute(_TABLE)

    def clear(self) -> None:
        """Start anew."""
        self._db.execute("DELETE FROM queue")

    def add(self, job_id: int, *, computed: bool = False) -> None:
        """Append the job's requests that have no answer and are not in the queue yet.

        With ``computed`` also those that the job itself has computed, as answered: so the sequence is the same however
        often the run was interrupted, and a backend can form the same batches each time.
        """
        shared = self._shared(job_id)
        self._db.execute(_ADD, {"job": job_id, "computed": computed, "shared": shared})
        first = "SELECT min(place) FROM queue WHERE job_id = ? AND NOT answered"
        self._db.execute(f"UPDATE queue SET cost = cost + ? WHERE place = ({first})", (shared, job_id))

    def _shared(self, job_id: int) -> int:
        """Characters that the prompts of a job begin with, as far as the first ones tell."""
        first, last = self._db.execute(_FIRST_CONTEXTS, (job_id,)).fetchone()
        return len(commonprefix([first, last])) if first else 0  # noqa: RUF071 - characters are meant

    def left(self, job_id: int) -> Left:
        """How much of the job is not answered, as of when it was added."""
        rows = self._db.execute(
            "SELECT kind, count(*), sum(cost) FROM queue WHERE job_id = ? AND NOT answered GROUP BY kind", (job_id,)
        ).fetchall()
        return Left(sum(row[1] for row in rows), {row[0]: row[2] for row in rows})

    def shares(self, job_id: int) -> bool:
        """Whether the job waits for answers to requests of other jobs as well."""
        found = self._db.execute(
            """SELECT 1 FROM samples s JOIN requests r ON r.sample_id = s.id JOIN queue q ON q.key = r.key
               WHERE s.job_id = ? AND q.job_id != s.job_id LIMIT 1""",
            (job_id,),
        )
        return found.fetchone() is not None

    def shape(self, job_id: int) -> Shape:
        """What the job's requests have in common, those that it shares with other jobs of the queue included."""
        of_job = """FROM samples s JOIN requests r ON r.sample_id = s.id JOIN queue q ON q.key = r.key
                    WHERE s.job_id = ? AND NOT q.answered"""
        rows = self._db.execute(f"SELECT DISTINCT r.kind, r.is_chat, r.generation {of_job}", (job_id,)).fetchall()
        prefill = (
            any(row["is_chat"] for row in rows)
            and self._db.execute(
                f"""SELECT 1 {of_job} AND r.is_chat AND
                (SELECT json_extract(t.body, '$[#-1].role') FROM texts t WHERE t.id = r.context_id) = 'assistant'
                LIMIT 1""",
                (job_id,),
            ).fetchone()
        )
        phrases, longest = self._db.execute(
            f"""SELECT max(trim(r.continuation) LIKE '% %'), max(length(trim(r.continuation))) {of_job}
                AND r.kind = 'loglikelihood'""",
            (job_id,),
        ).fetchone()
        return Shape(
            kinds=frozenset(row["kind"] for row in rows),
            messages=any(row["is_chat"] for row in rows),
            prefill=bool(prefill),
            phrases=bool(phrases),
            longest=longest or 0,
            generations=[json_value(text) for text in {r["generation"] for r in rows if r["kind"] == "generate_until"}],
        )

    def unneeded(self, jobs: Collection[int], wanted: Collection[int], places: Collection[int]) -> list[int]:
        """Which of these places belong to ``jobs``, and hold what none of the ``wanted`` jobs needs."""
        rows = self._db.execute(
            f"SELECT place FROM queue WHERE {_UNNEEDED} AND place IN (SELECT value FROM json_each(:places))",
            {"jobs": to_json(list(jobs)), "wanted": to_json(list(wanted)), "places": to_json(list(places))},
        )
        return [place for (place,) in rows]

    def leave_out(
        self, jobs: Collection[int], wanted: Collection[int], after: int, places: Collection[int] = ()
    ) -> dict[int, Left]:
        """Remove what is unneeded behind a place and at some ``places``; by job, how much it is.

        What a wanted job needs stays, and still belongs to the job that was to ask it first.
        """
        condition = f"{_UNNEEDED} AND (place > :after OR place IN (SELECT value FROM json_each(:places)))"
        values = {"jobs": to_json(list(jobs)), "wanted": to_json(list(wanted)), "places": to_json(list(places))}
        rows = self._db.execute(
            f"SELECT job_id, kind, count(*), sum(cost) FROM queue WHERE {condition} GROUP BY job_id, kind",
            {**values, "after": after},
        ).fetchall()
        self._db.execute(f"DELETE FROM queue WHERE {condition}", {**values, "after": after})
        return {
            job_id: Left(sum(row[2] for row in its_rows), {row[1]: row[3] for row in its_rows})
            for job_id in {row[0] for row in rows}
            if (its_rows := [row for row in rows if row[0] == job_id])
        }

    def holds(self, place: int) -> bool:
        """Whether something is at this place."""
        return self._db.execute("SELECT 1 FROM queue WHERE place = ?", (place,)).fetchone() is not None

    def unanswered(self) -> Iterator[tuple[int, Ticket, Request]]:
        """Everything that is left, page by page: answers may be written in between."""
        last = 0
        while page := self._db.execute(f"{_READ} WHERE q.place > ? ORDER BY q.place LIMIT {_PAGE}", (last,)).fetchall():
            for place, answered, key, job_id, kind, cost, *request in page:
                last = place
                if not answered:
                    yield place, Ticket(key, job_id, kind, cost), request_of(*request)

    def upcoming(self, job_id: int) -> Iterator[Request]:
        """What a job that is not in the queue would ask now, page by page."""
        last = -1
        while (docs := self._db.execute(_DOCS, (job_id, last)).fetchone())[0] is not None:
            last = docs[1]
            yield from (request_of(*row) for row in self._db.execute(_UPCOMING, (job_id, *docs)).fetchall())

    def of_kinds(self) -> list[QueuedRequests]:
        """All requests, by kind in the order of first use."""
        kinds = self._db.execute("SELECT kind FROM queue GROUP BY kind ORDER BY min(place)").fetchall()
        return [QueuedRequests(self._db, kind) for (kind,) in kinds]


class QueuedRequests(Sequence[Request]):
    """The requests of one kind, read from the store when they are looked at."""

    def __init__(self, db: sqlite3.Connection, kind: RequestKind) -> None:
        self._db = db
        self.kind = kind
        rows = db.execute("SELECT place FROM queue WHERE kind = ? ORDER BY place", (kind,))
        self._places = array("q", (row[0] for row in rows))
        done = db.execute("SELECT place FROM queue WHERE kind = ? AND answered", (kind,))
        answered = {row[0] for row in done}
        self.answered = frozenset(i for i, place in enumerate(self._places) if place in answered)
        """Positions that have an answer."""

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | Sequence[Request]:
        if isinstance(index, slice):
            return list(self._read(self._places[index]))
        return next(self._read(array("q", [self._places[index]])))

    def __iter__(self) -> Iterator[Request]:
        return self._read(self._places)

    def _read(self, places: array[int]) -> Iterator[Request]:
        for start in range(0, len(places), _PAGE):
            page = places[start : start + _PAGE]
            marks = ",".join("?" * len(page))
            rows = self._db.execute(f"{_READ} WHERE q.place IN ({marks}) ORDER BY q.place", tuple(page)).fetchall()
            yield from (request_of(*row[6:]) for row in rows)

    def tickets(self, indices: Sequence[int]) -> list[Ticket]:
        """What to file the answers of requests under."""
        found: dict[int, Ticket] = {}
        for start in range(0, len(indices), _PAGE):
            page = [self._places[i] for i in indices[start : start + _PAGE]]
            marks = ",".join("?" * len(page))
            rows = self._db.execute(f"SELECT place, key, job_id, kind, cost FROM queue WHERE place IN ({marks})", page)
            found.update((place, Ticket(*row)) for place, *row in rows)
        return [found[self._places[i]] for i in indices]
