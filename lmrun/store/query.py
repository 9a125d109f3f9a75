"""Which samples are wanted, and how that is asked of a run's database: job by job, a window of docs at a time."""

from __future__ import annotations

import fnmatch
import json
import re
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from lmrun.store.notes import Note, Place
from lmrun.store.rows import json_value

ENDINGS = {
    "wrong": "(s.status = 'scored' AND s.correct IS 0)",
    "correct": "(s.status = 'scored' AND s.correct IS 1)",
    "errors": "s.status = 'error'",
}
"""A sample ends in one way: of several of these, any may hold."""
TRAITS = {
    "truncated": "(s.truncated OR s.dropped > 0 OR s.status = 'skipped')",
    "refused": "s.refused",
    "no_match": "s.no_match",
    "ambiguous": "EXISTS (SELECT 1 FROM scores c WHERE c.sample_id = s.id AND c.extraction = 'ambiguous')",
}
"""What else can be said of a sample: of several of these, all must hold."""
STATUSES = ("pending", "scored", "skipped", "error")

_FIRST_WINDOW = 1_000
_LAST_WINDOW = 16_000
_SEARCH_WINDOW = 500
"""Docs looked through between two chunks: few at first, as somebody waits; of a search always few."""
_CACHE_KIB = 32_000
"""Of the database: what a search looks up lies all over the file."""
_END = (1 << 63) - 1
_HAS = """(has(?, s.doc)
           OR EXISTS (SELECT 1 FROM texts t WHERE has(?, t.body) AND t.id IN
             (SELECT context_id FROM requests r WHERE r.sample_id = s.id))
           OR EXISTS (SELECT 1 FROM requests r WHERE r.sample_id = s.id AND
             CASE r.kind WHEN 'generate_until' THEN said(?, (SELECT response FROM responses a WHERE a.key = r.key))
             ELSE has(?, r.continuation) END))"""

Key = Literal["text", "model", "task", "status", "doc", "label", "is"]


class Term(NamedTuple):
    """One condition on a sample."""

    key: Key
    """``text`` occurs in the sample; ``label`` is that of its note; ``is`` one of ``outcomes`` of a query."""
    value: str
    """Of ``model``, ``task``, ``status`` and ``label`` a pattern with ``*`` and ``?``, in any case."""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """Which samples to list. Every given condition must hold; of wrong, correct and errors, one must."""

    model: str | None = None
    task: str | None = None
    """A job's label, or the task's name or alias in any setting."""
    outcomes: Sequence[str] = ()
    """``wrong``, ``correct``, ``errors``, ``truncated``, ``refused``, ``no_match``, ``ambiguous``."""
    search: str | None = None
    """Text that occurs in the prompt, the continuation, the output, the reasoning or the doc; in any case."""
    doc_id: int | None = None
    limit: int | None = None
    offset: int = 0
    terms: Sequence[Term] = ()
    """More conditions. Of several models, tasks, statuses, docs or labels that are asked for, one must hold."""


class Part(NamedTuple):
    """Samples of one job that may be wanted: the condition on them, as SQL on ``samples s``."""

    job_id: int
    where: str
    values: Sequence[Any]
    is_search: bool


class _Names(NamedTuple):
    job_id: int
    model: str
    label: str
    task: str
    alias: str


def parts(db: sqlite3.Connection, query: SampleQuery, notes: Mapping[Place, Note]) -> Iterator[Part]:
    """The jobs that can hold wanted samples, in their order."""
    terms = _terms(query)
    is_search = any(term.key == "text" for term in terms)
    rows = db.execute(
        "SELECT j.id, m.name, j.label, j.task, j.alias FROM jobs j JOIN models m ON m.id = j.model_id ORDER BY j.id"
    ).fetchall()
    for names in (_Names(*row) for row in rows):
        if _fits_job(names, query, terms):
            marks = {doc: note.mark for (*job, doc), note in notes.items() if job == [names.model, names.label]}
            yield Part(names.job_id, *_conditions(terms, marks), is_search)


def windows(db: sqlite3.Connection, part: Part) -> Iterator[array[int]]:
    """Ids of the wanted samples of one job in the order of its docs, after each window of docs; none may be in one."""
    after, size = -1, _SEARCH_WINDOW if part.is_search else _FIRST_WINDOW
    while after < _END:
        last = db.execute(
            "SELECT doc_id FROM samples WHERE job_id = ? AND doc_id > ? ORDER BY doc_id LIMIT 1 OFFSET ?",
            (part.job_id, after, size - 1),
        ).fetchone()
        before, after = after, last[0] if last else _END
        # All ids as one value: row by row, Python's lock would be taken a million times, also from who draws the list.
        (found,) = db.execute(
            f"""SELECT json_group_array(id) FROM (SELECT s.id FROM samples s WHERE s.job_id = ? AND s.doc_id > ?
                AND s.doc_id <= ? AND {part.where} ORDER BY s.doc_id)""",
            (part.job_id, before, after, *part.values),
        ).fetchone()
        yield array("q", json_value(found))
        size = size if part.is_search else min(2 * size, _LAST_WINDOW)


def count(db: sqlite3.Connection, part: Part) -> int:
    """How many samples of one job are wanted."""
    statement = f"SELECT count(*) FROM samples s WHERE s.job_id = ? AND {part.where}"
    return int(db.execute(statement, (part.job_id, *part.values)).fetchone()[0])


def prepare(db: sqlite3.Connection) -> None:
    """Teach a connection the search for text."""
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    db.create_function("has", 2, _has, deterministic=True)
    db.create_function("said", 2, _said, deterministic=True)


def fits(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern with ``*`` and ``?`` stands for, in any case; a name fits itself."""
    return pattern == name or _pattern(pattern).match(name.casefold()) is not None


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text.casefold().replace("[", "[[]")))  # brackets stand for themselves


def _terms(query: SampleQuery) -> list[Term]:
    terms = [*query.terms, *(Term("is", name) for name in query.outcomes)]
    if query.search:
        terms.append(Term("text", query.search))
    if query.doc_id is not None:
        terms.append(Term("doc", str(query.doc_id)))
    return terms


def _grouped(terms: Sequence[Term]) -> Iterator[tuple[bool, list[Term]]]:
    """Terms that belong together: of each group one must hold, or, where it is negated, none may."""
    alone = [t for t in terms if t.negated or t.key == "text" or (t.key == "is" and t.value in TRAITS)]
    yield from ((term.negated, [term]) for term in alone)
    rest = [term for term in terms if term not in alone]
    for key in dict.fromkeys(term.key for term in rest):
        yield False, [term for term in rest if term.key == key]


def _fits_job(names: _Names, query: SampleQuery, terms: Sequence[Term]) -> bool:
    tasks = (names.label, names.task, names.alias)
    if query.model not in (None, names.model) or query.task not in (None, *tasks):
        return False
    known = {"model": (names.model,), "task": tasks}
    return all(
        negated != any(fits(term.value, name) for term in group for name in known[term.key])
        for negated, group in _grouped([term for term in terms if term.key in known])
    )


def _conditions(terms: Sequence[Term], marks: Mapping[int, str]) -> tuple[str, list[str]]:
    """Terms on samples as SQL with its values; ``marks`` are the labels of the job's docs."""
    conditions = ["1"]
    values: list[str] = []
    for negated, group in _grouped([term for term in terms if term.key not in ("model", "task")]):
        alternatives = [_condition(term, marks) for term in group]
        conditions.append(f"{'NOT ' * negated}({' OR '.join(condition for condition, _ in alternatives)})")
        values.extend(value for _, given in alternatives for value in given)
    return " AND ".join(conditions), values


def _condition(term: Term, marks: Mapping[int, str]) -> tuple[str, list[str]]:
    listed = "IN (SELECT value FROM json_each(?))"
    match term.key:
        case "is":
            return {**ENDINGS, **TRAITS}[term.value], []
        case "status":
            return f"s.status {listed}", [json.dumps([status for status in STATUSES if fits(term.value, status)])]
        case "label":
            return f"s.doc_id {listed}", [json.dumps([doc for doc, mark in marks.items() if fits(term.value, mark)])]
        case "doc":
            return "s.doc_id = CAST(? AS INTEGER)", [term.value]
        case _:
            return _HAS, [json.dumps(term.value)] * 4


# -- search: in Python, as SQLite knows only the case of ASCII ---------------------------------------------------------


@lru_cache(maxsize=256)
def _spellings(word: str) -> tuple[str, str]:
    """A word, given as JSON so that SQLite takes any, as it stands in plain texts and in JSON; without case."""
    plain = json.loads(word).casefold()
    return plain, json.dumps(plain, ensure_ascii=False)[1:-1]


def _has(word: str, text: str | None) -> bool:
    """Whether a word occurs in a plain text, or in the JSON of messages or of a doc."""
    plain, escaped = _spellings(word)
    folded = (text or "").casefold()
    return plain in folded or escaped in folded


def _said(word: str, response: str | None) -> bool:
    """Whether a word occurs in what a model answered."""
    if response is None or not (_has(word, response) or "\\u" in response):
        return False
    answer = json_value(response)
    return any(_spellings(word)[0] in str(answer.get(name) or "").casefold() for name in ("text", "reasoning"))
