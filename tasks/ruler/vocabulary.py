"""English words, and the two-word names that RULER makes of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import overload


def nouns_and_adjectives() -> tuple[list[str], list[str]]:
    """The nouns and the adjectives of wonderwords."""
    return _category("noun"), _category("adjective")


def all_words() -> list[str]:
    """Its nouns, adjectives and verbs, sorted."""
    return sorted({word for name in ("noun", "adjective", "verb") for word in _category(name)})


def _category(name: str) -> list[str]:
    from wonderwords import RandomWord

    return sorted(set(RandomWord().filter(include_categories=[name])))


class Names(Sequence[str]):
    """Every ``adjective-noun``, sorted. They are six million, so a name is made when it is asked for."""

    def __init__(self, adjectives: Iterable[str], nouns: Iterable[str]) -> None:
        self._nouns = sorted(set(nouns))
        self._groups = [self._names_of(group) for group in _sorting_together(adjectives)]
        self._ends = list(accumulate(len(names) for _, names in self._groups))

    def _names_of(self, adjectives: Sequence[str]) -> tuple[str, Sequence[str]]:
        """What the names of some adjectives begin with, and what follows."""
        if len(adjectives) == 1:
            return f"{adjectives[0]}-", self._nouns
        return "", sorted({f"{adjective}-{noun}" for adjective in adjectives for noun in self._nouns})

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int, /) -> str: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[str]: ...
    def __getitem__(self, index: int | slice, /) -> str | list[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        group = bisect_right(self._ends, at)
        begin, names = self._groups[group]
        return begin + names[at - (self._ends[group - 1] if group else 0)]


def _sorting_together(adjectives: Iterable[str]) -> list[list[str]]:
    """Adjectives in order; those whose names are in no simple order (``high``, ``high-pitched``) in one group."""
    groups: list[list[str]] = []
    for adjective in sorted(set(adjectives), key=lambda word: f"{word}-"):
        if groups and f"{adjective}-".startswith(f"{groups[-1][0]}-"):
            groups[-1].append(adjective)
        else:
            groups.append([adjective])
    return groups
