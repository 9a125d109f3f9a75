"""The bootstrap (Efron 1979), with the random draws that lm-eval makes.

Replicates come in chunks of at most 1,000; chunk ``i`` draws with ``random.Random(i).choices``. numpy has the same
generator (MT19937) and turns its output into doubles in the same way, so the indices of a whole chunk can be drawn at
once and are the same numbers: ``choices`` takes ``floor(random() * n)``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Resamples: TypeAlias = NDArray[np.intp]
    """Positions drawn with replacement; one replicate of n positions in each row."""

REPLICATES_PER_SEED = 1000
_DRAWS_PER_BLOCK = 1 << 16
"""Arrays of a block stay in the processor's cache; ten times as many draws at once take twice the time."""
_MAX_THREADS = 8


def resamples(n: int, replicates: int, seed: int) -> Iterator[Resamples]:
    """Rows of ``n`` positions in ``range(n)``, block by block, as ``random.Random(seed).choices`` draws them."""
    import numpy as np

    _, state, _ = random.Random(seed).getstate()
    bits = np.random.MT19937()
    bits.state = {"bit_generator": "MT19937", "state": {"key": np.array(state[:-1], np.uint32), "pos": state[-1]}}
    draw = np.random.Generator(bits)
    rows = max(1, _DRAWS_PER_BLOCK // n)
    for done in range(0, replicates, rows):
        position = draw.random((min(rows, replicates - done), n))
        position *= n
        yield position.astype(np.intp)


def bootstrap(n: int, iterations: int, statistic: Callable[[Resamples], Sequence[float]]) -> list[float]:
    """The values of ``statistic`` on resamples of ``n`` items.

    ``statistic`` gets a block of resamples and gives one value for each row; it is called from several threads, as
    numpy works outside the interpreter lock. ``iterations`` is rounded down to whole chunks, as in lm-eval: 1,500 give
    1,000 replicates.
    """
    chunk = min(REPLICATES_PER_SEED, iterations)

    def replicates(seed: int) -> list[float]:
        return list(chain.from_iterable(statistic(block) for block in resamples(n, chunk, seed)))

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(chain.from_iterable(pool.map(replicates, range(iterations // chunk))))
