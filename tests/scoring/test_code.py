"""Scoring by code that a task names: results, metrics, aggregations and filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionError, FunctionRef
from lmrun.requests import Response
from lmrun.scoring import aggregate, check_spec, score_doc
from lmrun.scoring.spec import DocFacts, FilterSpec, FilterStep, MetricSpec, ScoringSpec


class Code(TaskFunctions):
    """The functions of a test, by name."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        super().__init__()
        self.functions = functions

    def call(self, ref: FunctionRef, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.functions[ref.target](*args, **kwargs)
        except Exception as error:
            raise FunctionError(ref, str(error), kind=type(error).__name__) from error

    def has_filter(self, name: str) -> bool:
        return name in self.functions

    def apply_filter(
        self,
        function: FunctionRef | str,
        kwargs: Mapping[str, Any],
        responses: Sequence[Sequence[Any]],
        docs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        name = function if isinstance(function, str) else function.target
        made: list[Any] = self.functions[name](responses, docs, **kwargs)
        return made


def ref(name: str) -> FunctionRef:
    return FunctionRef(name, Path("tasks"))


def generated(spec: ScoringSpec, text: str, code: Code, target: Any = "gold") -> Mapping[str, Any]:
    (score,) = score_doc(spec, DocFacts(4, {"q": 1}, target), [[Response(text=text)]], code)
    return score.metrics


def test_results_are_given_as_lm_eval_gives_them() -> None:
    seen: list[Any] = []

    def process(doc: Any, results: Any) -> dict[str, float]:
        seen.append((doc, results))
        return {"acc": 1.0, "other": 0.5}

    spec = ScoringSpec("multiple_choice", [MetricSpec("acc")], process_results=ref("process"))
    responses = [[Response(logprob=-1.0, is_greedy=True)], [Response(logprob=-2.0, is_greedy=False)]]
    (score,) = score_doc(spec, DocFacts(0, {"q": 1}, 0, choices=["a", "b"]), responses, Code(process=process))
    assert seen == [({"q": 1}, [(-1.0, True), (-2.0, False)])]
    assert (score.metrics, score.correct) == ({"acc": 1.0, "other": 0.5}, True)


@pytest.mark.parametrize("value", [None, 3, [("acc", 1)]])
def test_results_have_to_be_a_mapping(value: Any) -> None:
    spec = ScoringSpec("generate_until", [], process_results=ref("process"))
    with pytest.raises(TaskError, match=r"!function process: gives .* for doc 4"):
        generated(spec, "x", Code(process=lambda doc, results: value))


def test_without_anything_to_run_it_code_is_an_error() -> None:
    spec = ScoringSpec("generate_until", [], process_results=ref("process"))
    with pytest.raises(TaskError, match="nothing is there to run it"):
        score_doc(spec, DocFacts(0, {}, ""), [[Response(text="")]])


def test_a_metric_is_called_by_keywords_and_may_give_several() -> None:
    def two(*, references: list[str], predictions: list[str], scale: int) -> dict[str, float]:
        return {"same": float(references == predictions), "scaled": 1.0 * scale}

    spec = ScoringSpec("generate_until", [MetricSpec("two", kwargs={"scale": 3}, function=ref("two"))])
    assert generated(spec, "gold", Code(two=two)) == {"same": 1.0, "scaled": 3.0}


def test_a_metric_without_keywords_gets_one_list() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("pair", function=ref("pair"))])
    assert generated(spec, "x", Code(pair=lambda items: items)) == {"pair": ["gold", "x"]}


def test_another_failure_of_a_metric_is_not_tried_again() -> None:
    calls: list[Any] = []

    def bad(**kwargs: Any) -> float:
        calls.append(kwargs)
        raise KeyError("x")

    spec = ScoringSpec("generate_until", [MetricSpec("bad", function=ref("bad"))])
    with pytest.raises(FunctionError):
        generated(spec, "x", Code(bad=bad))
    assert len(calls) == 1


@pytest.mark.parametrize(("text", "met"), [("b", 1.0), ("c", 0.0)])
def test_one_of_several_targets_suffices(text: str, met: float) -> None:
    def same(references: list[str], predictions: list[str]) -> float:
        return float(references == predictions)

    spec = ScoringSpec("generate_until", [MetricSpec("same", function=ref("same"))], multiple_target=True)
    assert generated(spec, text, Code(same=same), ["a", "b"]) == {"same": met}


def test_an_aggregation_by_code_has_no_standard_error() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("m", ref("largest"), higher_is_better=True)])
    (result,) = aggregate(spec, {("m", "none"): [1, 5, 2]}, functions=Code(largest=max))
    assert (result.value, result.stderr, result.ci, result.n, result.higher_is_better) == (5, "N/A", None, 3, True)


@pytest.mark.parametrize("function", [ref("shout"), "shout"])
def test_a_filter_by_code_or_registered_by_it(function: FunctionRef | str) -> None:
    def shout(responses: Any, docs: Any, mark: str) -> list[Any]:
        return [
            [f"{text.upper()}{mark}{doc['q']}" for text in texts] for texts, doc in zip(responses, docs, strict=True)
        ]

    steps = (FilterStep(function, {"mark": "!"}), FilterStep("take_first"))
    spec = ScoringSpec("generate_until", [MetricSpec("exact_match")], [FilterSpec("f", steps)])
    assert check_spec(spec, Code(shout=shout)) == ()
    assert generated(spec, "hey", Code(shout=shout), "HEY!1") == {"exact_match": 1.0}


def test_code_cannot_take_the_name_of_a_filter_of_our_own() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("exact_match")], [FilterSpec("f", (FilterStep("take_first"),))])
    code = Code(take_first=lambda responses, docs: [["other"]])
    assert generated(spec, "hey", code, "hey") == {"exact_match": 1.0}


def test_what_code_computes_is_not_checked_by_name() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("rouge1"), MetricSpec("x", "nowhere")], process_results=ref("p"))
    assert [p.message for p in check_spec(spec, Code())] == ["unknown aggregation 'nowhere'"]


@pytest.mark.parametrize("value", [None, "1", [1.0], {1}])
def test_a_value_that_no_mean_can_take_fails_its_doc_alone(value: Any) -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("m")], process_results=ref("process"))
    with pytest.raises(FunctionError, match="as m for doc 4"):
        generated(spec, "x", Code(process=lambda doc, results: {"m": value}))
    pairs = ScoringSpec("generate_until", [MetricSpec("m", ref("own"))], process_results=ref("process"))
    assert generated(pairs, "x", Code(process=lambda doc, results: {"m": value})) == {"m": value}
