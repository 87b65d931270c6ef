"""``likelihood``: the exact fit of learned rest-frame bases at every redshift.

For every class chi2 is computed at all redshifts at once (:mod:`zspec.likelihood.scan`), the
deepest minima are fitted on native pixels (:mod:`zspec.likelihood.refine`), and all are compared by
their penalised chi2: the fit's own, the weak prior on the mixture of vectors, and the rarity of
quasars at high redshift. PROB is exp(-chi2 / 2), normalised over the classes: it is not calibrated
yet. CHI2 is the fit's own; DELTACHI2 is the difference of the penalised ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.estimator import NCANDIDATES, Candidates, Chunk, ClassSpec, Estimator, Prediction, Want
from zspec.flags import ZWarn, where
from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.pixels import native
from zspec.likelihood.refine import redshift, z_sigma
from zspec.likelihood.solve import Solutions, solve
from zspec.survey import Arm

SMALL_DELTA = 9.0
"""SMALL_DELTA_CHI2 below it (redrock)."""
MANY = 0.05
"""MANY_OUTLIERS above this share of the good pixels (redrock declares it, SDSS sets it)."""
SHARE = 0.1
"""MULTIMODAL, CLASS_AMBIGUOUS: another redshift, another spectype holds more than this."""
EDGE = 1.0
"""Z_FITLIMIT: the best redshift lies within so many grid pixels of the end of its range."""
WIDTH_STEP = 0.5
"""Grid pixels to which an instrument's LSF is rounded, so that spectra share their tables."""


@dataclass(frozen=True)
class Ranked:
    """Candidates that are another redshift or spectype each, (n, NCANDIDATES), best first."""

    column: torch.Tensor
    """Where they stand among the solutions."""
    value: torch.Tensor
    """Penalised chi2; inf beyond the last."""


class Likelihood(Estimator):
    """Fits rest-frame bases at every redshift of every class."""

    name: ClassVar[str] = "likelihood"
    title: ClassVar[str] = "exact fit of learned rest-frame bases at every redshift"
    needs: ClassVar[frozenset[str]] = frozenset({"arms"})

    def __init__(self, bases: Sequence[Basis], meta: Mapping[str, Any] | None = None) -> None:
        """``meta`` is what a checkpoint tells beyond its bases: recipe, seed, surveys, figures."""
        self.bases = tuple(bases)
        self.meta = dict(meta or {})
        self.classes = tuple(
            ClassSpec(b.name, b.spectype, b.subtype, b.z_range, b.good_dz) for b in self.bases
        )

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Class, redshift and uncertainty of every row; NaN in a row without a good pixel."""
        arms = chunk.spectra.arms
        out = _Out(len(chunk.spectra), self.classes, arms, "model" in want)
        pixels = native(arms)
        widths = resolution(arms)
        seen = pixels.ivar.numpy().any(1)
        for width in np.unique(widths[seen]):
            rows = np.flatnonzero(seen & (widths == width))
            part = pixels[torch.from_numpy(rows)]
            out.fill(rows, solve(part, self.bases, float(width), "model" in want), self.bases)
        return out.prediction()

    @classmethod
    def train(cls, recipe: Mapping[str, Any], data: Path, output: Path) -> None:
        """Learn the bases of a recipe: :func:`zspec.likelihood.train.train`."""
        from zspec.likelihood.train import train

        train(recipe, data, output)

    def save(self, path: Path) -> None:
        """Write one safetensors file: the bases' arrays, and the rest as JSON text."""
        tensors = {
            name: torch.from_numpy(array)
            for basis in self.bases
            for name, array in basis.tensors().items()
        }
        config = {"bases": [basis.header() for basis in self.bases]}
        meta = {**self.meta, "estimator": self.name, "config": config}
        meta["classes"] = [basis.name for basis in self.bases]
        checkpoint.save(path, tensors, meta)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Likelihood:
        """Read what ``save`` wrote; computes on the CPU whatever the device.

        Raises ConfigError for another's file.
        """
        tensors, meta = checkpoint.load(path)
        if meta.get("estimator") != cls.name:
            raise ConfigError(f"{path}: holds estimator {meta.get('estimator')!r}, not {cls.name}")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            bases = [Basis.restore(header, arrays) for header in meta["config"]["bases"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: its bases are incomplete ({error})") from None
        own = {"estimator", "config", "classes", "format", "zspec"}
        return cls(bases, {key: value for key, value in meta.items() if key not in own})


def resolution(arms: Sequence[Arm]) -> NDArray[np.float64]:
    """(n,) median sigma of the LSF in grid pixels, rounded; 0 where the files give none."""
    widths = []
    for arm in arms:
        if arm.resolution is not None:
            sigma = np.broadcast_to(arm.resolution, arm.flux.shape).astype(np.float64)
            widths.append(sigma / (arm.wave * math.log(10) * STEP))
    if not widths:
        return np.zeros(len(arms[0].flux))
    median = np.nan_to_num(np.nanmedian(np.concatenate(widths, axis=1), axis=1))
    return np.asarray(np.round(median / WIDTH_STEP) * WIDTH_STEP)


def rank(found: Solutions, bases: Sequence[Basis]) -> Ranked:
    """Fitted solutions in order, without those that repeat a better one of the same spectype.

    Two redshifts are one within 1000 km/s, and within 100 km/s for stars. The loop runs over ranks.
    """
    spectypes = sorted({basis.spectype for basis in bases})
    kind = torch.tensor([spectypes.index(bases[i].spectype) for i in found.label.tolist()])
    apart = torch.tensor([bases[i].separation for i in found.label.tolist()], dtype=torch.float64)
    left = torch.where(found.fitted, found.value, torch.inf)
    columns, values = [], []
    for _ in range(NCANDIDATES):
        value, at = left.min(1)
        columns.append(at)
        values.append(value)
        near = (found.shift - found.shift.gather(1, at[:, None])).abs() <= apart
        same = near & (kind == kind[at][:, None])
        same.scatter_(1, at[:, None], True)
        left = torch.where(same, torch.inf, left)
    return Ranked(torch.stack(columns, 1), torch.stack(values, 1))


class _Out:
    """The arrays of a prediction, empty at first, filled group by group."""

    def __init__(
        self, n: int, classes: tuple[ClassSpec, ...], arms: Sequence[Arm], model: bool
    ) -> None:
        """``n`` rows without data."""
        wide, long = (n, len(classes)), (n, NCANDIDATES)
        self.classes, self.arms = classes, arms
        self.prob = np.full(wide, np.nan, np.float32)
        self.z, self.sigma = np.full(wide, np.nan), np.full(wide, np.nan)
        self.best = np.zeros(n, np.int16)
        self.chi2, self.delta = np.full(n, np.nan), np.full(n, np.nan)
        self.zwarn = np.zeros(n, np.int64)
        self.candidates = Candidates(
            label=np.full(long, -1, np.int16),
            z=np.full(long, np.nan),
            sigma=np.full(long, np.nan),
            prob=np.full(long, np.nan, np.float32),
            chi2=np.full(long, np.nan),
        )
        size = sum(len(arm.wave) for arm in arms)
        self.model = np.zeros((n, size), np.float32) if model else None

    def fill(self, rows: NDArray[np.intp], found: Solutions, bases: Sequence[Basis]) -> None:
        """Put the solutions of some rows in their places."""
        ranked = rank(found, bases)
        first = ranked.column[:, 0]
        self.best[rows] = found.label[first].numpy()
        self.chi2[rows] = found.chi2.gather(1, first[:, None])[:, 0].numpy()
        self.delta[rows] = (ranked.value[:, 1] - ranked.value[:, 0]).numpy()
        self._fill_classes(rows, found)
        self._fill_candidates(rows, found, ranked)
        self.zwarn[rows] = _flags(found, ranked, bases)
        if self.model is not None and found.model is not None:
            self.model[rows] = found.model.numpy()

    def _fill_classes(self, rows: NDArray[np.intp], found: Solutions) -> None:
        """Best redshift and probability of every class."""
        values = []
        for number in range(len(self.classes)):
            mine = torch.where(found.label == number, found.value, torch.inf)
            value, at = mine.min(1)
            shift = found.shift.gather(1, at[:, None])[:, 0]
            sigma = found.sigma.gather(1, at[:, None])[:, 0]
            self.z[rows, number] = redshift(shift).numpy()
            self.sigma[rows, number] = z_sigma(shift, sigma).numpy()
            values.append(value)
        self.prob[rows] = torch.softmax(-torch.stack(values, 1) / 2, dim=1).numpy()

    def _fill_candidates(self, rows: NDArray[np.intp], found: Solutions, ranked: Ranked) -> None:
        """The ranked list; slots beyond the last candidate stay empty."""
        there = ranked.value.isfinite().numpy()
        shift = found.shift.gather(1, ranked.column)
        sigma = z_sigma(shift, found.sigma.gather(1, ranked.column))
        out = self.candidates
        out.label[rows] = np.where(there, found.label[ranked.column].numpy(), -1)
        out.z[rows] = np.where(there, redshift(shift).numpy(), np.nan)
        out.sigma[rows] = np.where(there, sigma.numpy(), np.nan)
        share = torch.softmax(-ranked.value / 2, dim=1).numpy()
        out.prob[rows] = np.where(there, share, np.nan)
        chi2 = found.chi2.gather(1, ranked.column).numpy()
        out.chi2[rows] = np.where(there, chi2, np.nan)

    def prediction(self) -> Prediction:
        """What was filled in, as the frame wants it."""
        model = None
        if self.model is not None:
            ends = np.cumsum([len(arm.wave) for arm in self.arms])[:-1]
            model = tuple(np.split(self.model, ends, axis=1))
        return Prediction(
            classes=self.classes,
            prob=self.prob,
            z=self.z,
            sigma=self.sigma,
            best=self.best,
            candidates=self.candidates,
            chi2=self.chi2,
            deltachi2=self.delta,
            zwarn=self.zwarn,
            model=model,
        )


def _flags(found: Solutions, ranked: Ranked, bases: Sequence[Basis]) -> NDArray[np.int64]:
    """(n,) the ZWARN bits that the fit can know, each by its constant above."""
    at = ranked.column[:, :1]

    def of(values: torch.Tensor) -> NDArray[Any]:
        return np.asarray(values.gather(1, at)[:, 0].numpy())

    label = found.label[at[:, 0]].numpy()
    low, high = np.array([basis.shifts for basis in bases], np.float64)[label].T
    shift = of(found.shift)
    share = torch.softmax(-ranked.value / 2, dim=1)
    kinds = [basis.spectype for basis in bases]
    kind = np.array([sorted(set(kinds)).index(k) for k in kinds])
    other = kind[found.label[ranked.column].numpy()] != kind[label][:, None]
    delta = (ranked.value[:, 1] - ranked.value[:, 0]).numpy()
    return (
        where(delta < SMALL_DELTA, ZWarn.SMALL_DELTA_CHI2)
        | where((shift < low + EDGE) | (shift > high - EDGE), ZWarn.Z_FITLIMIT)
        | where(~of(found.settled), ZWarn.BAD_MINFIT)
        | where(of(found.outliers) > MANY, ZWarn.MANY_OUTLIERS)
        | where(of(found.light) <= 0, ZWarn.NEGATIVE_MODEL)
        | where((share[:, 1:] > SHARE).any(1).numpy(), ZWarn.MULTIMODAL)
        | where((share.numpy() * other).sum(1) > SHARE, ZWarn.CLASS_AMBIGUOUS)
    )
