"""Two or more catalogues side by side, on exactly the same objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import InputError
from zspec.evaluation.frame import Frame
from zspec.evaluation.measure import Prepared, Result, Settings, finish, prepare
from zspec.evaluation.sample import Choice, Columns, Sample, assemble
from zspec.metrics import Draw, Metric
from zspec.metrics.redshifts import C

APART = 1000.0
"""km/s: redshifts that differ by more are not the same (redrock's distance of candidates)."""


@dataclass(frozen=True)
class Difference:
    """A metric of one catalogue minus that of the first, object by object."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One metric of all catalogues."""

    metric: Metric
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]
    """Of the second and later ones."""


def align(
    catalogues: Sequence[Frame], truth: Frame | None, columns: Columns, choice: Choice
) -> list[Sample]:
    """A sample of each catalogue, all with the same objects in the same order.

    Without ``truth`` it is what the first carries. Of rows of one object the first counts. Raises
    InputError where no object is in all.
    """
    first = assemble(catalogues[0], truth, columns, choice)
    against = truth or catalogues[0]
    others = [assemble(c, against, columns, choice, carried=truth is None) for c in catalogues[1:]]
    samples = [first, *others]
    keys = [np.unique(s.rows.truth_rows, return_index=True) for s in samples]
    common = reduce(np.intersect1d, [key for key, _ in keys])
    if not len(common):
        raise InputError(f"no object is in all of {', '.join(c.name for c in catalogues)}")
    aligned = []
    for sample, (key, index) in zip(samples, keys, strict=True):
        rows = index[np.searchsorted(key, common)]
        note = f"{len(common)} objects are in all catalogues; {len(sample) - len(common)} rows not"
        aligned.append(replace(sample[rows], notes=(*sample.notes, note)))
    return aligned


def compare(samples: Sequence[Sample], settings: Settings, drawn: Draw) -> list[Row]:
    """Every metric of every catalogue, and the paired difference to the first."""
    return [_row(metric, samples, settings, drawn) for metric in settings.metrics]


def _row(metric: Metric, samples: Sequence[Sample], settings: Settings, drawn: Draw) -> Row:
    """One metric, from the rows of which it can be formed in every catalogue."""
    ready = [prepare(metric, s, settings) for s in samples]
    possible = [p.rows for p in ready if p.statistic is not None]
    if len({rows.tobytes() for rows in possible}) > 1:
        both = reduce(np.intersect1d, possible)
        samples, drawn = [s[both] for s in samples], drawn[both]
        ready = [prepare(metric, s, settings) for s in samples]
    results = [finish(p, s, drawn, settings) for p, s in zip(ready, samples, strict=True)]
    differences = [_difference(ready[0], p, drawn, settings) for p in ready[1:]]
    return Row(metric, tuple(results), tuple(differences))


def _difference(first: Prepared, other: Prepared, drawn: Draw, settings: Settings) -> Difference:
    """Other minus first, with both drawn alike in each replicate."""
    value = other.value - first.value
    if not np.isfinite(value) or not len(other.rows):
        return Difference(None, None, None, len(other.rows))
    replicates = other.replicates(drawn) - first.replicates(drawn)
    replicates = replicates[np.isfinite(replicates)]
    level = settings.bootstrap.level
    lo, hi = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(value), float(lo), float(hi), len(other.rows))


def disagreements(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Objects whose class differs, or whose redshifts lie more than ``APART`` apart.

    The farthest first. Each with its id, what is true, and what each catalogue says.
    """
    first = samples[0]
    far = np.max([_distance(first, other) for other in samples[1:]], axis=0)
    classes = [_classes(s, "label") for s in samples]
    differ = np.any([c != classes[0] for c in classes[1:]], axis=0)
    chosen = np.flatnonzero(differ | (far > APART))
    chosen = chosen[np.argsort(-far[chosen], kind="stable")]
    true = _classes(first, "label_true")
    return [
        {
            "id": first.ids[i].item(),
            "z_true": _number(first, "z_true", i),
            "class_true": str(true[i]),
            "z": [_number(s, "z", i) for s in samples],
            "class": [str(c[i]) for c in classes],
            "apart_km_s": float(far[i]),
        }
        for i in chosen.tolist()
    ]


def _distance(one: Sample, other: Sample) -> NDArray[np.float64]:
    """(n,) km/s between the redshifts of two catalogues; 0 where one has none."""
    if "z" not in one.columns or "z" not in other.columns:
        return np.zeros(len(one))
    a, b = one.columns["z"], other.columns["z"]
    return np.asarray(np.nan_to_num(C * np.abs(b - a) / (1 + np.minimum(a, b))))


def _classes(sample: Sample, role: str) -> NDArray[np.str_]:
    """(n,) classes as text, empty where unknown."""
    if role not in sample.columns:
        return np.full(len(sample), "", "U1")
    return np.asarray(np.array([*sample.names, ""])[sample.columns[role]])


def _number(sample: Sample, role: str, row: int) -> float | None:
    value = sample.columns[role][row] if role in sample.columns else np.nan
    return float(value) if np.isfinite(value) else None
