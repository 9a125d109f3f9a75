"""EQ-Bench: how near the ratings of four emotions come to the reference."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_RATING = re.compile(r"(\w+):\s+(\d+)")
_SCALE = 0.7477
"""Makes random ratings score about zero."""


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """100 for ratings like the reference's; 0, and not parseable, for ratings of anything but its four emotions."""
    reference = ast.literal_eval(doc["reference_answer_fullscale"])
    expected = [(reference[f"emotion{i}"], float(reference[f"emotion{i}_score"])) for i in range(1, 5)]
    given = {emotion: float(rating) for emotion, rating in _RATING.findall(results[0])}
    if len(given) != 4 or set(given) != {emotion for emotion, _ in expected}:
        return {"eqbench": 0, "percent_parseable": 0}
    ratings = dict(expected)
    distance = sum(_scaled(abs(rating - ratings[emotion])) for emotion, rating in given.items())
    return {"eqbench": (10 - distance * _SCALE) * 10, "percent_parseable": 100}


def _scaled(difference: float) -> float:
    """Small differences count for less, along an S-shaped curve."""
    if difference == 0 or difference > 5:
        return difference
    return 6.5 * (1 / (1 + math.pow(math.e, -1.2 * (difference - 4))))
