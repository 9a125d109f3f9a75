"""Overlaps of n-grams, against a slow search by sets of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.data.ngrams import COMMON, NgramIndex, ngram_size, words
from lmrun.errors import Location

FILE = Path("corpus.jsonl")
few_words = st.lists(st.sampled_from("a b c d".split()), max_size=14)
"""Of few words, so that they meet."""


def grams(text: Sequence[str], n: int) -> list[str]:
    """Every n-gram in order, by the definition."""
    return [" ".join(text[i : i + n]) for i in range(len(text) - n + 1)]


def slow(texts: Sequence[Sequence[str]], corpus: Sequence[Sequence[str]], n: int) -> list[list[tuple[str, int, int]]]:
    """Of each text its overlaps: n-gram, line of the first document with it, number of documents with it."""
    found = []
    for text in texts:
        rows = []
        for gram in dict.fromkeys(grams(text, n)):
            lines = [number for number, document in enumerate(corpus, start=1) if gram in grams(document, n)]
            if 0 < len(lines) <= COMMON:
                rows.append((gram, lines[0], len(lines)))
        found.append(rows)
    return found


@given(st.lists(few_words, max_size=5), st.lists(few_words, max_size=15), st.integers(1, 4))
def test_overlaps_are_those_of_the_slow_search(texts: list[list[str]], corpus: list[list[str]], n: int) -> None:
    index = NgramIndex(texts, n)
    for number, document in enumerate(corpus, start=1):
        index.scan(document, Location(FILE, number))
    found = [[(o.ngram, o.place.line, o.documents) for o in index.overlaps(i)] for i in range(len(texts))]
    assert found == slow(texts, corpus, n)


@given(st.text(), st.text())
def test_words_do_not_depend_on_case_and_punctuation(one: str, other: str) -> None:
    assert all(word and not any(char in word for char in " .,;!?\n") for word in words(one))
    assert words(f"{one} {other}") == words(one) + words(other)
    assert words(one) == words(" ".join(words(one)))


def test_what_a_word_is() -> None:
    assert words("It's a\tSTATE-of-the-art, “quoted” Übung…\n(x+y)") == "its a stateoftheart quoted übung xy".split()


@pytest.mark.parametrize(
    ("lengths", "n"),
    [([], 13), ([3] * 5, 8), ([9] * 20, 9), ([100] * 20, 13), ([10, *[50] * 99], 13), ([10] * 100, 10)],
)
def test_n_is_the_fifth_percentile_of_the_lengths_within_bounds(lengths: list[int], n: int) -> None:
    assert ngram_size(lengths) == n


def test_keys_that_are_equal_by_chance_are_no_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmrun.data.ngrams.hash", lambda _word: 7, raising=False)
    index = NgramIndex([["a", "b"]], 2)
    index.scan(["c", "d"], Location(FILE, 1))
    assert index.overlaps(0) == []
