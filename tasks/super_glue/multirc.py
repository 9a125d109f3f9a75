"""MultiRC: F1 over all answers, and the share of questions that have every answer judged right.

A target is ``QUESTION_False`` or ``QUESTION_True``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

LABELS = ("False", "True")


def f1(predictions: Sequence[str], references: Sequence[str]) -> tuple[int, int]:
    """The labels given and right for one answer."""
    _, given, right = em(predictions, references)
    return given, right


def em(predictions: Sequence[str], references: Sequence[str]) -> tuple[str, int, int]:
    """The question, and the labels given and right for one of its answers. Anything but a label is wrong."""
    question, label = references[0].split("_")
    right = LABELS.index(label)
    return question, LABELS.index(predictions[0]) if predictions[0] in LABELS else 1 - right, right


def f1_of_all(items: Sequence[tuple[int, int]]) -> float:
    """F1 of the label ``True``; 0 where it is neither given nor right anywhere."""
    both = sum(given and right for given, right in items)
    either = sum(given + right for given, right in items)
    return 2 * both / either if either else 0.0


def share_of_questions(items: Sequence[tuple[str, int, int]]) -> float:
    """Share of the questions without a wrong label."""
    right: defaultdict[str, bool] = defaultdict(lambda: True)
    for question, given, label in items:
        right[question] &= given == label
    return sum(right.values()) / len(right)
