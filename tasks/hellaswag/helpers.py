"""HellaSwag's texts without the markers of their source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs

_BRACKETED = re.compile(r"\[.*?\]")


def process_docs(docs: Docs) -> Docs:
    """Add ``query``, ``choices`` and ``gold``."""
    return docs.map(_prepared)


def _prepared(doc: dict[str, Any]) -> dict[str, Any]:
    context = f"{doc['ctx_a']} {doc['ctx_b'].capitalize()}"
    return {
        "query": _text(f"{doc['activity_label']}: {context}"),
        "choices": [_text(ending) for ending in doc["endings"]],
        "gold": int(doc["label"]),
    }


def _text(text: str) -> str:
    """WikiHow rows carry markers such as ``[header]``; ``[title]`` ends a sentence."""
    without_markers = _BRACKETED.sub("", text.strip().replace(" [title]", ". "))
    return without_markers.replace("  ", " ")
