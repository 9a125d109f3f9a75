"""Statistics of evaluations: means, bootstrap, intervals."""

from lmrun.stats.bootstrap import bootstrap
from lmrun.stats.intervals import Interval, normal_interval, percentile_interval, wilson_interval
from lmrun.stats.moments import mean, mean_stderr, plain_sum, sample_stddev

__all__ = [
    "Interval",
    "bootstrap",
    "mean",
    "mean_stderr",
    "normal_interval",
    "percentile_interval",
    "plain_sum",
    "sample_stddev",
    "wilson_interval",
]
