"""95% intervals around a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]

Z95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""


def wilson_interval(successes: float, n: int) -> Interval:
    """The score interval of a proportion (Wilson 1927), within [0, 1] also for few docs and for 0% or 100%.

    Raises ValueError unless ``0 <= successes <= n`` and ``n >= 1``.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    p, z2 = successes / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # Exactly 0 and 1 at the ends by theory; rounding would leave the proportion itself just outside.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def normal_interval(value: float, stderr: float, bounds: Interval | None = None) -> Interval:
    """``value ± 1.96 stderr``, by the central limit theorem (Miller 2024, "Adding Error Bars to Evals", section 2.1).

    ``bounds`` are those that the score cannot leave; the interval is cut there.
    """
    low, high = value - Z95 * stderr, value + Z95 * stderr
    if bounds is None:
        return low, high
    return max(bounds[0], low), min(bounds[1], high)


def percentile_interval(replicates: Sequence[float]) -> Interval | None:
    """The 2.5% and 97.5% quantiles of bootstrap replicates (Efron 1979); None where a replicate is nan.

    The quantiles are replicates themselves, so that infinite ones do no harm.
    """
    if any(math.isnan(value) for value in replicates):
        return None
    ranked = sorted(replicates)
    return ranked[math.ceil(0.025 * len(ranked)) - 1], ranked[math.ceil(0.975 * len(ranked)) - 1]
