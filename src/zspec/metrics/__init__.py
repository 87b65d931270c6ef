"""Every metric of the field, defined once.

Each is one small function of arrays that gives a statistic: ``gf(z, z_true, 0.0015).value``, and
``.replicates(draw)`` for its bootstrap. :data:`METRICS` lists them with what they need.
"""

from zspec.metrics.registry import (
    BY_NAME,
    METRICS,
    SHORT,
    Metric,
    Threshold,
    choose,
    parse_thresholds,
    say_threshold,
)
from zspec.metrics.statistics import Draw, Statistic, draw

__all__ = [
    "BY_NAME",
    "METRICS",
    "SHORT",
    "Draw",
    "Metric",
    "Statistic",
    "Threshold",
    "choose",
    "draw",
    "parse_thresholds",
    "say_threshold",
]
