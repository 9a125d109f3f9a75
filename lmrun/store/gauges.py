"""Measurements of a run over time, thinned out for a plot, in an open ``run.db``."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """Mean of what was measured around a moment."""

    time: float
    """Unix seconds."""
    value: float


def gauge_series(db: sqlite3.Connection, points: int) -> Mapping[str, Sequence[Point]]:
    """By name of the gauge, at most about ``points`` points over the whole of the run."""
    first, last = db.execute("SELECT min(time), max(time) FROM gauges").fetchone()
    if first is None:
        return {}
    step = max((last - first) / points, 1e-3)
    series: dict[str, list[Point]] = {}
    for name, moment, value in db.execute(
        """SELECT name, avg(time), avg(value) FROM gauges
           GROUP BY name, CAST((time - ?) / ? AS INTEGER) ORDER BY name, 2""",
        (first, step),
    ):
        series.setdefault(name, []).append(Point(moment, value))
    return series
