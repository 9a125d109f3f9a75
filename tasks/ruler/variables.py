"""Tracing: which variables get a value, directly or from one another."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .sizes import SAMPLES, Count, Row, first_that_fits, fresh_random, largest_size, rows_for_lengths, shrinking

if TYPE_CHECKING:
    from lmrun.data import Split

_NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
_QUESTION = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: Find "
    "all variables that are assigned the value {value} in the text above."
)
_BEGUN = (
    " Answer: According to the chain(s) of variable assignment in the text above, {variables} variables are assgined "
    "the value {value}, they are: "
)
_LAST_WORDS = "they are: "
_VARIABLES = 5
_ANSWER_TOKENS = 30
_EXAMPLE_LENGTH = 500


class _Sample(NamedTuple):
    text: str
    begun: str
    """Its end, where the answer begins."""
    variables: list[str]


class _Tracing:
    """Makes docs, drawing random numbers in the order in which lm-eval does."""

    def __init__(self) -> None:
        import numpy as np

        self._rng = fresh_random()
        self._values = np.random.RandomState(1234)

    def rows(self, length: int, count: Count) -> list[Row]:
        """The docs of one length, each after a solved example."""
        ((text, _, variables), _), *_ = self._samples(1, _EXAMPLE_LENGTH - _ANSWER_TOKENS, count, step=5, letters=3)
        example = f"{text} {' '.join(variables)}\n\n"
        taken = count(example) + _ANSWER_TOKENS
        samples = self._samples(SAMPLES, length - taken, count, step=10, letters=5)
        return [
            {
                "index": index,
                "input": f"{self._renamed(example)}\n\n{text.removesuffix(begun)}",
                "outputs": variables,
                "length": tokens + taken,
                "max_length": length,
                "gen_prefix": begun.strip(),
            }
            for index, ((text, begun, variables), tokens) in enumerate(samples)
        ]

    def _samples(self, number: int, limit: int, count: Count, step: int, letters: int) -> Iterator[tuple[_Sample, int]]:
        """Samples within a number of tokens, and their lengths."""

        def whole(size: int) -> int:
            text, _, variables = self._sample(size, letters)
            return count(f"{text} {variables}")

        size = largest_size(step, limit, whole, limit)
        for _ in range(number):
            sizes = shrinking(size, step)
            yield first_that_fits(sizes, lambda size: self._sample(size, letters), lambda made: count(made.text), limit)

    def _sample(self, size: int, letters: int) -> _Sample:
        variables = self._variables(letters)
        value = str(self._values.randint(10000, 99999))
        chain = [f"VAR {variables[0]} = {value}"]
        chain += [f"VAR {name} = VAR {before} " for before, name in pairwise(variables)]
        lines = [_NOISE] * size if size > len(chain) else _sentences(_NOISE) * size
        for shift, place in enumerate(sorted(self._rng.sample(range(len(lines)), len(chain)))):
            lines.insert(place + shift, chain[shift])
        context = " ".join(lines).replace(". \n", ".\n")
        begun = _BEGUN.format(variables=len(variables), value=value)
        return _Sample(_QUESTION.format(context=context, value=value) + begun, begun, variables)

    def _variables(self, letters: int) -> list[str]:
        while True:
            names = [self._name(letters) for _ in range(_VARIABLES)]
            if len(set(names)) == _VARIABLES:
                return names

    def _name(self, letters: int) -> str:
        return "".join(self._rng.choices(string.ascii_uppercase, k=letters))

    def _renamed(self, example: str) -> str:
        """The solved example with other variables."""
        for name in example.partition(_LAST_WORDS)[2].split():
            example = example.replace(name, self._name(len(name)))
        return example


def _sentences(text: str) -> list[str]:
    return [f"{sentence}." if sentence.strip() else sentence for sentence in text.split(".")]


def traced(source: Callable[[str], Split], **metadata: Any) -> Mapping[str, list[Row]]:
    """The docs of ``ruler_vt``."""
    return rows_for_lengths(metadata, _Tracing().rows)
