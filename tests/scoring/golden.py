"""The golden file: what lm-eval 0.4.13 made of random answers (see ``tests/golden/make_scoring_golden.py``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lmrun.requests import Response
from lmrun.scoring.spec import DocFacts, FilterSpec, FilterStep, MetricSpec, ScoringSpec

_FILE = Path(__file__).parents[1] / "golden" / "scoring.json"
_METRIC_KEYS = ("metric", "aggregation", "higher_is_better")


@cache
def golden() -> Any:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def steps(entries: Sequence[Mapping[str, Any]]) -> tuple[FilterStep, ...]:
    return tuple(FilterStep(e["function"], {k: v for k, v in e.items() if k != "function"}) for e in entries)


def spec_of(case: Mapping[str, Any]) -> ScoringSpec:
    return ScoringSpec(
        output_type=case["output_type"],
        metrics=tuple(
            MetricSpec(
                m["metric"],
                m.get("aggregation"),
                m.get("higher_is_better"),
                {k: v for k, v in m.items() if k not in _METRIC_KEYS},
            )
            for m in case["metrics"]
        ),
        filters=tuple(FilterSpec(f["name"], steps(f["steps"])) for f in case["filters"]),
        multiple_input=case["multiple_input"],
        multiple_target=case["multiple_target"],
        has_choices=case["has_choices"],
    )


def facts_of(doc: Mapping[str, Any], doc_id: int = 0) -> DocFacts:
    return DocFacts(doc_id, doc, doc["target"], doc["text"], doc.get("choices"))


def responses_of(case: Mapping[str, Any], doc: Mapping[str, Any]) -> list[list[Response]]:
    return [[_response(case["output_type"], value) for value in repeats] for repeats in doc["responses"]]


def _response(output_type: str, value: Any) -> Response:
    if output_type == "generate_until":
        return Response(text=value)
    if output_type == "loglikelihood_rolling":
        return Response(logprob=value)
    return Response(logprob=value[0], is_greedy=value[1])


def same(mine: Any, theirs: Any) -> bool:
    """Equal to the last bit; nan equals nan, and a tuple the list that JSON makes of it."""
    if isinstance(mine, list | tuple) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(same(a, b) for a, b in zip(mine, theirs, strict=True))
    if isinstance(mine, float) and isinstance(theirs, float) and mine != mine:
        return theirs != theirs
    return bool(mine == theirs)
