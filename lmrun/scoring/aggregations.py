"""Aggregations: one number from the values of all docs, and how it varies over resamples of the docs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lmrun.stats import mean, plain_sum

if TYPE_CHECKING:
    from lmrun.stats.bootstrap import Resamples

StderrRule: TypeAlias = Literal["mean", "bootstrap"]


class Aggregation:
    """The values of one metric, ready to be aggregated.

    ``value`` and ``resampled`` raise TypeError, ValueError or ZeroDivisionError for values they are not made for.
    """

    stderr_rule: StderrRule | None = None
    """How lm-eval finds the standard error of this aggregation; None: it gives none."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def value(self) -> float:
        """The aggregated value."""
        raise NotImplementedError

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """The aggregated value of each resample; only where the rule is ``bootstrap``."""
        raise NotImplementedError


class Mean(Aggregation):
    """The mean."""

    stderr_rule = "mean"

    def value(self) -> float:
        """See :class:`Aggregation`."""
        return mean(self.values)


class NanMean(Aggregation):
    """The mean of those values that are not nan; nan if there are none."""

    stderr_rule = "bootstrap"

    def value(self) -> float:
        """See :class:`Aggregation`."""
        import numpy as np

        return self.resampled(np.arange(len(self.values))[None, :])[0]

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        import numpy as np

        drawn = np.asarray(self.values, dtype=float)[rows]
        missing = np.isnan(drawn)
        with np.errstate(invalid="ignore"):
            # numpy adds pairwise here, and so does lm-eval, which calls numpy.nanmean.
            means: list[float] = (np.where(missing, 0.0, drawn).sum(axis=1) / (~missing).sum(axis=1)).tolist()
        return means


class Median(Aggregation):
    """The upper median: the value at ``n // 2`` in sorted order."""

    stderr_rule = "bootstrap"

    def value(self) -> float:
        """See :class:`Aggregation`."""
        middle: float = sorted(self.values)[len(self.values) // 2]
        return middle

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        import numpy as np

        drawn = np.asarray(self.values, dtype=float)[rows]
        middle = drawn.shape[1] // 2
        medians: list[float] = np.partition(drawn, middle, axis=1)[:, middle].tolist()
        return medians


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


class Perplexity(Aggregation):
    """``exp(-mean)`` of log-probabilities."""

    stderr_rule = "bootstrap"

    def value(self) -> float:
        """See :class:`Aggregation`."""
        return _exp(-mean(self.values))

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        import numpy as np

        drawn = np.asarray(self.values, dtype=float)[rows]
        # Adds from left to right as a plain loop does, where numpy.sum would add pairwise.
        sums = np.add.accumulate(drawn, axis=1)[:, -1] / drawn.shape[1]
        return [_exp(-m) for m in sums.tolist()]


def _weighted_mean(values: Sequence[Any]) -> float:
    return plain_sum(a for a, _ in values) / plain_sum(b for _, b in values)


class WeightedPerplexity(Aggregation):
    """``exp(-(sum of log-probabilities) / (sum of sizes))`` of pairs (log-probability, size)."""

    def value(self) -> float:
        """See :class:`Aggregation`."""
        return _exp(-_weighted_mean(self.values))


class BitsPerByte(Aggregation):
    """Bits for each byte: as :class:`WeightedPerplexity`, as its logarithm to base 2."""

    def value(self) -> float:
        """See :class:`Aggregation`."""
        return -_weighted_mean(self.values) / math.log(2)


class BrierScore(Aggregation):
    """The mean squared distance of probabilities from the truth, summed over choices (Brier 1950)."""

    def value(self) -> float:
        """See :class:`Aggregation`."""
        import numpy as np

        losses = []
        for gold, shares in self.values:
            if not isinstance(gold, int) or not -len(shares) <= gold < len(shares):
                raise ValueError(f"the target {gold!r} is none of the {len(shares)} choices")
            truth = np.zeros(len(shares))
            truth[gold] = 1.0
            losses.append(np.sum((np.array(shares, dtype=float) - truth) ** 2))
        return float(np.mean(losses))


class Bypass(Aggregation):
    """999: the metric of a run that only wants the model's answers."""

    def value(self) -> float:
        """See :class:`Aggregation`."""
        return 999


_FIELD = 1 << 31
"""Counts up to this fit into one half of an integer."""


class _Labels(Aggregation):
    """Pairs (gold label, predicted label) as numbers of a common list of labels."""

    stderr_rule = "bootstrap"

    def __init__(self, values: Sequence[Any]) -> None:
        import numpy as np

        super().__init__(values)
        self.labels = list(dict.fromkeys(label for pair in values for label in pair))
        number = {label: i for i, label in enumerate(self.labels)}
        self.gold = np.array([number[gold] for gold, _ in values])
        self.predicted = np.array([number[predicted] for _, predicted in values])

    def value(self) -> float:
        """See :class:`Aggregation`."""
        import numpy as np

        return self.resampled(np.arange(len(self.values))[None, :])[0]


class BinaryF1(_Labels):
    """F1 of label 1 against one other label: ``2 tp / (gold positives + predicted positives)``, 0 if there are none."""

    def __init__(self, values: Sequence[Any]) -> None:
        super().__init__(values)
        if not all(isinstance(label, int) for label in self.labels):
            raise ValueError("f1 needs the labels 0 and 1, there are labels that are no integers")
        if len(self.labels) > 2 or (len(self.labels) == 2 and 1 not in self.labels):
            some = ", ".join(map(str, sorted(self.labels)[:5]))
            raise ValueError(f"f1 needs two labels of which one is 1, there are {len(self.labels)}: {some}")
        positive = self.labels.index(1) if 1 in self.labels else -1
        positives = (self.gold == positive).astype(int) + (self.predicted == positive)
        # Both counts in one integer, so that a resample is gathered and added up once.
        self._packed = positives + (positives == 2) * _FIELD

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        import numpy as np

        hits, positives = np.divmod(self._packed[rows].sum(axis=1), _FIELD)
        # Counts are exact, so the order of addition is free, and the quotient is the one of scikit-learn.
        scores: list[float] = np.where(positives == 0, 0.0, 2.0 * hits / np.maximum(positives, 1)).tolist()
        return scores


class MatthewsCorrelation(_Labels):
    """Matthews' correlation for any number of labels (Gorodkin 2004); 0 where either side has one label only."""

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        import numpy as np

        n = float(rows.shape[1])
        gold, predicted, correct = self._counts(rows)
        # All are integers below 2**53 (n < 90 million), so only product, root and quotient round, as in scikit-learn.
        covariance = correct * n - (gold * predicted).sum(axis=1)
        variances = (n**2 - (predicted * predicted).sum(axis=1)) * (n**2 - (gold * gold).sum(axis=1))
        constant = variances == 0
        scores: list[float] = np.where(constant, 0.0, covariance / np.sqrt(np.where(constant, 1.0, variances))).tolist()
        return scores

    def _counts(self, rows: Resamples) -> Any:
        """Of each resample: how often each label is gold, how often each is predicted, how many are right."""
        import numpy as np

        k, n_rows = len(self.labels), len(rows)
        shift = (np.arange(n_rows) * (2 * k))[:, None]
        cells = [self.gold[rows] + shift, self.predicted[rows] + (shift + k)]
        counts = sum(np.bincount(c.ravel(), minlength=n_rows * 2 * k) for c in cells)
        counts = np.asarray(counts, dtype=float).reshape(n_rows, 2, k)
        return counts[:, 0], counts[:, 1], (self.gold == self.predicted)[rows].sum(axis=1)


SIMPLE: Mapping[str, type[Aggregation]] = {
    "mean": Mean,
    "nanmean": NanMean,
    "median": Median,
    "perplexity": Perplexity,
    "weighted_perplexity": WeightedPerplexity,
    "bits_per_byte": BitsPerByte,
    "brier_score": BrierScore,
    "bypass": Bypass,
    "f1": BinaryF1,
    "matthews_corrcoef": MatthewsCorrelation,
}
