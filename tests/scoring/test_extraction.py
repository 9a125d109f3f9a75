"""Whether an answer was found, whether it was the only one, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.errors import TaskError
from lmrun.requests import Response
from lmrun.scoring import DocScore, Extraction, score_doc
from lmrun.scoring.extraction import Item
from lmrun.scoring.filters import FILTERS, build_filter, run_pipeline
from lmrun.scoring.robust import ROBUST
from lmrun.scoring.spec import DocFacts, FilterSpec, FilterStep, MetricSpec, ScoringSpec

STRICT = FilterStep("regex", {"regex_pattern": r"#### (\-?[0-9\.\,]+)"})
FLEXIBLE = FilterStep("regex", {"regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1})
LETTER = FilterStep("multi_choice_regex", {"regex_pattern": r"(\([A-Z]\))", "ignore_case": True})
TAKE = FilterStep("take_first")
DOC = {"choices": ["Paris", "London", "Rome"]}


def score(text: str, *steps: FilterStep, target: Any = "", doc: Mapping[str, Any] = DOC) -> DocScore:
    spec = ScoringSpec("generate_until", [MetricSpec("exact_match")], [FilterSpec("f", steps)])
    (result,) = score_doc(spec, DocFacts(0, doc, target), [[Response(text=text)]])
    return result


def found(text: str, *steps: FilterStep) -> tuple[str, str | None]:
    """Status, and the text at the reported place."""
    extraction = score(text, *steps).extraction
    assert extraction is not None
    return extraction.status, text[slice(*extraction.span)] if extraction.span else None


def test_no_extracting_filter_says_nothing_of_extraction() -> None:
    assert score("12", FilterStep("lowercase"), TAKE).extraction is None


@pytest.mark.parametrize(
    ("text", "steps", "status", "place"),
    [
        ("so it is #### 1,234.", [STRICT, TAKE], "matched", "1,234."),
        ("no number at all", [STRICT, TAKE], "no_match", None),
        ("", [STRICT, TAKE], "no_match", None),
        ("#### 1 or rather #### 2", [STRICT, TAKE], "ambiguous", "1"),
        ("#### 7 yes, #### 7", [STRICT, TAKE], "matched", "7"),
        ("it costs $29.00", [FLEXIBLE, TAKE], "matched", "$29.00"),
        ("3 eggs at 4 each", [FLEXIBLE, TAKE], "ambiguous", "4"),
        (r"\[\boxed{42}\]", [FLEXIBLE, TAKE], "matched", "42"),
        ("I choose (B)", [LETTER, TAKE], "matched", "(B)"),
        ("the capital is LONDON", [LETTER, TAKE], "matched", "LONDON"),
        ("Answer: B", [LETTER, TAKE], "matched", "B"),
        ("rome, or paris", [LETTER, TAKE], "ambiguous", "rome"),
        ("**B**", [LETTER, TAKE], "no_match", None),
        (
            "I never SAID so",
            [FilterStep("lowercase"), FilterStep("regex", {"regex_pattern": "said"})],
            "matched",
            "SAID",
        ),
        ("  #### 5", [FilterStep("remove_whitespace"), STRICT, TAKE], "matched", "5"),
        ("a #### 12", [STRICT, FilterStep("regex", {"regex_pattern": "2$"}), TAKE], "matched", "2"),
        ("nothing", [STRICT, FilterStep("regex", {"regex_pattern": "invalid"}), TAKE], "no_match", None),
        ("('a', 'NN') ('b', 'VB')", [FilterStep("regex_pos"), TAKE], "matched", "('a', 'NN') ('b', 'VB')"),
        ("LOC: Rome", [FilterStep("format_span"), TAKE], "matched", None),
        ("nothing to see", [FilterStep("format_span"), TAKE], "no_match", None),
        ("yes", [FilterStep("map", {"mapping_dict": {"yes": 1}}), TAKE], "matched", "yes"),
        ("maybe", [FilterStep("map", {"mapping_dict": {"yes": 1}}), TAKE], "no_match", None),
        ("a b", [FilterStep("regex", {"regex_pattern": "x*"}), TAKE], "no_match", None),
        ("z", [FilterStep("regex", {"regex_pattern": "z", "group_select": 3}), TAKE], "no_match", None),
    ],
)
def test_status_and_place(text: str, steps: list[FilterStep], status: str, place: str | None) -> None:
    assert found(text, *steps) == (status, place)


def test_nothing_found_hands_on_the_fallback_and_is_wrong() -> None:
    result = score("I do not know", STRICT, TAKE, target="12")
    assert (result.filtered, result.metrics, result.correct) == (["[invalid]"], {"exact_match": 0.0}, False)


def test_a_vote_reports_the_extraction_of_the_answer_that_won() -> None:
    spec = ScoringSpec(
        "generate_until",
        [MetricSpec("exact_match")],
        [FilterSpec("vote", [STRICT, FilterStep("majority_vote"), TAKE])],
    )
    texts = ["lost", "#### 3 or #### 4", "#### 5", "so #### 5"]
    (result,) = score_doc(spec, DocFacts(0, {}, "5"), [[Response(text=t) for t in texts]])
    assert (result.filtered, result.extraction, result.correct) == (["5"], Extraction("matched", (5, 6)), True)


TOTAL = [
    FilterStep("take_first"),
    FilterStep("take_first_k", {"k": 1}),
    FilterStep("majority_vote"),
    STRICT,
    FLEXIBLE,
    FilterStep("regex", {"regex_pattern": r"(a*)(b*)", "group_select": 2, "fallback": None}),
    LETTER,
    FilterStep("multi_choice_regex", {"regex_pattern": "(x)|(y)", "ignore_punctuation": True, "group_select": -1}),
    FilterStep("remove_whitespace"),
    FilterStep("lowercase"),
    FilterStep("uppercase"),
    FilterStep("map", {"mapping_dict": {"a": 1}}),
    FilterStep("regex_pos"),
    FilterStep("format_span"),
    *map(FilterStep, ROBUST),
]


def test_every_filter_is_in_the_list_of_those_that_never_raise() -> None:
    assert {step.function for step in TOTAL} == set(FILTERS)


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.sampled_from(TOTAL), max_size=3), st.lists(st.text()))
def test_no_filter_raises_whatever_a_model_wrote(texts: list[str], steps: list[FilterStep], choices: list[str]) -> None:
    needs_a_list = [s for s in steps if s.function != "take_first_k"]
    state = run_pipeline([build_filter(s) for s in needs_a_list], texts, {"choices": choices})
    for item in state if isinstance(state, list) else [state]:
        assert isinstance(item, Item)
        if item.status == "no_match":
            assert item.span is None


@given(st.text(alphabet="ab#1, $.-\nÉé", max_size=40), st.sampled_from([STRICT, FLEXIBLE, LETTER]))
def test_the_place_holds_what_was_extracted(text: str, step: FilterStep) -> None:
    result = score(text, step, TAKE)
    assert result.extraction is not None
    if result.extraction.span and step is not LETTER:
        assert text[slice(*result.extraction.span)] == result.filtered[0]
    assert (result.extraction.status == "no_match") == (result.extraction.span is None)


def test_take_first_k_says_how_many_answers_it_needs() -> None:
    with pytest.raises(TaskError, match="needs 3 answers"):
        score("x", FilterStep("take_first_k", {"k": 3}))


def test_multi_choice_regex_says_that_the_doc_has_no_choices() -> None:
    with pytest.raises(TaskError, match="column `choices`"):
        score("(A)", LETTER, doc={"question": "?"})


def test_more_choices_than_letters() -> None:
    doc = {"choices": [f"choice {i:02}" for i in range(40)]}
    assert score("choice 30", LETTER, TAKE, doc=doc).filtered == ["(_)"]
