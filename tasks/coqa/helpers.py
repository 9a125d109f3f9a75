"""CoQA: the last turn of a conversation, scored against several people's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmrun.scoring import squad

Doc = Mapping[str, Any]


def doc_to_target(doc: Doc) -> list[str]:
    """All different answers to the last question; letter case makes no difference."""
    last = len(doc["questions"]["input_text"]) - 1
    others = (doc.get("additional_answers") or {}).values()
    answers: dict[str, str] = {}
    for given in (doc["answers"], *others):
        answer = given["input_text"][last]
        answers.setdefault(answer.lower(), answer)
    return list(answers.values())


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of the first line."""
    prediction = results[0].strip().split("\n")[0]
    answers = doc_to_target(doc)
    return {"em": _agreement(squad.exact, answers, prediction), "f1": _agreement(squad.f1, answers, prediction)}


def _agreement(metric: Callable[[str, str], float], answers: Sequence[str], prediction: str) -> float:
    """Mean over leaving out each answer once, as for people, whose own answer is left out."""
    if len(answers) == 1:
        return float(metric(prediction, answers[0]))
    scores = [metric(prediction, answer) for answer in answers]
    return sum(max(scores[:i] + scores[i + 1 :]) for i in range(len(scores))) / len(scores)
