"""The score of a whole benchmark, estimated from 100 of its questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..truthfulqa.helpers import mc2

__all__ = ["arc", "gsm8k", "hellaswag", "mc2", "mmlu", "truthfulqa", "winogrande"]


def _estimator(benchmark: str) -> Callable[[Sequence[float]], float]:
    def estimate(items: Sequence[float]) -> float:
        """The estimate called gp-IRT in the paper; it takes the scores of all 100 questions, in order."""
        import numpy as np
        import tinyBenchmarks

        if len(items) != 100:
            raise ValueError(f"the estimate for {benchmark} needs the scores of all 100 questions, not of {len(items)}")
        return float(tinyBenchmarks.evaluate(np.array(items), benchmark)[benchmark]["gpirt"])

    return estimate


arc = _estimator("arc")
gsm8k = _estimator("gsm8k")
hellaswag = _estimator("hellaswag")
mmlu = _estimator("mmlu")
truthfulqa = _estimator("truthfulqa")
winogrande = _estimator("winogrande")
