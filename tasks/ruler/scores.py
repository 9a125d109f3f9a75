"""Scores of RULER: which of the wanted texts a response has, by length of the prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The share of the wanted texts that are in the response, as the metric of the doc's length."""
    response = re.sub(r"[\x00-\x1f]", "\n", results[0].strip()).strip().lower()
    found = sum(wanted.lower() in response for wanted in doc["outputs"])
    return {str(doc["max_length"]): found / len(doc["outputs"])}


def average(items: Sequence[float]) -> float:
    """The mean; it has no standard error, as docs of a length share most of their text."""
    return sum(items) / len(items)
