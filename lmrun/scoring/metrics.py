"""The metrics lmrun knows by name: defaults, and what each one says of a single doc."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What holds of a metric unless a task says otherwise."""

    aggregation: str
    higher_is_better: bool


METRICS: Mapping[str, MetricInfo] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "acc_all"), MetricInfo("mean", True)),
    "exact_match": MetricInfo("mean", True),
    "likelihood": MetricInfo("mean", True),
    "perplexity": MetricInfo("perplexity", False),
    "word_perplexity": MetricInfo("weighted_perplexity", False),
    "byte_perplexity": MetricInfo("weighted_perplexity", False),
    "bits_per_byte": MetricInfo("bits_per_byte", False),
    "brier_score": MetricInfo("brier_score", False),
    "mcc": MetricInfo("matthews_corrcoef", True),
    "f1": MetricInfo("f1", True),
    "bleu": MetricInfo("bleu", True),
    "chrf": MetricInfo("chrf", True),
    "chrf++": MetricInfo("chrf++", True),
    "ter": MetricInfo("ter", False),
    "bypass": MetricInfo("bypass", True),
}

EXACT_MATCH_OPTIONS = ("regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers")


def exact_match(
    prediction: Any,
    reference: Any,
    *,
    regexes_to_ignore: Sequence[str] | None = None,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
) -> float:
    """The share of predictions that equal their reference, letter by letter.

    Either side may be a list; a single value stands beside each of the other side. What is ignored is removed from both
    sides, in the order of the arguments: regexes, case, ASCII punctuation, ASCII digits. White space counts. No
    predictions at all give 0. lm-eval compares numpy strings, and where these are not the Python strings
    (:func:`_as_compared`) this function follows it.
    """
    removed = (string.punctuation if ignore_punctuation else "") + (string.digits if ignore_numbers else "")
    table = str.maketrans("", "", removed)

    def comparable(value: Any) -> list[Any]:
        items = _as_compared(value if isinstance(value, list | tuple) else [value])
        for regex in regexes_to_ignore or ():
            items = [re.sub(regex, "", x) if isinstance(x, str) else x for x in items]
        if ignore_case:
            # A numpy array of strings has a fixed width, and stays as wide when a letter becomes two (İ).
            width = max((len(x) for x in items if isinstance(x, str)), default=0)
            items = [x.lower()[:width] if isinstance(x, str) else x for x in items]
        return [x.translate(table) if isinstance(x, str) else x for x in items]

    left, right = comparable(prediction), comparable(reference)
    n = max(len(left), len(right)) if left and right else 0
    left, right = (side * n if len(side) == 1 else side for side in (left, right))
    if n == 0 or len(left) != len(right):
        return 0.0
    return sum(1 for a, b in zip(left, right, strict=True) if a == b) / n


def _as_compared(items: Sequence[Any]) -> list[Any]:
    """Values as numpy holds them: numbers beside strings are strings, NULs at the end are padding."""
    has_text = any(isinstance(x, str) for x in items)
    texts = [str(x) if has_text and isinstance(x, int | float) else x for x in items]
    return [x.rstrip("\0") if isinstance(x, str) else x for x in texts]


def softmax(logprobs: Sequence[float]) -> list[float]:
    """Probabilities in proportion to ``exp(logprobs)``; nan where all are minus infinity."""
    import numpy as np

    values = np.array(logprobs, dtype=float)
    with np.errstate(invalid="ignore"):
        weights = np.exp(values - np.max(values))
        shares: list[float] = (weights / weights.sum()).tolist()
    return shares
