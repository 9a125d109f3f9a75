"""CommitmentBank: the F1 of each of the three classes, averaged."""

from __future__ import annotations

from collections.abc import Sequence

CLASSES = ("entailment", "contradiction", "neutral")
"""In the order of the labels."""


def mean_3class_f1(predictions: Sequence[str], references: Sequence[str]) -> tuple[int, int]:
    """The classes of one written answer and of its doc. An answer that names no class counts as the first."""
    answer = predictions[0]
    return CLASSES.index(answer) if answer in CLASSES else 0, CLASSES.index(references[0])


def mean_f1(items: Sequence[tuple[int, int]]) -> float:
    """The unweighted mean over the classes. Either class of an item may come first."""
    return sum(_f1(items, label) for label in range(len(CLASSES))) / len(CLASSES)


def _f1(items: Sequence[tuple[int, int]], label: int) -> float:
    """0 for a class that neither a doc nor an answer has."""
    both = sum(first == second == label for first, second in items)
    either = sum((first == label) + (second == label) for first, second in items)
    return 2 * both / either if either else 0.0
