"""N-grams of words that texts share with a corpus, found in one pass over the corpus.

What is kept in memory are the n-grams of the texts, not of the corpus. An n-gram is looked up by a 64-bit key, and a
hit is compared word by word before it counts, so nothing is reported that is not there.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lmrun.errors import Location

COMMON = 10
"""An n-gram that more documents of the corpus hold is a common phrase and says nothing (GPT-3, appendix C)."""
SHORTEST, LONGEST = 8, 13
"""Bounds of the n that is chosen by the length of the texts (GPT-3, appendix C)."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
"""Any odd number with well-mixed bits."""


class _Punctuation(dict[int, int | None]):
    """A table for ``str.translate`` that deletes punctuation, of Unicode and of ASCII, filled as it is used."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        is_mark = char in string.punctuation or unicodedata.category(char).startswith("P")
        return self.setdefault(code, None if is_mark else code)


_WITHOUT_PUNCTUATION = _Punctuation()


def words(text: str) -> list[str]:
    """The words of a text: in lower case, without punctuation, between white space."""
    return text.lower().translate(_WITHOUT_PUNCTUATION).split()


def ngram_size(lengths: Sequence[int]) -> int:
    """The n for texts of these lengths in words: their 5th percentile, no less than 8 and no more than 13."""
    if not lengths:
        return LONGEST
    percentile = int(np.percentile(lengths, 5, method="lower"))
    return min(max(percentile, SHORTEST), LONGEST)


@dataclass(frozen=True, slots=True)
class Overlap:
    """An n-gram that a text shares with the corpus."""

    ngram: str
    place: Location
    """The first document of the corpus that holds it."""
    documents: int
    """How many documents of the corpus hold it."""


class NgramIndex:
    """The n-grams of some texts. :meth:`scan` every document of a corpus, then ask for :meth:`overlaps`."""

    def __init__(self, texts: Sequence[Sequence[str]], n: int) -> None:
        """``texts`` are given by their :func:`words`."""
        shared: dict[str, str] = {}  # a word is one object, however often it is there
        self._texts = [[shared.setdefault(word, word) for word in text] for text in texts]
        self._n = n
        keys = [_keys(text, n) for text in texts]
        owners = np.repeat(np.arange(len(texts)), [len(each) for each in keys])
        starts = np.fromiter(chain.from_iterable(range(len(each)) for each in keys), np.int64, len(owners))
        self._known, first = np.unique(np.concatenate([_NONE, *keys]), return_index=True)
        self._owners, self._starts = owners[first], starts[first]
        self._documents = np.zeros(len(self._known), np.int64)
        self._places: dict[int, Location] = {}

    def scan(self, document: Sequence[str], place: Location) -> None:
        """Note which n-grams a document of the corpus holds; it is given by its :func:`words`."""
        for gram in {gram for start, gram in self._found(document) if self._is_there(gram, document, start)}:
            self._documents[gram] += 1
            self._places.setdefault(gram, place)

    def overlaps(self, text: int) -> list[Overlap]:
        """The n-grams that a text shares with the corpus, in order, those that are too common left out."""
        grams = dict.fromkeys(gram for _, gram in self._found(self._texts[text]))
        return [
            Overlap(" ".join(self._words(gram)), self._places[gram], int(self._documents[gram]))
            for gram in grams
            if 0 < self._documents[gram] <= COMMON
        ]

    def _found(self, text: Sequence[str]) -> list[tuple[int, int]]:
        """Where in a text there are keys of known n-grams, and of which."""
        keys = _keys(text, self._n)
        if not len(self._known):
            return []
        order = np.argsort(keys)  # sorted keys are found twice as fast: neighbours share the processor's cache
        grams = np.searchsorted(self._known, keys[order])
        grams[grams == len(self._known)] = 0
        hits = self._known[grams] == keys[order]
        return sorted(zip(order[hits].tolist(), grams[hits].tolist(), strict=True))

    def _is_there(self, gram: int, document: Sequence[str], start: int) -> bool:
        return self._words(gram) == document[start : start + self._n]

    def _words(self, gram: int) -> Sequence[str]:
        start = int(self._starts[gram])
        return self._texts[int(self._owners[gram])][start : start + self._n]


_NONE = np.empty(0, np.uint64)


def _keys(text: Sequence[str], n: int) -> NDArray[np.uint64]:
    """A key for each n-gram: the hashes of its words as digits of one number, modulo 2^64."""
    count = max(len(text) - n + 1, 0)
    hashes = np.fromiter(map(hash, text), np.int64, len(text)).view(np.uint64)
    keys = np.zeros(count, np.uint64)
    for k in range(n):
        keys = keys * _BASE + hashes[k : k + count]
    return keys
