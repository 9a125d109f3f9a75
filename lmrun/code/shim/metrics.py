"""Stands in for ``lm_eval.api.metrics``: the aggregations that lmrun knows by name, and one helper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lmrun.scoring.aggregations import SIMPLE


def metric_max_over_ground_truths(
    metric_fn: Callable[[Any, Any], Any], prediction: Any, ground_truths: Iterable[Any]
) -> Any:
    """The best value of a metric over all accepted answers."""
    return max(metric_fn(prediction, truth) for truth in ground_truths)


def _function(name: str) -> Callable[[Sequence[Any]], float]:
    def aggregate(items: Sequence[Any]) -> float:
        return SIMPLE[name](items).value()

    aggregate.__name__ = aggregate.__qualname__ = name
    return aggregate


mean, median, nanmean = _function("mean"), _function("median"), _function("nanmean")
perplexity, weighted_perplexity = _function("perplexity"), _function("weighted_perplexity")
bits_per_byte, matthews_corrcoef, f1_score = map(_function, ("bits_per_byte", "matthews_corrcoef", "f1"))
