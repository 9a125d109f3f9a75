"""Stands in for ``lm_eval.utils``."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

eval_logger = logging.getLogger("lm-eval")

_DETOKENIZED = ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"'))


def general_detokenize(string: str) -> str:
    """Text without the white space that tokenizers put around punctuation."""
    for before, after in _DETOKENIZED:
        string = string.replace(before, after)
    return re.sub(r" (['.,])", r"\1", string)


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
