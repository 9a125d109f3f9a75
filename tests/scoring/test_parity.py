"""Equal to lm-eval, to the last bit: filters, per-doc values, scores, standard errors, groups."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun import bundled
from lmrun.code import TaskFunctions
from lmrun.functions import FunctionRef
from lmrun.scoring import LeafMetric, aggregate, aggregate_group, score_doc
from lmrun.scoring.filters import build_pipeline, run_pipeline
from lmrun.scoring.spec import FilterSpec, MetricSpec, ScoringSpec
from tests.scoring.golden import facts_of, golden, responses_of, same, spec_of, steps


def _task_name(case: dict[str, Any]) -> str:
    return f"{case['output_type']}:{','.join(m['metric'] for m in case['metrics'])}"


@pytest.mark.parametrize("case", golden()["filters"], ids=lambda c: ">".join(s["function"] for s in c["steps"]) or "no")
def test_filters_hand_on_what_lm_eval_hands_on(case: dict[str, Any]) -> None:
    pipeline = build_pipeline(FilterSpec("f", steps(case["steps"])))
    for doc in case["docs"]:
        state = run_pipeline(pipeline, doc["responses"], {"choices": doc["choices"]})
        mine = [item.value for item in state] if isinstance(state, list) else state.value
        assert mine == doc["filtered"], doc["responses"]


@pytest.mark.parametrize("case", golden()["tasks"], ids=_task_name)
def test_values_of_each_doc(case: dict[str, Any]) -> None:
    spec = spec_of(case)
    for doc in case["docs"]:
        scores = {s.filter: s for s in score_doc(spec, facts_of(doc), responses_of(case, doc))}
        mine = scores[doc["filter"]].metrics
        assert list(mine) == list(doc["values"])
        if "brier_score" in mine:  # softmax: exp() of numpy may round differently on other processors
            gold, shares = doc["values"]["brier_score"]
            assert mine["brier_score"] == [gold, pytest.approx(shares, rel=1e-14)]
        exact = {name: value for name, value in doc["values"].items() if name != "brier_score"}
        assert all(same(mine[name], value) for name, value in exact.items()), (mine, doc)


@pytest.mark.parametrize("case", golden()["tasks"], ids=_task_name)
def test_scores_and_standard_errors_of_a_task(case: dict[str, Any]) -> None:
    values: dict[tuple[str, str], list[Any]] = {}
    for doc in case["docs"]:
        for metric, value in doc["values"].items():
            values.setdefault((metric, doc["filter"]), []).append(value)
    results = aggregate(spec_of(case), values, case["iterations"])
    mine: dict[str, Any] = {f"{r.metric},{r.filter}": r.value for r in results}
    mine |= {f"{r.metric}_stderr,{r.filter}": r.stderr for r in results}
    assert mine.keys() == case["scores"].keys()
    assert {k: v for k, v in mine.items() if not same(v, case["scores"][k])} == {}
    assert max(r.n for r in results) == case["n"]
    assert {r.metric: r.higher_is_better for r in results} == {
        name: value for name, value in case["higher_is_better"].items() if name in {r.metric for r in results}
    }


@pytest.mark.parametrize("case", golden()["aggregations"], ids=lambda c: f"{c['aggregation']}-{c['iterations']}")
def test_aggregations(case: dict[str, Any]) -> None:
    spec = ScoringSpec("generate_until", [MetricSpec(case["metric"], case["aggregation"])])
    (result,) = aggregate(spec, {(case["metric"], "f"): case["values"]}, case["iterations"])
    assert same(result.value, case["value"])
    assert same(result.stderr, case["stderr"])


@pytest.mark.parametrize("case", golden()["groups"])
def test_groups(case: dict[str, Any]) -> None:
    leaves = []
    for leaf in case["leaves"]:
        keys = [key for key in leaf if "," in key and "_stderr" not in key]
        split = [tuple(key.split(",")) for key in keys]
        leaves.append(
            [LeafMetric(m, f, leaf[f"{m},{f}"], leaf[f"{m}_stderr,{f}"], leaf["sample_len"]) for m, f in split]
        )
    results = aggregate_group(case["aggregates"], leaves)
    theirs = case["result"]
    mine: dict[str, Any] = {f"{r.metric},{r.filter}": r.value for r in results}
    mine |= {f"{r.metric}_stderr,{r.filter}": r.stderr for r in results}
    assert mine == {key: value for key, value in theirs.items() if "," in key}
    assert {f"{r.metric},{r.filter}": r.n for r in results} == theirs.get("sample_count", {})


@pytest.mark.parametrize("case", golden()["mc2"])
def test_mc2(case: dict[str, Any]) -> None:
    mc2 = FunctionRef("helpers.mc2", bundled.tasks_dir() / "truthfulqa")
    results = [(logprob, False) for logprob in case["logprobs"]]
    values = TaskFunctions().call(mc2, {"mc2_targets": {"labels": case["labels"]}}, results)
    # exp() of numpy may round differently on other processors.
    assert values == {"acc": pytest.approx(case["value"], rel=1e-14)}
