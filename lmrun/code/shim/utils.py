"""Stands in for ``lm_eval.utils``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.text import detokenize as general_detokenize

__all__ = ["apply_template", "eval_logger", "general_detokenize", "handle_non_serializable", "weighted_f1_score"]

eval_logger = logging.getLogger("lm-eval")


def weighted_f1_score(items: Sequence[tuple[Any, Any]]) -> float:
    """F1 over (gold, prediction) pairs: the mean over the classes, weighted by their size."""
    from sklearn.metrics import f1_score

    golds, predictions = zip(*items, strict=True)
    score: float = f1_score(golds, predictions, average="weighted")
    return score


def handle_non_serializable(value: Any) -> Any:
    """A ``default`` for :mod:`json`."""
    if hasattr(value, "item"):
        return value.item()
    return list(value) if isinstance(value, set) else str(value)


def apply_template(template: str, doc: Mapping[str, Any]) -> str:
    """A template rendered with a doc."""
    from lmrun.tasks.template import render

    return render(template, doc)
