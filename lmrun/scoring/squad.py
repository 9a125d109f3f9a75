"""Answers compared as SQuAD does it: by their words, whatever their case, punctuation and articles."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """An answer in lower case, without punctuation and articles, with single spaces."""
    bare = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact(prediction: str, answer: str) -> int:
    """1 if the two are the same once normalized."""
    return int(normalized(prediction) == normalized(answer))


def f1(prediction: str, answer: str) -> float:
    """F1 of the words of both. Where one has no words, they have to be the same."""
    given, right = normalized(prediction).split(), normalized(answer).split()
    return overlap_f1(given, right) if given and right else float(given == right)


def overlap_f1(given: Sequence[str], right: Sequence[str]) -> float:
    """F1 of two bags of words; 0 if they share none."""
    common = (Counter(given) & Counter(right)).total()
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(right)
    return 2 * precision * recall / (precision + recall)
