"""Winograd sentences with a gap, ``_``, in several languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """What follows the gap. It is always text, also where it has only digits."""
    sentence: str = doc["sentence"]
    return sentence[sentence.index("_") + 1 :].strip()
