"""RACE: an article with several questions, stored as the text of a Python list."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

Doc = Mapping[str, Any]
Problem = dict[str, Any]

_GAP = "  _  ."
"""How a question ends that is a sentence to complete."""


def doc_to_text(doc: Doc) -> str:
    """The article, all questions but the last with their answers, and the last question."""
    *earlier, last = _problems(doc)
    return f"Article: {doc['article']}\n\n" + "".join(map(_answered, earlier)) + str(last["question"])


def doc_to_choice(doc: Doc) -> list[str]:
    """The four options of the last question."""
    options: list[str] = _problems(doc)[-1]["options"]
    return options[:4]


def doc_to_target(doc: Doc) -> int:
    """Which option answers the last question."""
    return _answer(_problems(doc)[-1])


def _problems(doc: Doc) -> list[Problem]:
    problems: list[Problem] = ast.literal_eval(doc["problems"])
    return problems


def _answer(problem: Problem) -> int:
    return "ABCD".index(problem["answer"])


def _answered(problem: Problem) -> str:
    question, answer = problem["question"], problem["options"][_answer(problem)]
    if question.endswith(_GAP):
        return f"{question[:-5]}{answer}\n"
    return f"Question: {question}\nAnswer: {answer}\n"
