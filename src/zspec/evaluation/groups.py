"""Groups of rows: by class, SNR, redshift or any column, alone or crossed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.evaluation.sample import Sample

SNR_EDGES = (0, 1, 2, 5, 10, 20, 50)
Z_EDGES = (0, 0.2, 0.5, 1, 1.5, 2, 3, 5)
"""The same for all samples, so that tables can be compared."""
QUANTILES = 5
"""Bins of any other column of numbers, with equal numbers of rows."""
FEW = 6
"""Whole numbers with at most so many values are taken as they are."""
MOST = 40
"""Most different values of a column that groups are made of."""


@dataclass(frozen=True)
class Group:
    """Some rows and what they have in common."""

    label: Mapping[str, str]
    """Column to its value or range."""
    rows: NDArray[np.intp]
    edges: Mapping[str, tuple[float, float]]
    """Column to the range [low, high) of its bin, where it has one."""


@dataclass(frozen=True)
class Grouping:
    """The groups of one ``--by``, empty ones included."""

    by: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    """Rows that are in no group, and why."""


@dataclass(frozen=True)
class Axis:
    """One column, cut into pieces."""

    name: str
    code: NDArray[np.intp]
    """(n,) which piece, -1 for none."""
    labels: tuple[str, ...]
    edges: tuple[tuple[float, float], ...] = ()


def group(sample: Sample, by: Sequence[str], bins: Mapping[str, Sequence[float]]) -> Grouping:
    """All combinations of the pieces of some columns; ``bins``: edges that the user gives.

    ``class``, ``snr``, ``z`` (the true one), ``mag`` and ``robust`` are what the sample has under
    that name, any other name is a column of the catalogue. Raises ConfigError.
    """
    axes = [_axis(sample, name, bins.get(name)) for name in by]
    groups = []
    for piece in itertools.product(*(range(len(axis.labels)) for axis in axes)):
        inside = np.all([a.code == p for a, p in zip(axes, piece, strict=True)], axis=0)
        label = {a.name: a.labels[p] for a, p in zip(axes, piece, strict=True)}
        edges = {a.name: a.edges[p] for a, p in zip(axes, piece, strict=True) if a.edges}
        groups.append(Group(label, np.flatnonzero(inside), edges))
    notes = []
    for axis in axes:
        outside = int((axis.code < 0).sum())
        if outside:
            why = "outside of all bins or unknown" if axis.edges else "unknown"
            notes.append(f"{axis.name}: {outside} rows are in no group ({why})")
    return Grouping(tuple(by), tuple(groups), tuple(notes))


def parse_bins(texts: Sequence[str]) -> dict[str, list[float]]:
    """``snr=0,5,20``, or ``snr=0:50:14`` for 14 equal bins, as edges by column.

    Raises ConfigError.
    """
    bins = {}
    for text in texts:
        name, _, edges = text.partition("=")
        try:
            bins[name.strip()] = _edges(edges)
        except ValueError:
            expected = "expected COLUMN=EDGE,EDGE,... or COLUMN=LOW:HIGH:NUMBER"
            raise ConfigError(f"--bins {text}: {expected}") from None
        if len(bins[name.strip()]) < 2 or np.any(np.diff(bins[name.strip()]) <= 0):
            raise ConfigError(f"--bins {text}: two or more edges that increase are needed")
    return bins


def _edges(text: str) -> list[float]:
    """Edges from ``0,5,20`` or ``0:50:14``. Raises ValueError."""
    if ":" not in text:
        return [float(edge) for edge in text.split(",")]
    low, high, number = text.split(":")
    edges: list[float] = np.linspace(float(low), float(high), int(number) + 1).tolist()
    return edges


def _axis(sample: Sample, name: str, edges: Sequence[float] | None) -> Axis:
    if name in OWN:
        role, why = OWN[name]
        found = next((r for r in role if r in sample.columns), None)
        if found is None:
            raise ConfigError(f"--by {name}: {why}")
        make = MAKERS.get(name, _by_value)
        return make(name, sample.columns[found], edges, sample.names)
    return _by_value(name, sample.other(name), edges, ())


Maker = Callable[[str, NDArray[Any], Sequence[float] | None, tuple[str, ...]], Axis]

OWN = {
    "class": (("label_true", "label"), "no class; name its column with --class-true"),
    "snr": (("snr",), "no SNR; name its column with --snr"),
    "z": (("z_true",), "no true redshift; name its column with --ztrue"),
    "mag": (("mag",), "no magnitude; name its column with --mag"),
    "robust": (("robust",), "give a limit with --robust"),
}
"""What is meant by these names: roles of a sample, and what to do where it has none."""


def _by_class(name: str, code: NDArray[Any], _: object, names: tuple[str, ...]) -> Axis:
    used = [i for i in range(len(names)) if (code == i).any()]
    number = np.full(len(names) + 1, -1)
    number[used] = np.arange(len(used))
    return Axis(name, number[code], tuple(names[i] for i in used))


def _by_robust(name: str, code: NDArray[Any], _: object, __: object) -> Axis:
    return Axis(name, code, ("unstable", "robust"))


def _by_snr(name: str, values: NDArray[Any], edges: Sequence[float] | None, _: object) -> Axis:
    return _cut(name, values, edges or (*SNR_EDGES, np.inf))


def _by_z(name: str, values: NDArray[Any], edges: Sequence[float] | None, _: object) -> Axis:
    return _cut(name, values, edges or (-np.inf, *Z_EDGES, np.inf))


def _by_value(name: str, values: NDArray[Any], edges: Sequence[float] | None, _: object) -> Axis:
    """Text by its values; numbers in the given bins, else in bins with equal numbers of rows."""
    if values.dtype.kind in "SUb":
        return _by_text(name, values)
    if edges is not None:
        return _cut(name, values, edges)
    known = values[np.isfinite(values)]
    if values.dtype.kind in "iu" and len(np.unique(known)) <= FEW:
        return _by_text(name, values)
    if not len(known):
        return _cut(name, values, (-np.inf, np.inf))
    cuts: list[float] = np.unique(np.quantile(known, np.linspace(0, 1, QUANTILES + 1))).tolist()
    return _cut(name, values, [*cuts[:-1], np.inf] if len(cuts) > 1 else (-np.inf, np.inf))


MAKERS: Mapping[str, Maker] = {
    "class": _by_class,
    "robust": _by_robust,
    "snr": _by_snr,
    "z": _by_z,
}


def _by_text(name: str, values: NDArray[Any]) -> Axis:
    found, code = np.unique(values, return_inverse=True)
    if len(found) > MOST:
        raise ConfigError(f"--by {name}: has {len(found)} different values; at most {MOST}")
    texts = [
        v.decode("ascii", "replace") if isinstance(v, bytes) else str(v) for v in found.tolist()
    ]
    return Axis(name, code, tuple(text or "(empty)" for text in texts))


def _cut(name: str, values: NDArray[Any], edges: Sequence[float]) -> Axis:
    """Bins [low, high); what is outside of all or NaN has code -1."""
    code = np.digitize(values, edges) - 1
    code[(code >= len(edges) - 1) | ~np.isfinite(values)] = -1
    pairs = tuple((float(a), float(b)) for a, b in itertools.pairwise(edges))
    return Axis(name, code.astype(np.intp), tuple(_range(*pair) for pair in pairs), pairs)


def _range(low: float, high: float) -> str:
    """A bin as one would say it."""
    if np.isinf(low) and np.isinf(high):
        return "all"
    if np.isinf(low):
        return f"< {high:.4g}"
    return f">= {low:.4g}" if np.isinf(high) else f"{low:.4g} to {high:.4g}"
