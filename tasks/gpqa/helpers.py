"""GPQA's answers in a mixed order that is the same in every run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs

_ANSWERS = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Correct Answer")
_BRACKETED = re.compile(r"\[.*?\]")


def process_docs(docs: Docs) -> list[dict[str, Any]]:
    """Add ``choice1`` to ``choice4``, ``choices`` and ``answer``, in the order of a fresh run of lm-eval."""
    return shuffled(docs, random.Random(0), cleaned)


def process_docs_n_shot(docs: Docs) -> list[dict[str, Any]]:
    """As :func:`process_docs`, in the order of lm-eval's ``n_shot`` tasks, whose generator is their own."""
    return shuffled(docs, random.Random(42), cleaned)


def shuffled(docs: Docs, rng: random.Random, clean: Callable[[str], str]) -> list[dict[str, Any]]:
    """The docs with their answers cleaned and shuffled, one doc after another."""
    return [{**doc, **_choices(doc, rng, clean)} for doc in docs]


def _choices(doc: dict[str, Any], rng: random.Random, clean: Callable[[str], str]) -> dict[str, Any]:
    choices = [" " if doc[name] is None else clean(doc[name]) for name in _ANSWERS]
    correct = choices[-1]
    rng.shuffle(choices)
    numbered = {f"choice{number}": choice for number, choice in enumerate(choices, start=1)}
    return {**numbered, "choices": choices, "answer": f"({'ABCD'[choices.index(correct)]})"}


def cleaned(text: str) -> str:
    """Without the spaces around it, and with ``[title]`` as the end of a sentence."""
    return text.strip().replace(" [title]", ". ").replace("  ", " ")


def cleaned_without_brackets(text: str) -> str:
    """As :func:`cleaned`, and without anything in square brackets, formulas included."""
    return _BRACKETED.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")
