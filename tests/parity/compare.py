"""Compare what the two sides ask and how they score."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.parity.ours import Rows, Scored
from tests.parity.peer import Dump

SUMMATION = 1e-12
"""Relative difference that is allowed where the two sides may add up in another order."""
LOGPROB = 1e-4
"""Absolute difference of log-probabilities of the same model in fp32."""
SHOWN = 5
"""Differences that are kept as text; the rest is only counted."""
FLOAT32 = 2.0**-21
"""Relative: lm-eval adds up thousands of tokens in single precision, where -40,000 cannot be told from -40,000.002."""


@dataclass
class Comparison:
    """How many of something were compared, and what is not the same."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)
    different: int = 0

    def add(self, same: bool, text: str = "") -> None:
        self.compared += 1
        if not same:
            self.different += 1
            if len(self.differences) < SHOWN:
                self.differences.append(text)

    def __iadd__(self, other: Comparison) -> Comparison:
        self.compared += other.compared
        self.different += other.different
        self.differences += other.differences[: SHOWN - len(self.differences)]
        return self

    @property
    def identical(self) -> bool:
        return self.compared > 0 and not self.different

    def __str__(self) -> str:
        head = f"{self.compared - self.different:,} of {self.compared:,} identical"
        return "\n  ".join([head, *self.differences])


# -- requests ----------------------------------------------------------------------------------------------------------


def expected_requests(rows: Rows, chat: bool) -> Rows:
    """lm-eval's requests of one task in the shape that ``lmrun preview --json`` prints."""
    expected = []
    for row in rows:
        context: Any = row["context"]
        # The stub's chat template is the messages as JSON; the unconditional request of acc_mutual_info has none.
        if chat and context:
            context = json.loads(context)
        shaped = {
            "doc_id": row["doc_id"],
            "type": row["type"],
            "context": context,
            "continuation": row.get("continuation", ""),
            "generation": row.get("generation", {}),
        }
        expected += [shaped] * row["repeats"]
    return expected


def compare_requests(task: str, theirs: Rows, ours: Rows, chat: bool) -> Comparison:
    """Request by request, in order."""
    result = Comparison()
    expected = expected_requests(theirs, chat)
    if len({row["type"] for row in expected}) > 1:
        # lm-eval asks kind by kind, lmrun doc by doc; within both the order is that of the docs.
        expected.sort(key=lambda row: row["doc_id"])
    if len(expected) != len(ours):
        result.add(False, f"{task}: lm-eval asks {len(expected)} requests, lmrun {len(ours)}")
    for position, (a, b) in enumerate(zip(expected, ours, strict=False)):
        wrong = [key for key, value in a.items() if value != b[key]]
        text = "; ".join(f"{key}: {_first_difference(a[key], b[key])}" for key in wrong)
        result.add(not wrong, f"{task} request {position} (doc {a['doc_id']}): {text}")
    return result


def _first_difference(a: Any, b: Any) -> str:
    """Where two values part, with a little of what stands around it."""
    left, right = (v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in (a, b))
    at = next((i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), min(len(left), len(right)))
    around = slice(max(0, at - 30), at + 50)
    return f"at {at}: lm-eval {left[around]!r}, lmrun {right[around]!r}"


# -- scores ------------------------------------------------------------------------------------------------------------


def same(a: Any, b: Any, relative: float, absolute: float = 0.0) -> bool:
    """Equal values; numbers within the tolerances, NaN equal to NaN, tuples like lists."""
    if isinstance(a, bool) or isinstance(b, bool) or not (_number(a) and _number(b)):
        if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str) and not isinstance(b, str):
            return len(a) == len(b) and all(same(x, y, relative, absolute) for x, y in zip(a, b, strict=True))
        return bool(a == b)
    if math.isnan(a) and math.isnan(b):
        return True
    return math.isclose(a, b, rel_tol=relative, abs_tol=absolute)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


@dataclass(frozen=True)
class ScoreComparison:
    """All that is compared of one case's scores."""

    docs: Comparison
    """Metric values per doc and filter."""
    values: Comparison
    """Aggregated values and standard errors of tasks and groups."""
    facts: Comparison
    """Versions, shots, sample counts, directions, members of groups."""

    @property
    def identical(self) -> bool:
        return self.docs.identical and self.values.identical and self.facts.identical

    def __str__(self) -> str:
        return f"docs: {self.docs}\nvalues: {self.values}\nfacts: {self.facts}"


def compare_scores(
    theirs: Dump, ours: Scored, relative: float = SUMMATION, absolute: float = 0.0, *, stderr: bool = True
) -> ScoreComparison:
    """Everything that lm-eval's dump holds against lmrun's results and samples (which may hold more tasks)."""
    docs = Comparison()
    for task, filters in theirs["docs"].items():
        docs += _compare_docs(task, filters, ours.samples.get(task, []), relative, absolute)
    values = Comparison()
    for name, entry in theirs["results"].items():
        mine = ours.results["results"].get(name, {})
        keys = [key for key in _metric_keys(entry, stderr=stderr) if not _left_out(key, entry[key])]
        for key in keys:
            a, b = entry[key], mine.get(key, "missing")
            values.add(same(a, b, relative, absolute), f"{name} {key}: lm-eval {a!r}, lmrun {b!r}")
        extra = sorted(set(_metric_keys(mine, stderr=stderr)) - set(entry))
        values.add(not extra, f"{name}: only lmrun has {extra}")
    facts = _compare_layout(theirs["results"], ours.results["results"])
    for kind in ("versions", "n-shot", "n-samples", "higher_is_better", "group_subtasks"):
        for name, a in theirs[kind].items():
            b = ours.results[kind].get(name, "missing")
            facts.add(a == b, f"{kind} of {name}: lm-eval {a!r}, lmrun {b!r}")
    return ScoreComparison(docs, values, facts)


def _compare_layout(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Comparison:
    """What else stands beside the metrics of a task or group: its name, alias and counts."""
    result = Comparison()
    for name, entry in theirs.items():
        mine = ours.get(name, {})
        for key in (key for key in entry if "," not in key):
            a, b = entry[key], mine.get(key, "missing")
            result.add(a == b, f"results of {name}, {key}: lm-eval {a!r}, lmrun {b!r}")
    return result


def _metric_keys(entry: Mapping[str, Any], *, stderr: bool) -> list[str]:
    return [key for key in entry if "," in key and (stderr or "_stderr," not in key)]


def _left_out(key: str, value: Any) -> bool:
    """A standard error that the case told lm-eval not to draw."""
    return "_stderr," in key and isinstance(value, float) and math.isnan(value)


def _compare_docs(
    task: str, filters: Mapping[str, Rows], samples: Rows, relative: float, absolute: float
) -> Comparison:
    result = Comparison()
    mine = {(s["doc_id"], score["filter"]): score["metrics"] for s in samples for score in s["scores"]}
    for name, rows in filters.items():
        for row in rows:
            ours = mine.pop((row["doc_id"], name), None)
            for metric, a in row["metrics"].items():
                b = ours.get(metric, "missing") if ours else "missing"
                text = f"{task} doc {row['doc_id']} {metric},{name}: lm-eval {a!r}, lmrun {b!r}"
                result.add(same(a, b, relative, absolute), text)
    for doc_id, name in mine:
        result.add(False, f"{task} doc {doc_id} {name}: only lmrun has it")
    return result


# -- responses of a real model -----------------------------------------------------------------------------------------


def compare_responses(theirs: Dump, ours: Scored) -> tuple[Comparison, float]:
    """Responses of the same model, request by request, and the largest difference of two log-probabilities."""
    result = Comparison()
    largest = 0.0
    for task, rows in theirs["requests"].items():
        exchanges = [e for s in ours.samples.get(task, []) for e in s["requests"]]
        expected = [(row, answer) for row in rows for answer in row["resps"]]
        result.add(len(expected) == len(exchanges), f"{task}: {len(expected)} responses, lmrun has {len(exchanges)}")
        for (row, a), exchange in zip(expected, exchanges, strict=False):
            b = _answer(row["type"], exchange["response"])
            if row["type"] != "generate_until":
                largest = max(largest, abs(_logprob(a) - _logprob(b)))
            text = f"{task} doc {row['doc_id']} {row['idx']}: lm-eval {a!r}, lmrun {b!r}"
            result.add(same(a, b, FLOAT32, LOGPROB), text)
    return result, largest


def _logprob(answer: Any) -> float:
    return float(answer[0] if isinstance(answer, list) else answer)


def _answer(kind: str, response: Mapping[str, Any]) -> Any:
    if kind == "generate_until":
        return response["text"]
    if kind == "loglikelihood_rolling":
        return response["logprob"]
    return [response["logprob"], response["is_greedy"]]


def failures(comparisons: Mapping[str, Comparison | ScoreComparison]) -> Iterator[str]:
    """What to print for a test that found differences."""
    for name, comparison in comparisons.items():
        if not comparison.identical:
            yield f"{name}: {comparison}"
