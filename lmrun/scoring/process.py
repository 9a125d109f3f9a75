"""From the filtered answers of one doc to its metric values, for each output type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from lmrun.errors import TaskError
from lmrun.functions import FunctionError, FunctionRef, Functions
from lmrun.scoring.metrics import METRICS, exact_match, softmax
from lmrun.scoring.spec import DocFacts, MetricSpec, ScoringSpec

Values: TypeAlias = "dict[str, Any]"
"""Metric name → value of this doc: a number, or a list of what the aggregation needs."""

OUT_OF_RANGE = -100
"""The gold index where a doc's target is none of its choices: no prediction equals it."""


def process(spec: ScoringSpec, facts: DocFacts, results: Sequence[Any], functions: Functions | None = None) -> Values:
    """Metric values of one doc under lm-eval's names and in lm-eval's order.

    ``results`` holds the filtered answer to each request of the doc; ``functions`` runs the code that the task names.
    Raises :class:`~lmrun.errors.TaskError` where the doc does not fit the task's settings.
    """
    if spec.process_results:
        return _by_code(spec, spec.process_results, facts, results, functions)
    if spec.output_type == "generate_until":
        return _generated(spec, facts, results, functions)
    return _PROCESSES[spec.output_type](spec, facts, results)


def _by_code(
    spec: ScoringSpec, ref: FunctionRef, facts: DocFacts, results: Sequence[Any], functions: Functions | None
) -> Values:
    # lm-eval gives pairs of a log-likelihood as tuples.
    given = [tuple(r) if isinstance(r, list) and len(r) == 2 and isinstance(r[1], bool) else r for r in results]
    values = _running(functions).call(ref, dict(facts.doc), given)
    if not isinstance(values, Mapping):
        raise FunctionError(ref, f"gives {values!r} for doc {facts.doc_id}", hint="return a dict of metric values")
    for metric in spec.metrics:
        # What a mean cannot take has to fail this doc alone, not the score of all docs.
        if metric.name in values and _is_mean(metric) and not _is_number(values[metric.name]):
            raise FunctionError(
                ref,
                f"gives {repr(values[metric.name])[:200]} as {metric.name} for doc {facts.doc_id}",
                hint="return a number, or state the aggregation that takes such values",
            )
    return dict(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or hasattr(value, "item")  # of numpy


def _is_mean(metric: MetricSpec) -> bool:
    if metric.aggregation is None:
        return metric.name not in METRICS or METRICS[metric.name].aggregation == "mean"
    return metric.aggregation == "mean"


def _running(functions: Functions | None) -> Functions:
    if functions is None:
        raise TaskError("this task is scored by code, and nothing is there to run it")
    return functions


def _wrong(facts: DocFacts, message: str, hint: str | None = None) -> TaskError:
    return TaskError(f"doc {facts.doc_id}: {message}", hint=hint)


def _pair(facts: DocFacts, result: Any) -> tuple[float, bool]:
    if isinstance(result, tuple | list) and len(result) == 2:
        logprob, is_greedy = result
        if isinstance(logprob, int | float):
            return logprob, is_greedy
    raise _wrong(
        facts,
        f"scoring needs one log-probability for each request, the filters hand on {result!r}",
        "end the filter pipeline with take_first",
    )


# -- loglikelihood -----------------------------------------------------------------------------------------------------


def _loglikelihood(spec: ScoringSpec, facts: DocFacts, results: Sequence[Any]) -> Values:
    logprob, is_greedy = _pair(facts, results[0])
    known = {"perplexity": logprob, "acc": int(is_greedy)}
    return _listed(spec, known)


def _rolling(spec: ScoringSpec, facts: DocFacts, results: Sequence[Any]) -> Values:
    text, logprob = facts.target, results[0]
    if not isinstance(text, str):
        raise _wrong(facts, f"loglikelihood_rolling scores a text, doc_to_target gives {text!r}")
    # White space at an end of the text adds an empty word: that is lm-eval's count.
    words, size = len(re.split(r"\s+", text)), len(text.encode("utf-8", "surrogatepass"))
    known = {"word_perplexity": [logprob, words], "byte_perplexity": [logprob, size], "bits_per_byte": [logprob, size]}
    return _listed(spec, known)


def _listed(spec: ScoringSpec, known: Mapping[str, Any]) -> Values:
    names = {m.name for m in spec.metrics}
    return {name: value for name, value in known.items() if name in names}


# -- multiple choice ---------------------------------------------------------------------------------------------------


def argmax(values: Sequence[float]) -> int:
    """The position of the first maximum; the first nan counts as one, as in numpy."""
    best = 0
    for i, value in enumerate(values):
        if math.isnan(value):
            return i
        if value > values[best]:
            best = i
    return best


def _per(value: float, length: int) -> float:
    """``value / length`` with the infinities and nans of numpy where the length is 0."""
    if length:
        return value / length
    return math.copysign(math.inf, value) if value and not math.isnan(value) else math.nan


def _index(value: Any, choices: Sequence[str]) -> int:
    if isinstance(value, str):
        return choices.index(value) if value in choices else OUT_OF_RANGE
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of integers with a missing one is a column of floats
    return int(value) if isinstance(value, int) and value < len(choices) else OUT_OF_RANGE


def unknown_golds(spec: ScoringSpec, facts: DocFacts) -> bool:
    """Whether the target of a multiple-choice doc is none of its choices: then no answer is right, as in lm-eval."""
    if spec.output_type != "multiple_choice" or spec.process_results:
        return False
    raw = facts.text if spec.multiple_input else facts.target
    values = raw if isinstance(raw, list | tuple) else [raw]
    return all(_index(value, facts.choices or ()) == OUT_OF_RANGE for value in values)


class _Choices:
    """The scored choices of one doc; one method for each metric."""

    def __init__(self, spec: ScoringSpec, facts: DocFacts, results: Sequence[Any]) -> None:
        if facts.choices is None:
            raise _wrong(facts, "a multiple_choice task needs doc_to_choice")
        self.facts, self.choices = facts, facts.choices
        n = len(self.choices)
        pairs = [_pair(facts, result) for result in results]
        self.logprobs = [logprob for logprob, _ in pairs[:n]]
        self.unconditional = [logprob for logprob, _ in pairs[n:]]
        self.greedy = [is_greedy for _, is_greedy in pairs]
        if n == 0 or len(pairs) != (2 * n if any(m.name == "acc_mutual_info" for m in spec.metrics) else n):
            raise _wrong(facts, f"{len(pairs)} answers do not fit {n} choices")
        raw = facts.text if spec.multiple_input else facts.target
        if isinstance(raw, list | tuple):
            self.gold: int | list[int] = [_index(value, self.choices) for value in raw]
        else:
            self.gold = _index(raw, self.choices)
        self.golds = self.gold if isinstance(self.gold, list) else [self.gold]

    def _correct(self, scores: Sequence[float]) -> float:
        return 1.0 if argmax(scores) in self.golds else 0.0

    def acc(self) -> float:
        return self._correct(self.logprobs)

    def acc_norm(self) -> float:
        return self._correct([_per(ll, len(c)) for ll, c in zip(self.logprobs, self.choices, strict=True)])

    def acc_bytes(self) -> float:
        sizes = (len(c.encode("utf-8", "surrogatepass")) for c in self.choices)
        return self._correct([_per(ll, size) for ll, size in zip(self.logprobs, sizes, strict=True)])

    def acc_mutual_info(self) -> float:
        return self._correct([c - u for c, u in zip(self.logprobs, self.unconditional, strict=True)])

    def exact_match(self) -> int:
        n = len(self.greedy)
        # Negative targets count from the end, as they do in lm-eval.
        return int(any(self.greedy[g] for g in self.golds if g != OUT_OF_RANGE and -n <= g))

    def label_pair(self) -> list[Any]:
        return [self.gold, argmax(self.logprobs)]

    def brier_score(self) -> list[Any]:
        return [self.gold, softmax(self.logprobs)]

    def likelihood(self) -> list[Any]:
        return [self.gold, self.logprobs]


CHOICE_METRICS: Mapping[str, Callable[[_Choices], Any]] = {
    "acc": _Choices.acc,
    "f1": _Choices.label_pair,
    "mcc": _Choices.label_pair,
    "acc_norm": _Choices.acc_norm,
    "acc_bytes": _Choices.acc_bytes,
    "exact_match": _Choices.exact_match,
    "brier_score": _Choices.brier_score,
    "likelihood": _Choices.likelihood,
    "acc_mutual_info": _Choices.acc_mutual_info,
}


def _multiple_choice(spec: ScoringSpec, facts: DocFacts, results: Sequence[Any]) -> Values:
    doc = _Choices(spec, facts, results)
    names = {m.name for m in spec.metrics}
    return {name: value(doc) for name, value in CHOICE_METRICS.items() if name in names}


# -- generation --------------------------------------------------------------------------------------------------------


def _generated(spec: ScoringSpec, facts: DocFacts, results: Sequence[Any], functions: Functions | None) -> Values:
    result = results[0]
    if spec.multiple_target and not spec.has_choices:
        return _any_target(spec, facts, result, functions)
    gold = _single_target(spec, facts, result)
    values: Values = {}
    for metric in spec.metrics:
        if metric.function:
            value = _coded(metric, metric.function, gold, result, functions)
        elif metric.name == "exact_match":
            value = exact_match(result, gold, **metric.kwargs)
        else:
            value = None if metric.name == "bypass" else [gold, result]
        # One call may give several metrics.
        values.update(value if isinstance(value, Mapping) else {metric.name: value})
    return values


def _coded(metric: MetricSpec, ref: FunctionRef, gold: Any, result: Any, functions: Functions | None) -> Any:
    """The value of a metric that is code: called by keywords, and where it takes none, with one list."""
    running = _running(functions)
    try:
        return running.call(ref, references=[gold], predictions=[result], **metric.kwargs)
    except FunctionError as error:
        if error.kind != "TypeError":
            raise
        return running.call(ref, [gold, result])


def _single_target(spec: ScoringSpec, facts: DocFacts, result: Any) -> Any:
    gold = facts.target
    if spec.has_choices:
        if facts.choices is None or not isinstance(gold, int) or not -len(facts.choices) <= gold < len(facts.choices):
            raise _wrong(
                facts, f"doc_to_choice is stated, so the target has to be the index of a choice; it is {gold!r}"
            )
        return facts.choices[gold]
    bypassed = any(m.name == "bypass" for m in spec.metrics)
    if bypassed or isinstance(result, list) or type(gold) is type(result):
        return gold
    if isinstance(result, str | int | float):
        try:
            return type(result)(gold)
        except (TypeError, ValueError):
            return gold  # what cannot be the answer's type does not equal it either
    return gold


def _any_target(spec: ScoringSpec, facts: DocFacts, result: Any, functions: Functions | None) -> Values:
    """One target suffices. As in lm-eval, its own metrics but exact_match are 1 as soon as there is a target."""
    target = facts.target
    golds = list(target) if isinstance(target, list | tuple | str) else [target]
    values: Values = {}
    for metric in spec.metrics:
        if metric.function:
            met = any(_true(metric, _coded(metric, metric.function, gold, result, functions)) for gold in golds)
        elif metric.name == "exact_match":
            # As in lm-eval, metrics after this one see a list with the answer once for each target.
            result = result if isinstance(result, list) else [result] * len(golds)
            met = exact_match(result, golds, **metric.kwargs) > 0
        else:
            met = bool(golds) and metric.name != "bypass"
        values[metric.name] = float(met)
    return values


def _true(metric: MetricSpec, value: Any) -> bool:
    return bool(value[metric.name] if isinstance(value, Mapping) else value)


_PROCESSES: Mapping[str, Callable[[ScoringSpec, DocFacts, Sequence[Any]], Values]] = {
    "loglikelihood": _loglikelihood,
    "loglikelihood_rolling": _rolling,
    "multiple_choice": _multiple_choice,
}
