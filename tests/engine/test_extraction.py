"""What stands beside a score: how many answers were cut off, left out, and not found; strict and robust filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from lmrun.display.plain import PlainSink
from lmrun.display.report import closing_words, results_json, results_table
from lmrun.display.samples import sample_as_json, sample_text
from lmrun.engine.progress import JobProgress
from lmrun.engine.remarks import flags, remarks
from lmrun.engine.rescore import current_scoring, rescore
from lmrun.engine.results import ResultRow, result_rows
from lmrun.engine.run import Outcome
from lmrun.errors import ExitCode
from lmrun.requests import Request, Response
from lmrun.store.reader import RunReader, SampleQuery
from lmrun.testing.scripted import ScriptedBackend
from tests.engine.conftest import World, complete

SPEECH = '[[tasks]]\nname = "speech"\n'
ROBUST = SPEECH + "robust = true\n"
ANSWERS: Mapping[int, Response] = {
    0: Response(text="I say 0", reasoning="it is 7\x1b[31m\nor 8", reasoning_tokens=4, finish_reason="stop"),
    1: Response(text="none", finish_reason="stop"),
    2: Response(text="2 or 1", finish_reason="length"),
    3: Response(skipped="the prompt has 40 tokens, and there is room for 30"),
}


@pytest.fixture
def spoken(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose model says the same to each doc in every run; the target of doc i is i % 3."""

    def answer(_backend: ScriptedBackend, request: Request) -> Response:
        number = int("".join(filter(str.isdigit, str(request.context))))
        return ANSWERS.get(number, Response(text=f"${number % 3}.00", finish_reason="stop"))

    monkeypatch.setattr(ScriptedBackend, "answer", answer)
    return world


def opened(outcome: Outcome) -> RunReader:
    return RunReader(outcome.directory)


def by_filter(reader: RunReader) -> dict[str, ResultRow]:
    return {row.filter: row for row in result_rows(reader)}


def layout(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outcome.directory.results / "stub.json").read_text())
    return found


def test_robust_adds_a_filter_and_changes_nothing_else(spoken: World) -> None:
    plain = layout(spoken.run(spoken.manifest(spoken.stub(), tasks=SPEECH)))["results"]["speech"]
    robust = layout(spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST)))["results"]["speech"]
    assert plain.items() <= robust.items()
    assert robust.keys() - plain.keys() == {"exact_match,robust", "exact_match_stderr,robust"}


def test_strict_and_robust_stand_beside_each_other(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST))
    assert complete(outcome)
    rows = by_filter(opened(outcome))
    assert list(rows) == ["number", "robust"]
    # Doc 2 says "2 or 1": the first is right, the last is wrong.
    assert (rows["number"].value * 9, rows["robust"].value * 9) == pytest.approx((8, 7))
    assert (rows["number"].no_match, rows["number"].ambiguous) == (1, 7)
    assert (rows["robust"].no_match, rows["robust"].ambiguous) == (1, 1)
    assert (rows["robust"].no_match_rate, rows["number"].ambiguous_rate) == pytest.approx((1 / 9, 7 / 9))


def test_scoring_again_keeps_the_robust_filter(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST))
    before = layout(outcome)
    (job,) = rescore(outcome.directory, current_scoring(outcome.directory))
    assert job.found and not job.changed
    assert layout(outcome) == before


def test_no_robust_filter_for_choices(spoken: World) -> None:
    outcome = spoken.run(
        spoken.manifest(spoken.stub(), tasks='[[tasks]]\nname = "colours"\nlimit = 1\nrobust = true\n')
    )
    assert {row.filter for row in result_rows(opened(outcome))} <= {"none", ""}


def test_a_task_that_no_robust_filter_fits_is_named(spoken: World) -> None:
    path = spoken.folder / "tasks" / "speech.yaml"
    path.write_text(path.read_text().replace("{{answer}}", "colour {{answer}}"))
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST), limit=1)
    assert list(by_filter(opened(outcome))) == ["number"]
    assert "speech: no robust filter fits" in outcome.directory.log.read_text()


def test_rates_are_in_every_kind_of_results(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST))
    reader = opened(outcome)
    table = results_table(reader).plain()
    assert [word in table for word in ("truncated", "no match", "ambiguous", "skipped", "cut  ")] == [True] * 4 + [
        False
    ]
    assert all(text in table for text in ("10.0%", "11.1%", "77.8%"))
    assert "1 of 10 answers were cut off" in closing_words(reader)
    assert "1 samples were left out" in closing_words(reader)
    row = json.loads(results_json(reader))["results"][0]
    assert (row["truncated_rate"], row["no_match"], row["flags"]) == (0.1, 1, ["truncated"])
    found = layout(outcome)
    assert found["truncated_rate"] == {"speech": 0.1}
    assert found["flags"] == {"speech": ["truncated"]}
    assert found["skipped"] == {"speech": 1}
    assert found["extraction"]["speech"]["robust"] == {
        "matched": 7,
        "ambiguous": 1,
        "no_match": 1,
        "ambiguous_rate": pytest.approx(1 / 9),
        "no_match_rate": pytest.approx(1 / 9),
    }


def test_what_is_not_there_takes_no_room(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=SPEECH), limit=1)
    table = results_table(opened(outcome)).plain()
    assert not any(word in table for word in ("truncated", "no match", "ambiguous", "skipped"))
    assert layout(outcome)["flags"] == {}


def test_a_run_is_flagged_above_one_percent() -> None:
    assert (flags(1, 1, 100), flags(2, 0, 100), flags(0, 2, 100)) == ((), ("truncated",), ("refused",))
    assert flags(0, 0, 0) == ()


def test_remarks_name_what_went_wrong_and_in_which_filter() -> None:
    counts = {"strict": {"matched": 6, "no_match": 2}, "flexible": {"matched": 7, "ambiguous": 1}}
    assert remarks(8, 1, 0, counts) == "truncated 12.5%, no match 25.0% (strict), ambiguous 12.5% (flexible)"
    assert remarks(8, 0, 2, {}) == "refused 25.0%"
    assert remarks(8, 0, 0, {"strict": {"matched": 8}}) == ""


def test_plain_lines_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    from lmrun.engine.progress import Tracker

    tracker = Tracker()
    tracker.start("run", [JobProgress("m", "speech", docs=4, state="done", remarks="no match 25.0% (strict)")])
    PlainSink().draw(tracker.snapshot())
    assert "no match 25.0% (strict)" in capsys.readouterr().err


def test_what_is_skipped_is_neither_scored_nor_an_error_nor_asked_again(spoken: World) -> None:
    manifest = spoken.manifest(spoken.stub(), tasks=SPEECH)
    outcome = spoken.run(manifest)
    assert outcome.exit_code is ExitCode.COMPLETE
    (job,) = opened(outcome).jobs()
    assert (job.n_scored, job.n_skipped, job.n_errors, job.n_docs) == (9, 1, 0, 10)
    asked = len(spoken.calls())
    assert complete(spoken.run(manifest, fresh=True))
    assert len(spoken.calls()) == asked
    row, detail = sample(outcome, 3)
    assert row == "skipped"
    assert "answer: skipped: the prompt has 40 tokens" in detail


def sample(outcome: Outcome, doc_id: int, *, full: bool = False) -> tuple[str, str]:
    reader = opened(outcome)
    (row,) = reader.samples(SampleQuery(doc_id=doc_id))
    return row.status, sample_text(reader.sample(row.id), full=full)


def test_a_sample_shows_status_and_place_for_each_filter(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=ROBUST))
    _, text = sample(outcome, 2)
    assert "· truncated · ambiguous" in text
    assert 'score[number]: "2" (ambiguous) → exact_match=1.0000\n  found: ⟦2⟧ or 1\n' in text
    assert 'score[robust]: "1" (ambiguous) → exact_match=0.0000\n  found: 2 or ⟦1⟧\n' in text
    _, text = sample(outcome, 1)
    assert "· no match" in text and "found:" not in text


def test_reasoning_is_folded_and_safe_and_complete_in_json(spoken: World) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=SPEECH))
    _, folded = sample(outcome, 0)
    assert "reasoning: (17 characters, 4 tokens)" in folded and "it is 7" not in folded
    _, full = sample(outcome, 0, full=True)
    assert "it is 7␛" in full and "\x1b" not in full
    reader = opened(outcome)
    (row,) = reader.samples(SampleQuery(search="OR 8"))
    found = json.loads(sample_as_json(reader.sample(row.id)))
    assert found["requests"][0]["response"]["reasoning"] == ANSWERS[0].reasoning
    assert found["scores"][0]["span"] == [6, 7]


@pytest.mark.parametrize(("trait", "docs"), [("ambiguous", [2]), ("no_match", [1]), ("truncated", [2, 3])])
def test_samples_are_found_by_what_happened_to_them(spoken: World, trait: str, docs: list[int]) -> None:
    outcome = spoken.run(spoken.manifest(spoken.stub(), tasks=SPEECH), limit=4)
    assert [row.doc_id for row in opened(outcome).samples(SampleQuery(outcomes=(trait,)))] == docs
