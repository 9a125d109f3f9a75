"""Aggregation: the most common words of a long list (cwe), and of a text of made-up words (fwe)."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import pi
from typing import TYPE_CHECKING, Any

from .sizes import SAMPLES, Count, Row, first_that_fits, fresh_random, largest_size, rows_for_lengths, shrinking
from .vocabulary import all_words

if TYPE_CHECKING:
    from lmrun.data import Split

_COMMON = (
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
    "appear most often.\n{context}\nQuestion: What are the 10 most common words in the above list?"
)
_COMMON_BEGUN = " Answer: The top 10 words that appear most often in the list are:"
_COMMON_TOKENS = 120
_COMMON_STEP = 10

_FREQUENT = (
    "Read the following coded text and track the frequency of each coded word. Find the three most frequently "
    "appeared coded words. {context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What "
    "are the three most frequently appeared words in the above coded text?"
)
_FREQUENT_BEGUN = " Answer: According to the coded text above, the three most frequently appeared words are:"
_FREQUENT_TOKENS = 50
_WORD_LENGTH = 6
_ZETA_2 = pi**2 / 6
"""The sum of 1/k², which makes the frequencies of words a share of the text."""


def _numbered(words: Sequence[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, start=1))


class _CommonWords:
    """Lists in which ten words come more often than the others."""

    def __init__(self) -> None:
        self._rng = fresh_random()
        self._order = random.Random(42)
        self._words = all_words()
        self._order.shuffle(self._words)

    def rows(self, length: int, count: Count) -> list[Row]:
        limit = length - _COMMON_TOKENS
        short = length < 4096

        def sample(size: int) -> tuple[str, str, list[str]]:
            """A solved example, a question and its answer."""
            example, solved = self._list(20, 3, 1) if short else self._list(40, 10, 3)
            context, common = self._list(size, 6, 1) if short else self._list(size, 30, 3)
            return self._question(example) + _numbered(solved), self._question(context), common

        def whole(size: int) -> int:
            example, text, common = sample(size)
            return count(f"{example}\n{text} {_numbered(common)}")

        size = largest_size(_COMMON_STEP, len(self._words), whole, limit)
        rows = []
        for index in range(SAMPLES):
            sizes = shrinking(size, _COMMON_STEP)
            (example, text, common), tokens = first_that_fits(sizes, sample, lambda made: count(made[1]), limit)
            asked = {"input": text.removesuffix(_COMMON_BEGUN).strip(), "input_example": example, "outputs": common}
            facts = {"length": tokens + _COMMON_TOKENS, "max_length": length, "gen_prefix": _COMMON_BEGUN.strip()}
            rows.append({"index": index, **asked, **facts})
        return rows

    def _list(self, size: int, often: int, seldom: int) -> tuple[str, list[str]]:
        drawn = self._rng.sample(self._words, size)
        common, others = drawn[:10], drawn[10:]
        words = common * often + others * seldom
        self._order.shuffle(words)
        return _numbered(words), common

    @staticmethod
    def _question(context: str) -> str:
        return _COMMON.format(context=context) + _COMMON_BEGUN


class _FrequentWords:
    """Texts of made-up words whose frequencies follow a power law; the most frequent is a row of dots."""

    def __init__(self) -> None:
        self._rng = fresh_random()

    def rows(self, length: int, count: Count) -> list[Row]:
        step = length // 32
        room = self._vocabulary(length)
        size = length // _WORD_LENGTH
        while count(_coded_text(room, size)) < length:
            size += step
        return [self._row(index, size - step, step, length, count) for index in range(SAMPLES)]

    def _row(self, index: int, size: int, step: int, length: int, count: Count) -> Row:
        vocabulary = self._vocabulary(length)
        make: Callable[[int], str] = partial(_coded_text, vocabulary)
        text, tokens = first_that_fits(range(size, 0, -step), make, count, length)
        asked = {"input": text.removesuffix(_FREQUENT_BEGUN).strip(), "outputs": vocabulary[1:4]}
        facts = {"length": tokens + _FREQUENT_TOKENS, "max_length": length, "gen_prefix": _FREQUENT_BEGUN.strip()}
        return {"index": index, **asked, **facts}

    def _vocabulary(self, length: int) -> list[str]:
        size = length // 50
        words: set[str] = set()
        drawn = 0
        while drawn < size or len(words) < size:
            words.add("".join(self._rng.choices(string.ascii_lowercase, k=_WORD_LENGTH)))
            drawn += 1
        found = sorted(words)
        random.Random(42).shuffle(found)
        return ["...", *found[1:]]


def _coded_text(vocabulary: Sequence[str], size: int) -> str:
    import numpy as np

    ranks = np.arange(1, len(vocabulary) + 1)
    counts = (size * (ranks**-2.0) / _ZETA_2).astype(int)
    words = [word for word, times in zip(vocabulary, counts, strict=True) for _ in range(times)]
    random.Random(42).shuffle(words)
    return _FREQUENT.format(context=" ".join(words)) + _FREQUENT_BEGUN


def common_words(source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    """The docs of ``ruler_cwe``."""
    return rows_for_lengths(metadata, _CommonWords().rows)


def frequent_words(source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    """The docs of ``ruler_fwe``."""
    return rows_for_lengths(metadata, _FrequentWords().rows)
