"""Filters, metrics, aggregation, standard errors: a pure pass over stored responses."""

from lmrun.scoring.aggregate import MetricResult, aggregate
from lmrun.scoring.check import check_spec, required_packages
from lmrun.scoring.extraction import Extraction
from lmrun.scoring.groups import LeafMetric, aggregate_group
from lmrun.scoring.metrics import METRICS
from lmrun.scoring.process import unknown_golds
from lmrun.scoring.robust import with_robust
from lmrun.scoring.score import DocScore, score_doc

__all__ = [
    "METRICS",
    "DocScore",
    "Extraction",
    "LeafMetric",
    "MetricResult",
    "aggregate",
    "aggregate_group",
    "check_spec",
    "required_packages",
    "score_doc",
    "unknown_golds",
    "with_robust",
]
