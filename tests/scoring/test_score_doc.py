"""What scoring says of one doc."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from lmrun.errors import TaskError
from lmrun.requests import Response
from lmrun.scoring import score_doc
from lmrun.scoring.metrics import exact_match
from lmrun.scoring.process import argmax
from lmrun.scoring.spec import DocFacts, FilterSpec, MetricSpec, OutputType, ScoringSpec

INF, NAN = float("inf"), float("nan")


def choice(*metrics: str, target: Any = 0, logprobs: tuple[float, ...] = (-1.0, -2.0), **flags: Any) -> dict[str, Any]:
    spec = ScoringSpec("multiple_choice", [MetricSpec(m) for m in metrics], has_choices=True, **flags)
    facts = DocFacts(7, {}, target, text=1, choices=["aa", "bbbb"])
    (score,) = score_doc(spec, facts, [[Response(logprob=ll, is_greedy=ll == -1.0)] for ll in logprobs])
    return dict(score.metrics)


def test_metrics_come_in_lm_evals_order_whatever_the_task_lists_first() -> None:
    assert list(choice("exact_match", "acc_norm", "acc")) == ["acc", "acc_norm", "exact_match"]


def test_metrics_that_the_output_type_does_not_have_are_left_out() -> None:
    assert choice("acc", "bleu") == {"acc": 1.0}


@pytest.mark.parametrize("target", [-100, 2, "no choice", None, [5], []])
def test_a_target_that_is_no_choice_is_never_right(target: Any) -> None:
    assert choice("acc", "acc_norm", "acc_bytes", "exact_match", target=target) == {
        "acc": 0.0,
        "acc_norm": 0.0,
        "acc_bytes": 0.0,
        "exact_match": 0,
    }


def test_a_column_of_integers_that_became_floats() -> None:
    assert choice("acc", target=0.0) == {"acc": 1.0}


def test_multiple_input_takes_the_gold_index_from_the_text() -> None:
    assert choice("acc", target=" end", logprobs=(-3.0, -1.0), multiple_input=True) == {"acc": 1.0}


def test_the_number_of_answers_has_to_fit_the_choices() -> None:
    with pytest.raises(TaskError, match="doc 7: 3 answers do not fit 2 choices"):
        choice("acc", logprobs=(-1.0, -2.0, -3.0))


def test_scored_answers_need_take_first() -> None:
    bare = ScoringSpec("loglikelihood", [MetricSpec("acc")], filters=[FilterSpec("all", ())])
    with pytest.raises(TaskError) as caught:
        score_doc(bare, DocFacts(0, {}, "x"), [[Response(logprob=-1.0)]])
    assert caught.value.hint == "end the filter pipeline with take_first"


@pytest.mark.parametrize("output_type", ["loglikelihood", "loglikelihood_rolling", "multiple_choice"])
def test_an_answer_without_a_log_probability(output_type: OutputType) -> None:
    with pytest.raises(TaskError, match="doc 3: an answer has no log-probability"):
        score_doc(ScoringSpec(output_type, []), DocFacts(3, {}, "x"), [[Response(text="hello")]])


def test_values_survive_the_store() -> None:
    values = choice("likelihood", "brier_score", "f1", logprobs=(-INF, -INF))
    back = json.loads(json.dumps(values))
    assert back["likelihood"] == values["likelihood"] == [0, [-INF, -INF]]
    assert all(p != p for p in back["brier_score"][1])


@pytest.mark.parametrize(
    ("values", "position"),
    [([1.0, 3.0, 3.0], 1), ([NAN, 3.0], 0), ([1.0, NAN, NAN], 1), ([-INF, -INF], 0), ([-INF, -1.0], 1)],
)
def test_argmax_takes_the_first_maximum_and_nan_first_of_all(values: list[float], position: int) -> None:
    assert argmax(values) == position


@pytest.mark.parametrize(
    ("prediction", "reference", "options", "score"),
    [
        ("The Answer.", "the answer", {}, 0.0),
        ("The Answer.", "the answer", {"ignore_case": True, "ignore_punctuation": True}, 1.0),
        ("$29.00", "29", {"regexes_to_ignore": [r"\$", r"\.00$"]}, 1.0),
        ("a1", "a2", {"ignore_numbers": True}, 1.0),
        (" a", "a", {}, 0.0),
        (["a", "b", "a", "a"], "a", {}, 0.75),
        ([], "a", {}, 0.0),
        (["a", "b"], ["a", "b", "c"], {}, 0.0),
        (1, 1, {}, 1.0),
        ("1", 1, {}, 0.0),
    ],
)
def test_exact_match(prediction: Any, reference: Any, options: dict[str, Any], score: float) -> None:
    assert exact_match(prediction, reference, **options) == score


def test_generated_answers_are_compared_with_the_target_as_text() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("exact_match")])
    (score,) = score_doc(spec, DocFacts(0, {}, 12), [[Response(text="12")]])
    assert (score.correct, score.filtered) == (True, ["12"])


def test_a_target_that_is_no_index_of_the_choices_is_an_error() -> None:
    spec = ScoringSpec("generate_until", [MetricSpec("exact_match")], has_choices=True)
    with pytest.raises(TaskError, match="has to be the index of a choice; it is 'yes'"):
        score_doc(spec, DocFacts(0, {}, "yes", choices=["yes", "no"]), [[Response(text="yes")]])


def test_importing_scoring_imports_nothing_heavy() -> None:
    heavy = ["numpy", "sklearn", "sacrebleu", "scipy", "pandas"]
    code = f"import sys, lmrun.scoring; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
