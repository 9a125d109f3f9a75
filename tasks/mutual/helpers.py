"""MuTual: dialogues without the traces of tokenization, and the rank of the right reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs

Doc = Mapping[str, Any]

_STEPS = (
    *((" '", "'"), (" \n", "\n"), ("\n ", "\n"), (" n't", "n't"), ("`` ", '"'), ("''", '"')),
    *((f" {mark}", mark) for mark in ":;!?,."),
)
"""What is replaced by what, in this order."""


def process_docs(docs: Docs) -> Docs:
    """The dialogue and the replies as people write them."""
    return docs.map(
        lambda doc: {"article": _written(doc["article"]), "options": [_written(option) for option in doc["options"]]}
    )


def _written(text: str) -> str:
    for old, new in _STEPS:
        text = text.replace(old, new)
    return text


def process_results(doc: Doc, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Whether the right reply comes first, or among the first two, and the inverse of its rank.

    ``r@1`` is that of lm-eval, which looks for the greatest of all log-likelihoods and greedy flags together. A flag is
    never below a log-likelihood, so it says little about the ranking, and ``r@2`` builds on it.
    """
    gold = "ABCD".index(doc["answers"])
    rank = sorted(results, reverse=True).index(results[gold])
    mixed = [float(value) for result in results for value in result]
    first = mixed.index(max(mixed)) == gold
    return {"r@1": float(first), "r@2": float(first or rank == 1), "mrr": 1 / (rank + 1)}
