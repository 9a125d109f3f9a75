"""Needles in a haystack: sentences with a number or a code, hidden in a long text."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

from ..ifeval.checks import nltk_with_sentences
from .sizes import SAMPLES, Count, Row, fresh_random, rows_for_lengths
from .vocabulary import Names, nouns_and_adjectives

if TYPE_CHECKING:
    from lmrun.data import Split

_NEEDLE = "One of the special magic {kind} for {key} is: {value}."
_NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_ONE = (
    "A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {kind} afterwards.\n{context}\nWhat is the special magic {kind} for {query} mentioned in the provided text?"
)
_SEVERAL = (
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {kind} afterwards.\n{context}\nWhat are all the special magic {kind} for {query} mentioned in the provided "
    "text?"
)
_DEPTHS = tuple(round(100 * step / 39) for step in range(40))
"""Where needles may be in an essay, in percent of its sentences."""
_ANSWER_TOKENS = 128

Kind = Literal["words", "numbers", "uuids"]


@dataclass(frozen=True)
class Needles:
    """What is hidden, where, and what is asked for."""

    haystack: Literal["noise", "needles", "essays"]
    key: Kind = "words"
    value: Kind = "numbers"
    keys: int = 1
    values: int = 1
    """For each key."""
    queries: int = 1

    @property
    def hidden(self) -> int:
        """How many needles there are."""
        return self.keys * self.values

    @property
    def single(self) -> bool:
        """Whether one value is asked for."""
        return self.queries * self.values == 1


@dataclass(frozen=True)
class _Sample:
    text: str
    answers: list[str]
    query: str


class _Maker:
    """Makes samples of one kind, drawing random numbers in the order in which lm-eval does."""

    def __init__(self, kind: Needles, words: Sequence[str]) -> None:
        """``words`` are those of the essays; none for other haystacks."""
        self._kind = kind
        self._words = words
        self._rng = fresh_random()
        self._draws: dict[Kind, Callable[[], str]] = {
            "words": lambda: self._rng.choice(_names()),
            "numbers": lambda: str(self._rng.randint(10**6, 10**7 - 1)),
            "uuids": lambda: str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
        }

    def rows(self, length: int, count: Count) -> list[Row]:
        """The docs of one length."""
        step = 500 if self._words else 25 if length >= 4096 else 5
        size = self._size(step, length, count)
        rows = [self._row(index, size, step, length, count) for index in range(SAMPLES)]
        found = [row for row in rows if row]
        if not found:
            raise ValueError(f"no text with its needles fits into {length} tokens; ask for more in max_seq_lengths")
        return found

    def _size(self, step: int, length: int, count: Count) -> int:
        """How many units of hay there is room for."""
        size, tokens = max(step, self._kind.hidden), 0
        while tokens + _ANSWER_TOKENS < length:
            made = self._sample(size)
            tokens = count(made.text + " ".join(made.answers))
            if tokens + _ANSWER_TOKENS > length:
                size -= step
                break
            if self._words and size > len(self._words):
                size = len(self._words)
                break
            if size > length:
                raise ValueError(f"{size} sentences make {tokens} tokens: the tokenizer does not count all text")
            size += step
        return max(size, self._kind.hidden)

    def _row(self, index: int, size: int, step: int, length: int, count: Count) -> Row | None:
        """A doc; None where even with little hay it is too long."""
        for fewer in range(size, 0, -step):
            try:
                made = self._sample(fewer)
            except ValueError:  # less hay than needles
                continue
            tokens = count(made.text) + _ANSWER_TOKENS
            if tokens <= length:
                asked = {"input": made.text, "outputs": made.answers, "gen_prefix": self._begun(made.query)}
                return {"index": index, "length": tokens, "max_length": length, **asked}
        return None

    def _begun(self, query: str) -> str:
        """The beginning of the answer."""
        kind, verb = (self._kind.value[:-1], "is") if self._kind.single else (self._kind.value, "are")
        return f"The special magic {kind} for {query} mentioned in the provided text {verb}"

    def _sample(self, size: int) -> _Sample:
        kind = self._kind
        keys: list[str] = []
        values: list[list[str]] = []
        needles: list[str] = []
        for _ in range(kind.keys):
            keys.append(self._draws[kind.key]())
            values.append([self._draws[kind.value]() for _ in range(kind.values)])
            needles.extend(_NEEDLE.format(kind=kind.value, key=keys[-1], value=value) for value in values[-1])
        random.Random(42).shuffle(needles)
        context = self._essay(size, needles) if self._words else self._lines(size, needles)
        asked = self._rng.sample(range(kind.keys), kind.queries)
        *first, last = (keys[index] for index in asked)
        query = f"{', '.join(first)}, and {last}" if first else last
        form, named = (_ONE, kind.value[:-1]) if kind.single else (_SEVERAL, kind.value)
        text = form.format(kind=named, context=context, query=query)
        return _Sample(text, [value for index in asked for value in values[index]], query)

    def _lines(self, size: int, needles: Sequence[str]) -> str:
        """The needles between lines of noise, or of needles that are not asked for."""
        lines = [_NOISE] * size if self._kind.haystack == "noise" else [self._other_needle() for _ in range(size)]
        places = sorted(self._rng.sample(range(size), len(needles)), reverse=True)
        for place, needle in zip(places, needles, strict=True):
            lines.insert(place, needle)
        return "\n".join(lines)

    def _other_needle(self) -> str:
        key, value = self._draws[self._kind.key](), self._draws[self._kind.value]()
        return _NEEDLE.format(kind=self._kind.value, key=key, value=value)

    def _essay(self, size: int, needles: Sequence[str]) -> str:
        """The needles between sentences of essays."""
        sentences = _sentences(" ".join(self._words[:size]))
        depths = self._rng.sample(_DEPTHS, len(needles))
        places = sorted(int(len(sentences) * (depth / 100)) for depth in depths)
        parts, start = [], 0
        for place, needle in zip(places, needles, strict=True):
            parts += [" ".join(sentences[start:place]), needle]
            start = place
        return " ".join([*parts, " ".join(sentences[start:])])


@cache
def _names() -> Names:
    nouns, adjectives = nouns_and_adjectives()
    return Names(adjectives, nouns)


@lru_cache(maxsize=4)
def _sentences(text: str) -> list[str]:
    sentences: list[str] = nltk_with_sentences().sent_tokenize(text.strip())
    return sentences


def _essay_words(source: Callable[[str], Split]) -> list[str]:
    essays: Iterator[str] = (row["text"] for row in source("train"))
    return re.sub(r"\s+", " ", " ".join(essays)).split(" ")


def _docs(kind: Needles, source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    maker = _Maker(kind, _essay_words(source) if kind.haystack == "essays" else ())
    return rows_for_lengths(metadata, maker.rows)


single_1 = partial(_docs, Needles("noise"))
single_2 = partial(_docs, Needles("essays"))
single_3 = partial(_docs, Needles("essays", value="uuids"))
multikey_1 = partial(_docs, Needles("essays", keys=4))
multikey_2 = partial(_docs, Needles("needles"))
multikey_3 = partial(_docs, Needles("needles", key="uuids", value="uuids"))
multivalue = partial(_docs, Needles("essays", values=4))
multiquery = partial(_docs, Needles("essays", keys=4, queries=4))
