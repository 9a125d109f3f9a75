"""The scripted model: a distribution over the next token that is quick to compute and adds up to one.

After each prefix the tokens are put in an order that depends on a hash of the prefix, and the token in place ``r`` has
the probability ``c / (r + 1) ** 1.5``. The first place goes to a word that makes sense, so greedy answers read
``" so we add The answer is 17."``. Whatever asks for log-probabilities is given those of this one distribution.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmrun.testing.tokens import FILLERS, TARGETS, Tokens

Integers = npt.NDArray[np.int64]

_MASK = 2**64 - 1
_BASE = 0x5851F42D4C957F2D
_MIX = 0x9E3779B97F4A7C15
_STRIDE = 7919
"""A prime that does not divide the size of the vocabulary."""


class State(NamedTuple):
    """What is known of a prefix: a sum over its tokens, each weighed by its place, and the last three."""

    total: int
    weight: int
    last: int = -1
    second: int = -1
    third: int = -1

    def then(self, token: int) -> State:
        """The state one token later."""
        total = (self.total + (token + 1) * self.weight) & _MASK
        return State(total, self.weight * _BASE & _MASK, token, self.last, self.second)


class Rows(NamedTuple):
    """The distributions after several prefixes: enough to know the place of any token in each."""

    favorite: Integers
    shift: Integers


class Model:
    """Next-token distributions by hash; ``salt`` makes another model."""

    def __init__(self, salt: int = 0) -> None:
        self.tokens = tokens = Tokens()
        self.start = State((salt + 1) * _MIX & _MASK, _BASE)
        self.size = size = len(tokens)
        self._back = pow(_STRIDE, -1, size)
        shares = (np.arange(size) + 1.0) ** -1.5
        self._logprob = np.log(shares / shares.sum())
        self._fillers = np.array([tokens.one(word) for word in FILLERS])
        self._targets = np.array([tokens.one(word) for word in TARGETS])
        self._the, self._dot, self._is = tokens.one(" The"), tokens.one("."), tokens.one(" is")
        self._follows = {self._the: tokens.one(" answer"), tokens.one(" answer"): self._is}
        self._follows |= dict.fromkeys(self._targets.tolist(), self._dot)
        self._next = np.full(size + 1, -1)  # the last entry stands for "no token yet"
        self._next[list(self._follows)] = list(self._follows.values())

    def rows(self, ids: Sequence[int]) -> Rows:
        """The distribution before each token, and the one after the last."""
        n = len(ids)
        last = np.full(n + 3, -1)
        last[3:] = ids
        weights = _weights(max(256, 1 << n.bit_length()))[:n]
        totals = np.full(n + 1, self.start.total, dtype=np.uint64)
        totals[1:] += np.cumsum((last[3:] + 1).astype(np.uint64) * weights)
        return self._rows(totals, last[2:], last[: n + 1])

    def _rows(self, totals: npt.NDArray[np.uint64], last: Integers, third: Integers) -> Rows:
        drawn = ((totals * np.uint64(_MIX)) >> np.uint64(33)).astype(np.int64)
        high = drawn >> 12
        words = np.where(high & 3, self._fillers[(high >> 2) % len(self._fillers)], self._the)
        words = np.where(last == self._is, self._targets[high % len(self._targets)], words)
        words[(last == self._dot) & (third == self._is)] = self.tokens.end
        follows = self._next[last]
        return Rows(np.where(follows >= 0, follows, words), drawn % self.size)

    def ranks(self, rows: Rows, ids: Sequence[int]) -> Integers:
        """The place, from 0, of each token in the order of its row."""
        tokens = np.asarray(ids, dtype=np.int64)
        favorite, shift = rows.favorite[: len(tokens)], rows.shift[: len(tokens)]
        ranks = (tokens * _STRIDE + shift) % self.size
        ranks = np.where(ranks == 0, (favorite * _STRIDE + shift) % self.size, ranks)
        ranks[tokens == favorite] = 0
        return ranks

    def top(self, rows: Rows, k: int) -> list[list[int]]:
        """The ``k`` likeliest tokens of each row, the likeliest first."""
        favorite, shift = rows.favorite[:, None], rows.shift[:, None]
        tokens = (np.arange(min(k, self.size)) - shift) * self._back % self.size
        displaced = -shift * self._back % self.size
        tokens = np.where(tokens == favorite, displaced, tokens)
        tokens[:, :1] = favorite
        listed: list[list[int]] = tokens.tolist()
        return listed

    def logprobs(self, ranks: Integers | Sequence[int]) -> list[float]:
        """The log-probability of the token in each place; it is the same after every prefix."""
        values: list[float] = self._logprob[ranks].tolist()
        return values

    def after(self, ids: Sequence[int]) -> State:
        """The state after these tokens."""
        weights = _weights(max(256, 1 << len(ids).bit_length()))
        total = int(((np.array(ids, dtype=np.uint64) + np.uint64(1)) * weights[: len(ids)]).sum(dtype=np.uint64))
        last, second, third = [*reversed(ids[-3:]), -1, -1, -1][:3]
        return State((self.start.total + total) & _MASK, int(weights[len(ids)]), last, second, third)

    def generate(self, state: State, n: int, temperature: float, random: Random) -> list[int]:
        """At most ``n`` tokens; the last is the end-of-text token if the model ends by itself."""
        ids: list[int] = []
        while len(ids) < n and (not ids or ids[-1] != self.tokens.end):
            ids.append(self._draw(state, temperature, random) if temperature else self._one(state)[0])
            state = state.then(ids[-1])
        return ids

    def _one(self, state: State) -> tuple[int, int]:
        """One row, as :meth:`_rows` gives it; without arrays, which cost more than they save here."""
        drawn = (state.total * _MIX & _MASK) >> 33
        high, last = drawn >> 12, state.last
        if last in self._follows:
            favorite = self._follows[last]
        elif last == self._is:
            favorite = int(self._targets[high % len(self._targets)])
        elif last == self._dot and state.third == self._is:
            favorite = self.tokens.end
        else:
            favorite = int(self._fillers[(high >> 2) % len(self._fillers)]) if high & 3 else self._the
        return favorite, drawn % self.size

    def _draw(self, state: State, temperature: float, random: Random) -> int:
        bounds = _bounds(self.size, temperature)
        rank = min(bisect(bounds, random.random() * bounds[-1]), self.size - 1)
        favorite, shift = self._one(state)
        token = (rank - shift) * self._back % self.size
        if rank == 0 or token == favorite:
            return favorite if rank == 0 else -shift * self._back % self.size
        return token


@cache
def _weights(n: int) -> npt.NDArray[np.uint64]:
    powers = accumulate(range(n + 1), lambda power, _: power * _BASE & _MASK, initial=_BASE)
    return np.array(list(powers), dtype=np.uint64)


@cache
def _bounds(size: int, temperature: float) -> list[float]:
    return list(accumulate((rank + 1) ** (-1.5 / temperature) for rank in range(size)))
