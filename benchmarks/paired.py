"""`likelihood` and redrock on the same spectra: figures of both, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ladder import DRAWS, RIGHT
from numpy.typing import NDArray

from zspec.likelihood.basis import LIGHT

GF = {"GALAXY": 0.0015, "QSO": 0.015, "STAR": 0.0015}
"""|ln(1+z)/(1+z_label)| of a good redshift, by the label's class."""
SPREAD = {"GALAXY": 1000, "QSO": 3000, "STAR": 1000}
"""km/s: only redshifts closer to the label than this count for NMAD."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """What one code says of n spectra."""

    spectype: NDArray[np.str_]
    z: NDArray[np.float64]
    zwarn: NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """What their labels say: (n,) each."""

    spectype: NDArray[np.str_]
    z: NDArray[np.float64]
    key: NDArray[np.str_]
    """The object."""
    sky: Bools

    def bias(self, given: Answers) -> NDArray[np.float64]:
        """|ln((1+z)/(1+z_label))|, NaN without label."""
        return np.asarray(np.abs(np.log1p(given.z) - np.log1p(self.z)))

    def right(self, given: Answers) -> Bools:
        """Whether the redshift is within the limit of the label's class."""
        limit = np.array([RIGHT.get(kind, 0) for kind in self.spectype])
        return np.asarray(self.bias(given) * LIGHT < limit)


Figure = Callable[[Labels, Answers, NDArray[np.intp]], float]


def _share(top: Callable[[Labels, Answers], Bools], of: Callable[[Labels, Answers], Bools]) -> Any:
    """A figure: the share of rows of one kind among those of another."""

    def figure(labels: Labels, given: Answers, rows: NDArray[np.intp]) -> float:
        below = of(labels, given)[rows]
        return float((top(labels, given)[rows] & below).sum() / max(below.sum(), 1))

    return figure


def _nmad(kind: str) -> Figure:
    """1.48 MAD of (z - z_label)/(1 + z_label) of right rows of a class."""

    def figure(labels: Labels, given: Answers, rows: NDArray[np.intp]) -> float:
        with np.errstate(invalid="ignore"):
            off = (given.z - labels.z) / (1 + labels.z)
        near = (labels.spectype == kind) & (labels.bias(given) * LIGHT < SPREAD[kind])
        mine = off[rows][near[rows]]
        return float(1.48 * np.median(np.abs(mine - np.median(mine))))

    return figure


def _kind(kind: str) -> Callable[[Labels, Answers], Bools]:
    return lambda labels, given: np.asarray((labels.spectype == kind) & ~labels.sky)


def _labelled(labels: Labels, given: Answers) -> Bools:
    return np.asarray(~labels.sky)


def _clear(labels: Labels, given: Answers) -> Bools:
    return np.asarray((given.zwarn == 0) & ~labels.sky)


def _good(labels: Labels, given: Answers) -> Bools:
    limit = np.array([GF.get(kind, 0) for kind in labels.spectype])
    return np.asarray(labels.bias(given) < limit)


def _same(labels: Labels, given: Answers) -> Bools:
    return np.asarray(labels.spectype == given.spectype)


FIGURES: Mapping[str, Figure] = {
    "class": _share(_same, _labelled),
    **{f"class {kind}": _share(_same, _kind(kind)) for kind in GF},
    **{f"GF({GF[kind]}) {kind}": _share(_good, _kind(kind)) for kind in GF},
    "right": _share(lambda a, b: a.right(b), _labelled),
    **{f"NMAD {kind}": _nmad(kind) for kind in GF},
    "ZWARN 0": _share(_clear, _labelled),
    "right of ZWARN 0": _share(lambda a, b: a.right(b), _clear),
    "sky fibres with ZWARN 0": _share(lambda a, b: b.zwarn == 0, lambda a, b: a.sky),
}


def table(labels: Labels, ours: Answers, theirs: Answers, version: str) -> list[str]:
    """Markdown lines: each figure of both, and the difference with its 95 % interval.

    Intervals by bootstrap over objects, both codes on the same draws.
    """
    _, code = np.unique(labels.key, return_inverse=True)
    members = [np.flatnonzero(code == number) for number in range(code.max() + 1)]
    rng = np.random.default_rng(1)
    draws = [
        np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        for _ in range(DRAWS)
    ]
    every = np.arange(len(code))
    out = [f"| figure | likelihood | redrock {version} | difference (95 %) |", "|---|---|---|---|"]
    for name, figure in FIGURES.items():
        a, b = figure(labels, ours, every), figure(labels, theirs, every)
        apart = [figure(labels, ours, rows) - figure(labels, theirs, rows) for rows in draws]
        low, high = np.percentile(apart, [2.5, 97.5])
        style = ".1e" if name.startswith("NMAD") else ".3f"
        cells = [format(a, style), format(b, style)]
        cells.append(f"{a - b:+{style}} ({low:+{style}} to {high:+{style}})")
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return out


class Row(Protocol):
    """What one spectrum's line of the manifest and its fit say."""

    @property
    def line(self) -> Mapping[str, str]:
        """Of the manifest."""

    @property
    def kind(self) -> str:
        """Spectype."""

    @property
    def z(self) -> float:
        """Redshift."""

    @property
    def zwarn(self) -> int:
        """Bits."""


def labelled(rows: Sequence[Row]) -> Labels:
    """The labels of rows; those of sky fibres mean nothing."""
    sky = np.array([row.line["is_sky"] == "1" for row in rows])
    return Labels(
        np.where(sky, "", np.array([row.line["class"] for row in rows])),
        np.array([float(row.line["z"] or "nan") for row in rows]),
        np.array([row.line["object"] for row in rows]),
        sky,
    )


def found(rows: Sequence[Row]) -> Answers:
    """The answers of zspec."""
    return Answers(
        np.array([row.kind for row in rows]),
        np.array([row.z for row in rows]),
        np.array([row.zwarn for row in rows]),
    )


def answers(rows: Sequence[Mapping[str, str]]) -> Answers:
    """redrock's, of lines of the table that `redrock_sdss.py` writes."""
    return Answers(
        np.array([row["spectype"] for row in rows]),
        np.array([float(row["z"]) for row in rows]),
        np.array([int(row["zwarn"]) for row in rows]),
    )
