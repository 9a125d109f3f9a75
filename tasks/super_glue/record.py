"""ReCoRD: a cloze question on a news story, answered by one of the entities in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmrun.scoring.squad import normalized, overlap_f1

if TYPE_CHECKING:
    from lmrun.data import Docs

Doc = Mapping[str, Any]


def process_docs(docs: Docs) -> Docs:
    """Each entity and each right answer once, in the order of the alphabet."""
    return docs.map(lambda doc: {name: sorted(set(doc[name])) for name in ("entities", "answers")})


def doc_to_text(doc: Doc) -> str:
    """The story, then its highlights as the items of a list. The query will be the last item."""
    passage: str = doc["passage"]
    story, *highlights = passage.strip().split("\n@highlight\n")
    return story + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def doc_to_choice(doc: Doc) -> list[str]:
    """The query with each entity in its gap."""
    return [_filled(doc, entity) for entity in doc["entities"]]


def doc_to_target(doc: Doc) -> str:
    """The query with a right answer in its gap: the first, where several are right."""
    return _filled(doc, doc["answers"][0])


def _filled(doc: Doc, entity: str) -> str:
    return f"  - {doc['query']}".replace("@placeholder", entity)


def process_results(doc: Doc, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """How well the likeliest entity agrees with the right answer that is nearest to it."""
    likeliest = max(range(len(results)), key=lambda i: results[i][0])
    prediction, answers = normalized(doc["entities"][likeliest]), [normalized(answer) for answer in doc["answers"]]
    same = prediction in answers
    return {"f1": 1.0 if same else _nearest(prediction, answers), "em": float(same)}


def split_answers(docs: Docs) -> Docs:
    """A doc for each right answer of each doc, in the order of both."""
    return docs.expand(lambda doc: [{"answers": answer} for answer in doc["answers"]])


def t5_text(doc: Doc) -> str:
    """Query, entities and passage in one line. A highlight without an end mark before it gets one."""
    passage = re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", doc["passage"]).replace("\n@highlight\n", ". ")
    return f"record query: {doc['query']} entities: {', '.join(doc['entities'])} passage: {passage}"


def em(predictions: Sequence[str], references: Sequence[str]) -> tuple[str, str]:
    """What was written for one doc, and its target."""
    return predictions[0], references[0]


def f1(predictions: Sequence[str], references: Sequence[str]) -> tuple[str, str]:
    """What was written for one doc, and its target."""
    return predictions[0], references[0]


def mean_em(items: Sequence[tuple[str, str]]) -> float:
    """Share of what was written that is a right answer to its query."""
    written = list(_by_query(items).values())
    return float(np.mean([prediction in answers for predictions, answers in written for prediction in predictions]))


def mean_f1(items: Sequence[tuple[str, str]]) -> float:
    """Mean over the queries, of what was written first for each: how near it comes to the nearest right answer."""
    written = _by_query(items).values()
    return float(
        np.mean(
            [
                max(overlap_f1(predictions[0].split(), answer.split()) for answer in answers)
                for predictions, answers in written
            ]
        )
    )


def _by_query(items: Sequence[tuple[str, str]]) -> dict[str, tuple[list[str], list[str]]]:
    """What was written for each query and what is right, normalized. A target is ``QUERY_ANSWER``."""
    queries: dict[str, tuple[list[str], list[str]]] = {}
    for prediction, reference in items:
        query, _, answer = reference.partition("_")
        predictions, answers = queries.setdefault(query, ([], []))
        predictions.append(normalized(prediction))
        answers.append(normalized(answer))
    return queries


def _nearest(prediction: str, answers: Sequence[str]) -> float:
    """The largest F1 of the words of two normalized answers."""
    return max(overlap_f1(prediction.split(), answer.split()) for answer in answers)
