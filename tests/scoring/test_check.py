"""What is wrong with a task's scoring is said before any model is asked."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.errors import TaskError
from lmrun.scoring import aggregate, check_spec, corpus, required_packages
from lmrun.scoring.spec import FilterSpec, FilterStep, MetricSpec, ScoringSpec
from tests.scoring.golden import golden, spec_of


def spec(*metrics: MetricSpec, steps: tuple[FilterStep, ...] = ()) -> ScoringSpec:
    return ScoringSpec("generate_until", metrics, [FilterSpec("pipe", steps)])


def test_a_sound_spec_has_no_problems() -> None:
    options = {"ignore_case": True, "regexes_to_ignore": [r"\$"]}
    sound = spec(MetricSpec("exact_match", kwargs=options), MetricSpec("bleu", "bleu"), steps=(FilterStep("regex"),))
    assert check_spec(sound) == ()


@pytest.mark.parametrize(
    ("metric", "message", "hint"),
    [
        (MetricSpec("exact_mach"), "unknown metric 'exact_mach'", "did you mean 'exact_match'?"),
        (MetricSpec("exact_match", "meen"), "unknown aggregation 'meen'", "did you mean 'mean' or 'median'?"),
        (
            MetricSpec("exact_match", kwargs={"ignore_cases": True}),
            "unknown option of exact_match 'ignore_cases'",
            "did you mean 'ignore_case' or 'ignore_numbers'?",
        ),
    ],
)
def test_unknown_names(metric: MetricSpec, message: str, hint: str) -> None:
    (problem,) = check_spec(spec(metric))
    assert (problem.message, problem.hint) == (message, hint)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (FilterStep("regexp"), "filter pipeline 'pipe': unknown filter 'regexp'"),
        (FilterStep("regex", {"pattern": "x"}), "filter pipeline 'pipe': filter regex has no argument 'pattern'"),
        (FilterStep("take_first_k"), "filter pipeline 'pipe': filter take_first_k needs the argument 'k'"),
        (FilterStep("regex", {"regex_pattern": "("}), "is not a regular expression"),
        (FilterStep("multi_choice_regex", {"regexes_to_ignore": ["["]}), "is not a regular expression"),
    ],
)
def test_filters(step: FilterStep, message: str) -> None:
    (problem,) = check_spec(spec(MetricSpec("exact_match"), steps=(step,)))
    assert message in problem.message


def test_all_problems_come_at_once() -> None:
    wrong = spec(
        MetricSpec("a"), MetricSpec("exact_match", kwargs={"regexes_to_ignore": ["("]}), steps=(FilterStep("b"),)
    )
    assert len(check_spec(wrong)) == 3


def test_two_metrics_under_one_name() -> None:
    choice = ScoringSpec("multiple_choice", [MetricSpec("acc"), MetricSpec("acc")])
    (problem,) = check_spec(choice)
    assert problem.message == "the metric 'acc' is stated twice"


def test_a_missing_package_is_named_before_and_while_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    monkeypatch.setattr(corpus, "find_spec", lambda name: None)
    translation = spec(MetricSpec("ter"))
    assert required_packages(translation) == ["sacrebleu"]
    assert [p.hint for p in check_spec(translation)] == ['pip install "lmrun[tasks]"']
    with pytest.raises(TaskError) as caught:
        aggregate(translation, {("ter", "none"): [["a", "b"]]})
    assert caught.value.hint == 'pip install "lmrun[tasks]"'


def test_metrics_without_packages_need_none() -> None:
    assert required_packages(spec(MetricSpec("f1"), MetricSpec("mcc"), MetricSpec("exact_match"))) == []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (spec(MetricSpec("acc")), "metric acc gives a pair for each doc of this task, which the aggregation mean"),
        (
            ScoringSpec("generate_until", [MetricSpec("bleu")], multiple_target=True),
            "metric bleu gives one number for each doc of this task, which the aggregation bleu",
        ),
        (ScoringSpec("multiple_choice", [MetricSpec("likelihood")]), "metric likelihood gives a pair"),
        (ScoringSpec("multiple_choice", [MetricSpec("acc", "f1")]), "metric acc gives one number"),
        (ScoringSpec("loglikelihood", [MetricSpec("acc", "brier_score")]), "metric acc gives one number"),
        (
            ScoringSpec("loglikelihood_rolling", [MetricSpec("bits_per_byte", "mean")]),
            "metric bits_per_byte gives a pair",
        ),
    ],
)
def test_values_that_the_aggregation_cannot_take(task: ScoringSpec, message: str) -> None:
    (problem,) = check_spec(task)
    assert problem.message.startswith(message)


@pytest.mark.parametrize("case", golden()["tasks"])
def test_what_lm_eval_scores_has_no_problems(case: dict[str, Any]) -> None:
    assert check_spec(spec_of(case)) == ()
