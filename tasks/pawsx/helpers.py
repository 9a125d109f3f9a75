"""PAWS-X: pairs of sentences, made ready to be joined into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmrun.text import detokenize

if TYPE_CHECKING:
    from lmrun.data import Docs


def process_docs(docs: Docs) -> Docs:
    """The pairs that have both sentences: the first without its end mark, the second with a small first letter."""
    return docs.filter(lambda doc: bool(doc["sentence1"] and doc["sentence2"])).map(_joined)


def _joined(doc: Mapping[str, Any]) -> dict[str, str]:
    first, second = detokenize(doc["sentence1"]).strip(), detokenize(doc["sentence2"]).strip()
    return {
        "sentence1": first[:-1] if first.endswith((".", ",", ";")) else first,
        "sentence2": second[0].lower() + second[1:],
    }
