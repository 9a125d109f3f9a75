"""WebQuestions: which of the accepted answers have to be tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def doc_to_choice(doc: Mapping[str, Any]) -> list[str]:
    """The accepted answers in order, without those that go on where another one ends.

    If a model would write the longer answer, it would write the shorter one too.
    """
    choices: list[str] = []
    for answer in sorted(doc["answers"]):
        if not choices or not answer.startswith(choices[-1]):
            choices.append(answer)
    return choices


def doc_to_target(doc: Mapping[str, Any]) -> list[int]:
    """Every choice is right."""
    return list(range(len(doc_to_choice(doc))))
