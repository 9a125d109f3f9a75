"""Samples of a run by query, their lines, and what else a run is browsed by."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.tuibench.make import make_run
from lmrun.display.samples import sample_as_json, sample_text
from lmrun.store.browse import SampleLine, gold_choices
from lmrun.store.connect import connect
from lmrun.store.query import TRAITS, Key, Term, fits
from lmrun.store.reader import RunReader, SampleQuery
from lmrun.store.records import SampleDetail
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import MIGRATIONS

SAMPLES = 2_400
JOBS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    made = make_run(tmp_path_factory.mktemp("made"), SAMPLES, JOBS)
    db = connect(made.database, MIGRATIONS)
    db.execute("UPDATE scores SET extraction = 'ambiguous' WHERE sample_id % 50 = 0 AND extraction = 'matched'")
    db.execute("UPDATE samples SET status = 'skipped', correct = NULL WHERE id % 200 = 3")
    db.execute("UPDATE samples SET correct = NULL WHERE id % 200 = 4")
    error = json.dumps({"kind": "http_500", "message": "broken"})
    db.execute("UPDATE samples SET status = 'error', correct = NULL, error = ? WHERE id % 200 = 5", (error,))
    db.close()
    return made


@pytest.fixture(scope="module")
def reader(run: RunDirectory) -> Iterator[RunReader]:
    opened = RunReader(run)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def details(reader: RunReader) -> dict[int, SampleDetail]:
    """Everything, in order."""
    return {row.id: reader.sample(row.id) for row in reader.samples(SampleQuery())}


def ids(reader: RunReader, query: SampleQuery) -> list[int]:
    return list(chain.from_iterable(reader.sample_ids(query)))


# -- which samples -----------------------------------------------------------------------------------------------------


def test_all_samples_in_the_order_of_jobs_and_docs(reader: RunReader, details: dict[int, SampleDetail]) -> None:
    order = [(job.model, job.label, doc) for job in reader.jobs() for doc in range(job.n_docs)]
    assert [(d.row.model, d.row.label, d.row.doc_id) for d in details.values()] == order
    assert ids(reader, SampleQuery()) == list(details)


def test_order_is_that_of_docs_whatever_the_ids(tmp_path: Path) -> None:
    made = make_run(tmp_path, 40, 2)
    db = connect(made.database, MIGRATIONS)
    db.execute("UPDATE samples SET doc_id = 100 - doc_id")
    db.close()
    found = [(row.label, row.doc_id) for row in RunReader(made).samples(SampleQuery())]
    assert found == [("mmlu_000", doc) for doc in range(81, 101)] * 2


@pytest.mark.parametrize("kind", [SampleQuery(outcomes=("refused",)), SampleQuery(search="zzz")])
def test_chunks_come_also_where_nothing_is_found(reader: RunReader, kind: SampleQuery) -> None:
    chunks = list(reader.sample_ids(kind))
    assert len(chunks) >= JOBS
    assert all(chunk.typecode == "q" for chunk in chunks)
    assert any(not chunk for chunk in chunks)


def test_two_searches_at_once_do_not_mix(reader: RunReader) -> None:
    first, second = reader.sample_ids(SampleQuery(search="lamp")), reader.sample_ids(SampleQuery(search="zzz"))
    assert (len(next(first)) > 0, len(next(second))) == (True, 0)
    assert sum(map(len, first)) > 0
    assert sum(map(len, second)) == 0


def test_limit_and_offset(reader: RunReader, details: dict[int, SampleDetail]) -> None:
    query = SampleQuery(limit=7, offset=1_195)
    assert [row.id for row in reader.samples(query)] == list(details)[1_195:1_202]
    assert reader.count(query) == SAMPLES


def texts(detail: SampleDetail) -> str:
    """All that is searched, in lower case; parts cannot run into each other."""
    parts = [json.dumps(detail.doc)]
    for exchange in detail.exchanges:
        response = exchange.response
        parts += [str(exchange.request.context), exchange.request.continuation]
        parts += [response.text or "", response.reasoning or ""] if response else []
    return "\0".join(parts).casefold()


def true(term: Term, detail: SampleDetail) -> bool:
    """What a term says, from the sample as a whole."""
    row = detail.row
    if term.key == "is":
        return {
            "wrong": row.status == "scored" and row.correct is False,
            "correct": row.status == "scored" and row.correct is True,
            "errors": row.status == "error",
            "truncated": row.truncated or row.dropped > 0 or row.status == "skipped",
            "refused": row.refused,
            "no_match": row.no_match,
            "ambiguous": any(score.extraction == "ambiguous" for score in detail.scores),
        }[term.value]
    if term.key == "text":
        return term.value.casefold() in texts(detail)
    if term.key == "doc":
        return row.doc_id == int(term.value)
    if term.key == "task":
        return fits(term.value, row.label) or fits(term.value, row.label.replace("_", " "))
    return fits(term.value, {"model": row.model, "status": row.status, "label": ""}[term.key])


def wanted(terms: Sequence[Term], details: dict[int, SampleDetail]) -> list[int]:
    def fit(detail: SampleDetail) -> bool:
        choices: dict[str, bool] = {}
        for term in terms:
            alone = term.negated or term.key == "text" or (term.key == "is" and term.value in TRAITS)
            if alone and true(term, detail) == term.negated:
                return False
            if not alone:
                choices[term.key] = choices.get(term.key, False) or true(term, detail)
        return all(choices.values())

    return [sample_id for sample_id, detail in details.items() if fit(detail)]


VALUES: dict[Key, list[str]] = {
    "is": ["wrong", "correct", "errors", "truncated", "refused", "no_match", "ambiguous"],
    "model": ["qwen*", "GPT-5-mini", "nobody", "?wen3-8b"],
    "task": ["mmlu*", "sums 001", "sums_*", "x"],
    "status": ["scored", "s*", "error", "pending"],
    "doc": ["17", "599", "600"],
    "text": ["LAMP", "river of the", "limestone", "the answer is 7", "stop", "solution"],
}
ANY_TERM = st.sampled_from(list(VALUES)).flatmap(
    lambda key: st.builds(Term, st.just(key), st.sampled_from(VALUES[key]), st.booleans())
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(terms=st.lists(ANY_TERM, max_size=4))
def test_a_query_finds_what_its_terms_say(
    reader: RunReader, details: dict[int, SampleDetail], terms: list[Term]
) -> None:
    query = SampleQuery(terms=terms)
    assert ids(reader, query) == wanted(terms, details)
    assert reader.count(query) == len(wanted(terms, details))


def test_every_kind_of_outcome_is_there(reader: RunReader) -> None:
    assert all(reader.count(SampleQuery(outcomes=(value,))) for value in VALUES["is"])


@pytest.mark.parametrize(
    ("search", "found"),
    [("ÄRGER", True), ('say "yes"', True), ("one\ntwo", True), ("back\\slash", True), ("finish_reason", False)],
)
def test_search_knows_every_case_and_every_character(tmp_path: Path, search: str, found: bool) -> None:
    made = make_run(tmp_path, 2, 2, models=1)
    db = connect(made.database, MIGRATIONS)
    answer = {"text": 'Ärger: say "yes"\none\ntwo back\\slash', "finish_reason": "stop"}
    db.execute("UPDATE responses SET response = ? WHERE job_id = 2", (json.dumps(answer),))
    db.execute("UPDATE samples SET doc = ? WHERE id = 1", (json.dumps({"said": answer["text"]}, ensure_ascii=False),))
    db.close()
    assert ids(RunReader(made), SampleQuery(search=search)) == [1, 2] * found


def test_a_pattern() -> None:
    assert fits("a*[c]?", "ABB[C]d")
    assert not fits("a", "ab")
    assert fits("a*", "a*")


# -- lines -------------------------------------------------------------------------------------------------------------


def line(reader: RunReader, sample_id: int) -> SampleLine:
    (found,) = reader.sample_lines([sample_id])
    return found


def test_lines_come_in_the_order_that_is_asked(reader: RunReader) -> None:
    assert [line.id for line in reader.sample_lines([5, 3, 10**9, 900])] == [5, 3, 900]
    assert reader.sample_lines([]) == []


def test_a_line_of_multiple_choice(reader: RunReader, details: dict[int, SampleDetail]) -> None:
    detail = details[1]
    scores = [e.response.logprob for e in detail.exchanges if e.response and e.response.logprob is not None]
    others = [score for position, score in enumerate(scores) if position != detail.target]
    found, choices = line(reader, 1), detail.choices or ()
    assert (found.target, found.answer) == (choices[detail.target], choices[scores.index(max(scores))])
    assert found.margin == scores[detail.target] - max(others)
    assert (scores[detail.target] > max(others)) == found.correct
    assert (found.tokens, found.status, found.note_label) == (16, "scored", "")


def test_a_line_of_generation(reader: RunReader, details: dict[int, SampleDetail]) -> None:
    matched = next(d for d in details.values() if d.scores and d.scores[0].extraction == "matched")
    assert line(reader, matched.row.id).answer == matched.scores[0].filtered[0]
    assert line(reader, matched.row.id).target == matched.target
    missed = next(d for d in details.values() if d.row.truncated)
    assert line(reader, missed.row.id).answer.startswith("First count the")
    assert line(reader, missed.row.id).margin is None


def test_a_line_of_an_error_names_its_kind(reader: RunReader) -> None:
    assert [line.answer for line in reader.sample_lines([5, 1_005])] == ["http_500"] * 2


def test_answers_are_there_before_the_scores(tmp_path: Path) -> None:
    reader = RunReader(make_run(tmp_path, 200, 2, models=1, scored=False))
    lines = reader.sample_lines(ids(reader, SampleQuery()))
    assert {line.status for line in lines} == {"pending"}
    assert all(line.answer and line.correct is None for line in lines)
    assert all(line.margin is not None for line in lines[:100])


@pytest.mark.parametrize(
    ("target", "gold"),
    [
        (1, {1}),
        (1.0, {1}),
        ("b", {1}),
        ("z", set()),
        (7, set()),
        (-1, set()),
        ([0, 2], {0, 2}),
        (["a", "c"], {0, 2}),
        ([0, 1, 1], {1, 2}),
        ([2, 0, 1], {0, 1, 2}),
        (float("nan"), set()),
        (None, set()),
        ([{}, {}], set()),
    ],
)
def test_gold_choices(target: object, gold: set[int]) -> None:
    assert gold_choices(target, ["a", "b", "c"]) == gold


# -- notes -------------------------------------------------------------------------------------------------------------


def test_samples_by_their_notes(tmp_path: Path) -> None:
    run = make_run(tmp_path, 40, 4)
    reader = RunReader(run)
    reader.notes.set("qwen3-8b", "mmlu_000", 3, "bug", "the gold is wrong")
    reader.notes.set("gpt-5-mini", "sums_001", 0, "odd")

    def found(*terms: Term) -> list[int]:
        assert reader.count(SampleQuery(terms=terms)) == len(ids(reader, SampleQuery(terms=terms)))
        return ids(reader, SampleQuery(terms=terms))

    assert found(Term("label", "bug")) == [4]
    assert found(Term("label", "*")) == [4, 31]
    assert found(Term("label", "b*"), Term("label", "ODD")) == [4, 31]
    assert found(Term("label", "*"), Term("model", "gpt*")) == [31]
    assert len(found(Term("label", "*", negated=True))) == 38
    assert found(Term("label", "none")) == []
    assert [line.note_label for line in reader.sample_lines([4, 5, 31])] == ["bug", "", "odd"]


def test_a_sample_is_shown_with_its_note(tmp_path: Path) -> None:
    reader = RunReader(make_run(tmp_path, 4, 2))
    reader.notes.set("qwen3-8b", "mmlu_000", 0, "bug", "a \x1b[31mtrap")
    detail = reader.sample(1)
    text = sample_text(detail, full=False)
    assert "note: bug: a " in text
    assert "\x1b" not in text
    assert json.loads(sample_as_json(detail))["note"] == {"label": "bug", "text": "a \x1b[31mtrap"}
    assert json.loads(sample_as_json(reader.sample(2)))["note"] is None


# -- a run of the schema before ----------------------------------------------------------------------------------------


def test_a_run_of_an_earlier_schema_is_read_as_it_is(run: RunDirectory, reader: RunReader, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "old")
    db = sqlite3.connect(tmp_path / "old" / "run.db")
    db.executescript(
        """DROP TABLE job_counts; DROP INDEX samples_listed; DROP INDEX scores_ambiguous; DROP INDEX gauges_by_name;
           CREATE INDEX samples_by_outcome ON samples (job_id, status, correct); PRAGMA user_version = 3"""
    )
    db.close()
    old = RunReader(RunDirectory(tmp_path / "old"))
    assert [job.requests for job in old.jobs()] == [job.requests for job in reader.jobs()]
    assert old.tokens() == reader.tokens()
    for outcome in VALUES["is"]:
        assert ids(old, SampleQuery(outcomes=(outcome,))) == ids(reader, SampleQuery(outcomes=(outcome,)))
