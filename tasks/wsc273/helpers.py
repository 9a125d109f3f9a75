"""Winograd sentences, made ready for their pronoun to be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs

Doc = Mapping[str, Any]

_POSSESSIVE = frozenset({"my", "his", "her", "our", "their"})
_LOWERED = frozenset({"A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"})
"""First words of candidates that are written small within a sentence."""


def process_docs(docs: Docs) -> Docs:
    """Single spaces, and candidates in the form that the pronoun's place asks for."""
    return docs.map(_prepared)


def _prepared(doc: Doc) -> dict[str, Any]:
    text = doc["text"].replace("  ", " ")
    # The place of the pronoun is that in the text as it was stored. The benchmark looks it up in the new one.
    starts_sentence = text[doc["pronoun_loc"] - 2] == "."
    return {"text": text, "options": [_candidate(option, doc["pronoun"], starts_sentence) for option in doc["options"]]}


def _candidate(option: str, pronoun: str, starts_sentence: bool) -> str:
    if pronoun.lower() in _POSSESSIVE:
        option += "'s"
    first = option.split()[0]
    return option.replace(first, first.lower()) if first in _LOWERED and not starts_sentence else option
