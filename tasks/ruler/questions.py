"""Questions on one document among many: SQuAD and HotpotQA."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .sizes import SAMPLES, Count, Row, first_that_fits, fresh_random, largest_size, rows_for_lengths

if TYPE_CHECKING:
    from lmrun.data import Split

_ASKED = "Answer the question based on the given documents. Only give me the answer and do not output any other words."
_PROMPT = f"{_ASKED}\n\nThe following are given documents.\n\n{{context}}\n\n{_ASKED}\n\nQuestion: {{query}}"
_ANSWER_TOKENS = 32
_STEP = 10


@dataclass(frozen=True)
class _Question:
    query: str
    answers: list[str]
    needed: list[int]
    """Places of the documents with the answer."""
    near: list[int]
    """Places of documents on the same subject; they are added before others."""


class _Corpus:
    """Questions, and all documents that they may be hidden among."""

    def __init__(self, questions: Sequence[_Question], documents: Sequence[str]) -> None:
        self._questions = questions
        self._documents = documents
        self._rng = fresh_random()

    def rows(self, length: int, count: Count) -> list[Row]:
        """The docs of one length; questions whose own documents are too long for it are left out."""
        limit = length - _ANSWER_TOKENS
        first = self._questions[0]
        most = len(self._documents)
        size = largest_size(_STEP, most, lambda size: count(f"{self._text(first, size)} {first.answers}"), limit)
        rows = []
        for index, question in enumerate(self._questions[:SAMPLES]):
            least = len(question.needed)
            sizes = [*range(max(size, 1, least), least, -_STEP), least]
            try:
                text, tokens = first_that_fits(sizes, lambda size: self._text(question, size), count, limit)  # noqa: B023
            except ValueError:
                continue
            facts = {"length": tokens + _ANSWER_TOKENS, "max_length": length, "gen_prefix": "Answer:"}
            rows.append({"index": index, "input": text, "outputs": question.answers, **facts})
        if not rows:
            raise ValueError(f"no question fits into {length} tokens; ask for more in max_seq_lengths")
        return rows

    def _text(self, question: _Question, size: int) -> str:
        documents = [self._documents[place] for place in self._places(question, size)]
        random.Random(42).shuffle(documents)
        numbered = (f"Document {number}:\n{document}" for number, document in enumerate(documents, start=1))
        return _PROMPT.format(context="\n\n".join(numbered), query=question.query)

    def _places(self, question: _Question, size: int) -> Sequence[int]:
        """Documents to show: those that are needed, then near ones, then any."""
        if size >= len(self._documents):
            return range(len(self._documents))
        missing = max(0, size - len(question.needed))
        if missing <= len(question.near):
            return question.needed + self._rng.sample(question.near, missing)
        shown = question.needed + question.near
        hidden = set(shown)
        others = [place for place in range(len(self._documents)) if place not in hidden]
        return shown + self._rng.sample(others, size - len(shown))


def squad(source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    """The docs of ``ruler_qa_squad``: SQuAD's questions that have an answer."""
    rows = list(source("validation"))
    documents = sorted({row["context"] for row in rows})
    place_of = {document: place for place, document in enumerate(documents)}
    articles: dict[str, list[int]] = {}
    for row in rows:
        places = articles.setdefault(row["title"], [])
        if place_of[row["context"]] not in places:
            places.append(place_of[row["context"]])
    questions = []
    for row in rows:
        if row["answers"]["text"]:
            place = place_of[row["context"]]
            near = [other for other in articles[row["title"]] if other != place]
            questions.append(_Question(row["question"], list(row["answers"]["text"]), [place], near))
    return rows_for_lengths(metadata, _Corpus(questions, documents).rows)


def hotpot(source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    """The docs of ``ruler_qa_hotpot``: each question comes with ten paragraphs, two of which are needed."""
    found = [(row["question"], row["answer"], _paragraphs(row["context"])) for row in source("validation")]
    documents = sorted({paragraph for *_, paragraphs in found for paragraph in paragraphs})
    place_of = {document: place for place, document in enumerate(documents)}
    questions = [_Question(query, [answer], [place_of[p] for p in own], []) for query, answer, own in found]
    return rows_for_lengths(metadata, _Corpus(questions, documents).rows)


def _paragraphs(context: Mapping[str, Sequence[Any]]) -> list[str]:
    pairs = zip(context["title"], context["sentences"], strict=True)
    return [f"{title}\n{''.join(sentences)}" for title, sentences in pairs]
