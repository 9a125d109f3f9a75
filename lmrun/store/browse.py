"""The lines of a list of samples: what they are about in a few words, read for as many as are seen at once."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.requests import Response
from lmrun.store.notes import Note, Place
from lmrun.store.rows import json_value, response_value

_SHORT = 200
"""Characters of a target or an answer that a line can show."""
_ASKED = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class SampleLine:
    """One sample in a list."""

    id: int
    model: str
    label: str
    doc_id: int
    status: str
    """pending, scored, skipped, error."""
    correct: bool | None
    truncated: bool
    refused: bool
    no_match: bool
    target: str
    """The beginning of it; of multiple choice the text of the gold choice."""
    answer: str
    """What a filter extracted, the chosen choice, the log-likelihood, or the beginning of the output; of an error its
    kind."""
    margin: float | None
    """Multiple choice: log-likelihood of the gold choice minus that of the best other one."""
    tokens: int
    """Generated, or scored, in the first answer to each request."""
    note_label: str
    """Of the note that somebody put to it."""


def sample_lines(db: sqlite3.Connection, ids: Sequence[int], notes: Mapping[Place, Note]) -> list[SampleLine]:
    """Lines of these samples in their order; of what is not there any more, none."""
    asked = json.dumps(list(ids))
    rows = db.execute(
        f"""SELECT s.id, m.name AS model, j.label, j.output_type, s.doc_id, s.status, s.correct, s.truncated, s.dropped,
              s.refused, s.no_match, s.target, s.choices, s.error,
              CASE WHEN length(s.text) < 8 THEN s.text END AS text
            FROM samples s JOIN jobs j ON j.id = s.job_id JOIN models m ON m.id = j.model_id WHERE s.id IN {_ASKED}""",
        (asked,),
    )
    by_id = {row["id"]: row for row in rows}
    answers, extracted = _answers(db, asked), _extracted(db, asked)
    return [_line(by_id[i], answers.get(i, {}), extracted.get(i), notes) for i in ids if i in by_id]


def gold_choices(target: Any, choices: Sequence[str]) -> frozenset[int]:
    """Positions of the right choices as a multiple-choice doc's target names them."""
    if isinstance(target, list) and len(target) == len(choices) and len(set(map(str, target))) < len(target):
        # Repeated values are no indices: it is a 0 or 1 per choice.
        return frozenset(position for position, value in enumerate(target) if value)
    found: set[int] = set()
    for value in target if isinstance(target, list) else [target]:
        if isinstance(value, str):
            found.update([choices.index(value)] if value in choices else [])
        elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            found.add(int(value))
    return frozenset(found & set(range(len(choices))))


def _answers(db: sqlite3.Connection, asked: str) -> dict[int, dict[int, Response]]:
    """By sample the first answer to each of its requests."""
    rows = db.execute(
        f"""SELECT r.sample_id, r.position, a.response FROM requests r JOIN responses a ON a.key = r.key
            WHERE r.sample_id IN {_ASKED} AND r.repeat = 0 ORDER BY r.position""",
        (asked,),
    )
    found: dict[int, dict[int, Response]] = defaultdict(dict)
    for sample_id, position, response in rows:
        found[sample_id][position] = response_value(response)
    return found


def _extracted(db: sqlite3.Connection, asked: str) -> dict[int, str]:
    """By sample what the first filter that found something extracted."""
    rows = db.execute(
        f"""SELECT sample_id, filtered FROM scores WHERE sample_id IN {_ASKED}
            AND extraction IN ('matched', 'ambiguous') ORDER BY rowid DESC""",
        (asked,),
    )
    return {sample_id: _words(json_value(filtered)) for sample_id, filtered in rows}


def _line(
    row: sqlite3.Row, answers: Mapping[int, Response], extracted: str | None, notes: Mapping[Place, Note]
) -> SampleLine:
    target, choices = json_value(row["target"]), json_value(row["choices"])
    if row["output_type"] == "multiple_choice" and choices:
        index = json_value(row["text"] or "null")  # where each choice has a prompt of its own, it names the gold one
        gold = gold_choices(index if isinstance(index, int) else target, choices)
        scores = {at: a.logprob for at, a in answers.items() if at < len(choices) and a.logprob is not None}
        wanted = " | ".join(choices[at] for at in sorted(gold)) or _words(target)
        answer, margin = choices[max(scores, key=scores.__getitem__)] if scores else "", _margin(scores, gold)
    else:
        wanted, answer, margin = _words(target), extracted or _said(answers.values()), None
    note = notes.get((row["model"], row["label"], row["doc_id"]))
    return SampleLine(
        id=row["id"],
        model=row["model"],
        label=row["label"],
        doc_id=row["doc_id"],
        status=row["status"],
        correct=None if row["correct"] is None else bool(row["correct"]),
        truncated=bool(row["truncated"] or row["dropped"] or row["status"] == "skipped"),
        refused=bool(row["refused"]),
        no_match=bool(row["no_match"]),
        target=_short(wanted),
        answer=_short(json_value(row["error"])["kind"] if row["error"] else answer),
        margin=margin,
        tokens=sum(response.completion_tokens for response in answers.values()),
        note_label=note.mark if note else "",
    )


def _margin(scores: Mapping[int, float], gold: frozenset[int]) -> float | None:
    right = [score for at, score in scores.items() if at in gold]
    others = [score for at, score in scores.items() if at not in gold]
    return max(right) - max(others) if right and others else None


def _said(answers: Iterable[Response]) -> str:
    """The first answer that there is."""
    for answer in answers:
        if answer.text is not None:
            return answer.text
        if answer.logprob is not None:
            return f"{answer.logprob:.2f}"
    return ""


def _words(value: Any) -> str:
    """A value in a few words; of a list with one item, that one's."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text[: 4 * _SHORT].strip()[:_SHORT]
