"""DROP: an answer is a number, a date or spans, compared as bags of normalized words."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Doc = Mapping[str, Any]
Answer = tuple[str, ...]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """The best exact match and the best F1 over all reference answers that are not empty."""
    prediction = _normalized(results[0])
    references = [answer for answer in _answers(doc) if answer[0].strip()]
    return {
        "em": max((_exact(prediction, answer) for answer in references), default=0.0),
        "f1": max((_f1(prediction, answer) for answer in references), default=0.0),
    }


def _answers(doc: Doc) -> Iterator[Answer]:
    """The answer, and those of the people who checked it."""
    yield _parsed(doc["answer"])
    checks = doc["validated_answers"]
    for number, date, spans in zip(checks["number"], checks["date"], checks["spans"], strict=True):
        yield _parsed({"number": number, "date": date, "spans": spans})


def _parsed(answer: Mapping[str, Any]) -> Answer:
    if answer["number"] != "":
        return (str(answer["number"]),)
    if answer["spans"]:
        return tuple(answer["spans"])
    return (" ".join(answer["date"][part] for part in ("day", "month", "year")).strip(),)


def _exact(prediction: str, answer: Answer) -> float:
    return float([prediction] == [_normalized(span) for span in answer])


def _f1(prediction: str, answer: Answer) -> float:
    """The model gives one span, which counts for the span it fits best; all others get nothing.

    NumPy's rounding to two digits is part of the metric: it rounds some halves differently from Python's.
    """
    best = max(_bag_f1(set(prediction.split()), set(_normalized(span).split())) for span in answer)
    return float(np.round(best / len(answer), 2))


def _bag_f1(prediction: set[str], span: set[str]) -> float:
    numbers = {word for word in span if _is_number(word)}
    if numbers and not numbers & prediction:
        return 0.0
    common = len(prediction & span)
    precision = common / len(prediction) if prediction else 1.0
    recall = common / len(span) if span else 1.0
    return 2 * precision * recall / (precision + recall) if precision or recall else 0.0


def _normalized(text: str) -> str:
    words = (_normalized_word(word) for word in re.split("[ -]", text))
    return " ".join(word for word in words if word)


def _normalized_word(word: str) -> str:
    """In lower case, a number as a float, anything else without punctuation and articles."""
    word = word.lower()
    if not _is_number(word):
        word = word.translate(_PUNCTUATION)
    if _is_number(word):
        word = str(float(word))
    return " ".join(_ARTICLES.sub(" ", word).split())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
