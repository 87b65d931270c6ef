"""Metrics of a sample with their intervals: of all rows, and of each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.evaluation.groups import Group, Grouping
from zspec.evaluation.sample import LABELS, Sample
from zspec.metrics import BY_NAME, Draw, Metric, Statistic, Threshold, draw
from zspec.metrics.registry import MAX_CATASTROPHIC

MISSING = {
    "z": "no redshift: name its column with --z",
    "z_true": "no true redshift: name its column with --ztrue",
    "sigma": "no uncertainty: name its column with --zerr",
    "label": "no predicted class: name its column with --class, and leave out --given-class",
    "label_true": "no true class: name its column with --class-true",
    "prob": "no column PROB",
    "zconf": "no column ZCONF",
    "zwarn": "no column ZWARN",
    "bound": "no Cramér-Rao bound (column ZCRB)",
}
"""Why a metric cannot be computed, by the column that it lacks."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are found."""

    replicates: int = 1000
    level: float = 0.68
    """Probability of the interval."""
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """One metric of some rows."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int
    """Rows that it is formed of."""
    thr: float | dict[str, float] | None = None
    thr_unit: str = ""
    unit: str = ""
    note: str = ""
    """Why there is no value, or what was left out."""
    matrix: dict[str, Any] | None = None
    """Of ``confusion``: classes, counts[true][found], and ``none``: [true] with no class found."""


@dataclass(frozen=True)
class Settings:
    """What is computed."""

    metrics: Sequence[Metric]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def thr(self, name: str) -> Threshold | None:
        """The threshold of a metric: the user's, else its own."""
        return self.thresholds.get(name, BY_NAME[name].thr)


@dataclass(frozen=True)
class Prepared:
    """A metric of some rows, ready to be computed and resampled."""

    metric: Metric
    rows: NDArray[np.intp]
    """Which rows of the sample it is formed of."""
    statistic: Statistic | None
    """None where a column is missing, or no row is left."""
    thr: Threshold | None
    note: str

    @property
    def value(self) -> float:
        """NaN where there is none."""
        return np.nan if self.statistic is None else self.metric.scale * self.statistic.value

    def replicates(self, drawn: Draw) -> NDArray[np.float64]:
        """(replicate,) values; the weights of rows are those of the whole sample."""
        if self.statistic is None:
            return np.full(len(drawn.weights), np.nan)
        return self.metric.scale * self.statistic.replicates(drawn[self.rows])


def evaluate(sample: Sample, settings: Settings, drawn: Draw | None = None) -> dict[str, Result]:
    """Every metric of all rows of a sample; what cannot be computed has value None and a note."""
    drawn = drawn or resample(sample, settings)
    results: dict[str, Result] = {}
    for metric in settings.metrics:
        if metric.of in results:
            results[metric.name] = _scaled(results[metric.of], metric)
        else:
            ready = prepare(metric, sample, settings)
            results[metric.name] = finish(ready, sample, drawn, settings)
    return results


def _scaled(result: Result, metric: Metric) -> Result:
    """The velocity form of a result."""
    value, lo, hi = (
        None if x is None else x * metric.scale for x in (result.value, result.lo, result.hi)
    )
    return replace(result, value=value, lo=lo, hi=hi, unit=metric.unit)


def evaluate_groups(
    sample: Sample, grouping: Grouping, settings: Settings, drawn: Draw | None = None
) -> list[tuple[Group, dict[str, Result]]]:
    """The same for each group of rows, all with the weights that the whole sample has."""
    drawn = drawn or resample(sample, settings)
    found = []
    for group in grouping.groups:
        part = sample[group.rows]
        found.append((group, evaluate(part, settings, drawn[group.rows])))
    return found


def resample(sample: Sample, settings: Settings) -> Draw:
    """The weights of a bootstrap over the objects of a sample."""
    bootstrap = settings.bootstrap
    return draw(sample.objects, bootstrap.replicates, bootstrap.seed)


def prepare(metric: Metric, sample: Sample, settings: Settings) -> Prepared:
    """Choose the rows of a metric, and say why others are left out."""
    if metric.density is not None and metric.density[0] in sample.columns:
        metric = metric.of_density()
    thr = settings.thr(metric.name)
    needs = (*metric.needs, "label_true") if isinstance(thr, Mapping) else metric.needs
    lacks = [MISSING[need] for need in needs if need not in sample.columns]
    if lacks:
        if isinstance(thr, Mapping) and "label_true" not in sample.columns:
            lacks[-1] += f", or one threshold for all with --thr {metric.name}=NUMBER"
        return Prepared(metric, np.zeros(0, np.intp), None, thr, "; ".join(lacks))
    limits = _limits(sample, thr)
    usable, note = _usable(sample, metric, limits)
    rows = np.flatnonzero(usable)
    if not len(rows):
        return Prepared(metric, rows, None, thr, note or "no rows")
    arrays = [sample.columns[need][rows] for need in metric.needs]
    more = {} if limits is None else {"thr": limits if np.ndim(limits) == 0 else limits[rows]}
    statistic = metric.function(*arrays, **more)
    if metric.name == "eff" and (why := _catastrophic(sample, rows)):
        return Prepared(metric, rows, None, thr, why)
    return Prepared(metric, rows, statistic, thr, note)


def _limits(sample: Sample, thr: Threshold | None) -> Any:
    """None, one number, or (n,) by true class: NaN for a class that has none.

    A finer class, as ``GALAXY AGN``, has the threshold of its first word unless it has its own.
    """
    if not isinstance(thr, Mapping):
        return thr
    first = {name: thr.get(name.partition(" ")[0], np.nan) for name in sample.names}
    by_class = np.array([*(thr.get(name, first[name]) for name in sample.names), np.nan])
    return by_class[sample.columns["label_true"]]


def _usable(sample: Sample, metric: Metric, limits: Any) -> tuple[NDArray[np.bool_], str]:
    """Rows with all that a metric needs, and one line on the others."""
    usable = np.ones(len(sample), bool)
    notes = []
    if limits is not None and np.ndim(limits):
        usable = np.isfinite(limits)
        others = _classes_of(sample, ~usable)
        if others:
            notes.append(f"without {others}: no threshold")
    for need in sorted(metric.needs, key=lambda need: need == metric.fails):
        known = _known(need, sample.columns[need])
        left = int((usable & ~known).sum())
        fails = need == metric.fails
        if left:
            notes.append(f"{left} rows without {need}{' count as failures' if fails else ''}")
        usable &= known | fails
    return usable, "; ".join(notes)


def _known(need: str, column: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows whose value means something."""
    known: NDArray[np.bool_]
    if need in LABELS:
        known = column >= 0
    elif need in ("sigma", "bound"):
        known = np.isfinite(column) & (column > 0)
    else:
        known = np.isfinite(column)
    return known


def _classes_of(sample: Sample, rows: NDArray[np.bool_]) -> str:
    """True classes of some rows with their numbers; ``no class`` are those without."""
    codes, counts = np.unique(sample.columns["label_true"][rows], return_counts=True)
    names = (*sample.names, "no class")
    return ", ".join(
        f"{names[code]} ({n})" for code, n in zip(codes.tolist(), counts.tolist(), strict=True)
    )


def _catastrophic(sample: Sample, rows: NDArray[np.intp]) -> str:
    """Why ``eff`` means nothing here, or nothing."""
    cat = BY_NAME["cat"]
    share = cat.function(sample.columns["z"][rows], sample.columns["z_true"][rows], cat.thr).value
    if share < MAX_CATASTROPHIC:
        return ""
    return f"{share:.1%} have |d| > {cat.thr}; it means nothing above {MAX_CATASTROPHIC:.0%}"


def finish(prepared: Prepared, sample: Sample, drawn: Draw, settings: Settings) -> Result:
    """Value and interval as plain numbers."""
    metric, thr = prepared.metric, prepared.thr
    objects = int(np.count_nonzero(np.bincount(sample.objects[prepared.rows])))
    lo, hi = _interval(prepared, objects, drawn, settings.bootstrap.level)
    note = prepared.note
    if metric.density is not None and prepared.statistic is not None:
        note = "; ".join(filter(None, (note, "p(z) is a Gaussian of Z and ZERR")))
    return Result(
        value=_plain(prepared.value),
        lo=_plain(lo),
        hi=_plain(hi),
        n=len(prepared.rows),
        thr=dict(thr) if isinstance(thr, Mapping) else thr,
        thr_unit=metric.thr_unit,
        unit=metric.unit,
        note=note,
        matrix=_matrix(sample, prepared) if metric.name == "confusion" else None,
    )


def _interval(prepared: Prepared, objects: int, drawn: Draw, level: float) -> tuple[float, float]:
    """Quantiles of the replicates; of a fraction that none or all have, the exact limit."""
    value = prepared.value
    if not np.isfinite(value) or objects < 2:
        return np.nan, np.nan
    if prepared.metric.fraction and value in (0.0, 1.0):
        reach = 1 - (1 - level) ** (1 / objects)  # Clopper and Pearson 1934, one side
        return (0.0, reach) if value == 0 else (1 - reach, 1.0)
    replicates = prepared.replicates(drawn)
    replicates = replicates[np.isfinite(replicates)]
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _matrix(sample: Sample, prepared: Prepared) -> dict[str, Any] | None:
    """Counts[true][found] of the classes of a sample, and the rows whose class was not found."""
    if prepared.statistic is None:
        return None
    size = len(sample.names)
    true = sample.columns["label_true"][prepared.rows]
    found = sample.columns["label"][prepared.rows]
    some = found >= 0
    counts = np.bincount(true[some] * size + found[some], minlength=size**2)
    none = np.bincount(true[~some], minlength=size)
    return {
        "classes": list(sample.names),
        "counts": counts.reshape(size, size).tolist(),
        "none": none.tolist(),
    }


def as_json(results: Mapping[str, Result]) -> dict[str, Any]:
    """Results as plain values; what is empty is left out, but value, lo, hi and n."""
    always = {"value", "lo", "hi", "n", "thr"}
    return {
        name: {k: v for k, v in asdict(result).items() if k in always or v not in ("", None)}
        for name, result in results.items()
    }
