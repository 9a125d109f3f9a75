"""SQuAD 2.0 as a class: for each doc one answer is generated, and one continuation is scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from lmrun.code.shim.instance import Instance
from lmrun.code.shim.task import ConfigurableTask
from lmrun.scoring.squad import exact, f1, normalized

Doc = Mapping[str, Any]

_NO_ANSWER = "unanswerable"
_MEASURES = ("exact", "f1")


class Item(NamedTuple):
    """What is kept of a doc for the scores."""

    no_answer: float
    """Probability of ``unanswerable``."""
    answerable: bool
    wrote: bool
    """The model wrote something."""
    exact: float
    f1: float


class SquadV2(ConfigurableTask):
    """Questions about a paragraph, with and without an answer in it."""

    VERSION = 3
    DATASET_PATH = "lighteval/squad_v2"

    def has_training_docs(self) -> bool:
        """Examples come from there."""
        return True

    def has_validation_docs(self) -> bool:
        """They are evaluated."""
        return True

    def has_test_docs(self) -> bool:
        """They are not public."""
        return False

    def training_docs(self) -> Any:
        """The docs of the train split."""
        return self.dataset["train"]

    def validation_docs(self) -> Any:
        """The docs of the validation split."""
        return self.dataset["validation"]

    def doc_to_text(self, doc: Doc, doc_to_text: Any = None) -> str:
        """Title, paragraph and question."""
        return f"Title: {doc['title']}\n\nBackground: {doc['context']}\n\nQuestion: {doc['question']}\n\nAnswer:"

    def doc_to_target(self, doc: Doc, doc_to_target: Any = None) -> str:
        """The first of the right answers."""
        answers = doc["answers"]["text"]
        return f" {answers[0] if answers else _NO_ANSWER}"

    def construct_requests(self, doc: Doc, ctx: Any, **kwargs: Any) -> list[Instance]:
        """The answer, and the log-likelihood that there is none."""
        about = kwargs["metadata"]
        return [
            Instance("generate_until", doc, (ctx, {"until": ["\n"]}), 0, about),
            Instance("loglikelihood", doc, (ctx, f" {_NO_ANSWER}"), 0, about),
        ]

    def process_results(self, doc: Doc, results: Any) -> dict[str, Item]:
        """The same item for every metric: each is one of many docs together."""
        answer, (logprob, _) = results
        right = [text for text in doc["answers"]["text"] if normalized(text)] or [""]
        item = Item(
            math.exp(logprob),
            bool(doc["answers"]["text"]),
            bool(answer),
            max(exact(answer, text) for text in right),
            max(f1(answer, text) for text in right),
        )
        return dict.fromkeys(self.aggregation(), item)

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], float]]:
        """Metric → how it is found from the items of all docs."""
        found: dict[str, Callable[[Sequence[Any]], float]] = {m: partial(_mean, m, None) for m in _MEASURES}
        for name, answerable in (("HasAns", True), ("NoAns", False)):
            found |= {f"{name}_{m}": partial(_mean, m, answerable) for m in _MEASURES}
        return found | {f"best_{m}": partial(_best, m) for m in _MEASURES}

    def higher_is_better(self) -> dict[str, bool]:
        """All of them."""
        return dict.fromkeys(self.aggregation(), True)


def _mean(measure: str, answerable: bool | None, items: Sequence[Any]) -> float:
    """Percentage over the docs that have an answer, or have none, or all; 0 where there are no such docs."""
    rows = [Item(*item) for item in items]
    values = [getattr(row, measure) for row in rows if answerable in (None, row.answerable)]
    return 100.0 * sum(values) / len(values) if values else 0.0


def _best(measure: str, items: Sequence[Any]) -> float:
    """The best percentage over all thresholds: docs whose ``no_answer`` is above it count as not answered."""
    rows = sorted((Item(*item) for item in items), key=lambda row: row.no_answer)
    score = best = float(sum(not row.answerable for row in rows))
    for row in rows:
        score += getattr(row, measure) if row.answerable else -float(row.wrote)
        best = max(best, score)
    return 100.0 * best / len(rows)
