"""Answers as models write them, through strict and robust filters; targets read as answers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.functions import FunctionRef
from lmrun.requests import Response
from lmrun.scoring import DocScore, score_doc
from lmrun.scoring.robust import ROBUST, with_robust
from lmrun.scoring.spec import DocFacts, FilterSpec, FilterStep, MetricSpec, ScoringSpec

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "answers.json").read_text(encoding="utf-8"))
ROWS = [(row["text"], name, row[name]) for row in GOLDEN["answers"] for name in row if name != "text"]
EXACT = (MetricSpec("exact_match"),)


def score(text: str, *steps: FilterStep, target: Any = "", **spec: Any) -> DocScore:
    pipeline = FilterSpec("f", (*steps, FilterStep("take_first")))
    facts = DocFacts(0, {}, target, choices=spec.pop("choices", None))
    (found,) = score_doc(ScoringSpec("generate_until", EXACT, [pipeline], **spec), facts, [[Response(text=text)]])
    return found


@pytest.mark.parametrize(("text", "name", "expected"), ROWS)
def test_an_answer_of_the_golden_file(text: str, name: str, expected: list[str]) -> None:
    steps = [
        FilterStep(s["function"], {k: v for k, v in s.items() if k != "function"}) for s in GOLDEN["filters"][name]
    ]
    found = score(text, *steps)
    assert found.extraction is not None
    place = text[slice(*found.extraction.span)] if found.extraction.span else None
    if expected == ["no_match"]:
        expected = ["no_match", "[invalid]", None]  # type: ignore[list-item]
    assert [found.extraction.status, found.filtered[0], place] == expected


@pytest.mark.parametrize(
    ("name", "text", "target", "correct"),
    [
        ("last_number", "It is 1234.00.", "1,234", True),
        ("last_number", "It is 18.", "9 + 9 = 18\n#### 18", True),
        ("last_number", "It is 29", 29, True),
        ("last_number", "It is 29.5", 29.5, True),
        ("last_number", "It is 17.", "#### 18", False),
        ("last_number", "no idea", "no idea", False),
        ("choice_letter", "Answer: B", "(B)", True),
        ("choice_letter", "Answer: B", "A", False),
        ("math_answer", r"$\boxed{\dfrac{1}{2}}$", r"so it is $\boxed{\frac12}$", False),
        ("math_answer", r"so $x = \dfrac{1}{2}$.", r"hence $\boxed{\frac{1}{2}}$", True),
        ("boxed", r"\boxed{yes}", "yes", True),
    ],
)
def test_a_target_is_read_as_an_answer_is(name: str, text: str, target: Any, correct: bool) -> None:
    assert score(text, FilterStep(name), target=target).correct is correct


def test_one_of_several_targets_suffices() -> None:
    assert score("It is 1,000.", FilterStep("last_number"), target=["7", "1000.0"], multiple_target=True).correct


def test_the_index_of_a_choice_stays_an_index() -> None:
    assert score("B", FilterStep("choice_letter"), target=1, has_choices=True, choices=["A", "B"]).correct


@given(st.text(), st.sampled_from(list(ROBUST)))
def test_nothing_found_is_never_right(text: str, name: str) -> None:
    found = score(text, FilterStep(name), target=text)
    assert found.extraction is not None
    if found.extraction.status == "no_match":
        assert (found.filtered, found.correct) == (["[invalid]"], text == "[invalid]")
    else:
        assert found.correct


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["{:,}", "{}.00", "${:,}.0", "**{}**", r"\boxed{{{}}}", "#### {}"])
)
def test_every_spelling_of_a_number_is_that_number(number: int, spelling: str) -> None:
    assert score(spelling.format(number), FilterStep("last_number")).filtered == [str(number)]


SPEC = ScoringSpec("generate_until", EXACT)
CODE = FunctionRef("helpers.process", Path("x"))


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        (["18", "1,234"], "last_number"),
        ([3, 4.5], "last_number"),
        (["9 + 9\n#### 18"], "last_number"),
        (["A", "(B)"], "choice_letter"),
        ([r"so $\boxed{4}$"], "math_answer"),
        ([["18", "18.0"], ["7"]], "last_number"),
        (["Paris"], None),
        (["18", "B"], None),
        ([], None),
    ],
)
def test_the_robust_filter_follows_from_the_targets(targets: list[Any], name: str | None) -> None:
    added = with_robust(SPEC, targets).filters[len(SPEC.filters) :]
    assert [step.function for pipeline in added for step in pipeline.steps] == ([name, "take_first"] if name else [])


@pytest.mark.parametrize(
    "spec",
    [
        ScoringSpec("multiple_choice", (MetricSpec("acc"),)),
        ScoringSpec("generate_until", EXACT, has_choices=True),
        ScoringSpec("generate_until", EXACT, process_results=CODE),
        ScoringSpec("generate_until", EXACT, [FilterSpec("robust", (FilterStep("take_first"),))]),
    ],
)
def test_a_task_that_robust_does_not_fit_stays_as_it_is(spec: ScoringSpec) -> None:
    assert with_robust(spec, ["18"]) is spec
