"""Means and their standard errors, added up strictly from left to right.

Since Python 3.12 the built-in ``sum`` compensates rounding errors, so the same values would give results that differ in
the last digit between Python versions. These sums do not, and they equal what ``numpy.add.accumulate`` gives, so the
vectorised bootstrap can be compared with a plain loop to the last bit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from functools import reduce


def plain_sum(values: Iterable[float]) -> float:
    """The sum, one addition after the other; 0 for no values."""
    return reduce(operator.add, values, 0)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of at least one value."""
    return plain_sum(values) / len(values)


def sample_stddev(values: Sequence[float]) -> float:
    """The standard deviation with n-1 in the denominator, of at least two values."""
    centre = mean(values)
    return math.sqrt(plain_sum((x - centre) ** 2 for x in values) / (len(values) - 1))


def mean_stderr(values: Sequence[float]) -> float:
    """The standard error of the mean by the central limit theorem (Miller 2024, "Adding Error Bars to Evals")."""
    return sample_stddev(values) / math.sqrt(len(values))
