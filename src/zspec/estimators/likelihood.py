"""``likelihood``: the exact fit of learned rest-frame bases at every redshift.

For every class the evidence is computed at all redshifts at once (:mod:`zspec.likelihood.scan`),
the deepest minima are fitted on native pixels (:mod:`zspec.likelihood.refine`), and all are weighed
by the mass of the posterior around them (:mod:`zspec.likelihood.posterior`). PROB is the share of a
class, over all redshifts. CHI2 is the fit's own, by the ivar of the file; DELTACHI2 is the
difference of -2 ln mass to the next candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.density import Densities, join
from zspec.errors import ConfigError
from zspec.estimator import NCANDIDATES, Candidates, Chunk, ClassSpec, Estimator, Prediction, Want
from zspec.likelihood import limits, scatter, stretch
from zspec.likelihood.basis import PIXEL_LN, STEP, Basis
from zspec.likelihood.bound import of_fits
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.confidence import features, median_snr, probability
from zspec.likelihood.conformal import intervals, reach
from zspec.likelihood.density import densities
from zspec.likelihood.pixels import Native, native
from zspec.likelihood.published import MODEL_ERROR, digest, read_folder
from zspec.likelihood.ranking import Ranked, rank
from zspec.likelihood.reasons import reasons
from zspec.likelihood.refine import redshift, z_sigma
from zspec.likelihood.solve import Solutions, solve
from zspec.survey import Arm

Array = NDArray[np.float64]

WIDTH_STEP = 0.5
"""Grid pixels to which an instrument's LSF is rounded, so that spectra share their tables."""


class Likelihood(Estimator):
    """Fits rest-frame bases at every redshift of every class."""

    name: ClassVar[str] = "likelihood"
    title: ClassVar[str] = "exact fit of learned rest-frame bases at every redshift"
    needs: ClassVar[frozenset[str]] = frozenset({"arms"})
    limitable: ClassVar[bool] = True
    offers: ClassVar[frozenset[Want]] = frozenset({"model", "zpdf", "bound", "interval"})

    def __init__(
        self,
        bases: Sequence[Basis],
        meta: Mapping[str, Any] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """``meta`` is what a checkpoint tells beyond its bases: recipe, seed, surveys, figures."""
        self.bases = tuple(bases)
        self.meta = dict(meta or {})
        self.calibration = calibration or Calibration()
        self.calibrated = bool(self.calibration.confidence)
        self._limited: dict[object, Likelihood] = {}
        self.classes = tuple(
            ClassSpec(b.name, b.spectype, b.subtype, b.z_range, b.good_dz) for b in self.bases
        )

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Class, redshift and uncertainty of every row; NaN in a row without a good pixel."""
        arms = chunk.spectra.arms
        out = _Out(len(chunk.spectra), self.classes, arms, want)
        for rows, pixels, found in self.solutions(arms, want):
            out.fill(rows, pixels, found, self.bases, self.calibration)
        said = out.prediction()
        return replace(said, interval=self._interval(said, arms)) if "interval" in want else said

    def _interval(self, said: Prediction, arms: Sequence[Arm]) -> tuple[Array, Array]:
        """Lowest and highest z (n,) that split-conformal prediction gives at ``level``."""
        row, best = np.arange(len(said.best)), said.best
        kinds = [self.bases[i].spectype for i in best]
        snr = median_snr(native(arms)).numpy()
        half = reach(self.calibration.conformal, self.level, kinds, snr)
        return intervals(said.z[row, best], said.sigma[row, best], half)

    def solutions(
        self, arms: Sequence[Arm], want: frozenset[Want] = frozenset()
    ) -> Iterator[tuple[NDArray[np.intp], Native, Solutions]]:
        """Rows, pixels and solutions of all spectra with data, those of one resolution at once."""
        pixels = native(arms)
        widths = resolution(arms)
        seen = pixels.ivar.numpy().any(1)
        for width in np.unique(widths[seen]):
            rows = np.flatnonzero(seen & (widths == width))
            part = pixels[torch.from_numpy(rows)]
            error = self.calibration.model_error
            with torch.inference_mode():
                found = solve(
                    part,
                    self.bases,
                    float(width),
                    error,
                    with_model=True,  # NEGATIVE_EMISSION looks at it
                    device=self.device,
                    keep_scans="zpdf" in want,
                )
            yield rows, part, found

    def calibrated_by(self, calibration: Calibration) -> Likelihood:
        """The same bases with another calibration."""
        made = Likelihood(self.bases, self.meta, calibration)
        made.device, made.level = self.device, self.level
        return made

    def limited(self, z_range: Mapping[str, tuple[float, float]]) -> Likelihood:
        """The same bases between limits by class or spectype; a class wins over its spectype.

        A limit beyond that of a basis changes nothing. Raises ConfigError for an unknown class, and
        where nothing is left of a class that is named.
        """
        key = tuple(sorted(z_range.items()))
        if key not in self._limited:
            made = Likelihood(limits.limited(self.bases, z_range), self.meta, self.calibration)
            made.device, made.sha256 = self.device, self.sha256
            self._limited[key] = made
        self._limited[key].level = self.level
        return self._limited[key]

    @classmethod
    def of_templates(cls, folder: Path, device: str = "cpu") -> Likelihood:
        """A fit of the templates of a folder, of any origin; nothing of it is calibrated.

        Raises InputError where they cannot be read.
        """
        made = cls(read_folder(folder), calibration=Calibration(model_error=MODEL_ERROR))
        made.device, made.sha256 = device, digest(folder)
        return made

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
        config = {
            "bases": [basis.header() for basis in self.bases],
            "calibration": self.calibration.stored(),
        }
        meta = {**self.meta, "estimator": self.name, "config": config}
        meta["classes"] = [basis.name for basis in self.bases]
        checkpoint.save(path, tensors, meta)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Likelihood:
        """Read what ``save`` wrote; it will compute on ``device``.

        Raises ConfigError for another's file, and for a device without float64.
        """
        if device.startswith("mps"):
            raise ConfigError(f"device {device!r} has no float64, which likelihood needs; try cpu")
        tensors, meta = checkpoint.load(path)
        if meta.get("estimator") != cls.name:
            raise ConfigError(f"{path}: holds estimator {meta.get('estimator')!r}, not {cls.name}")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            bases = [Basis.restore(header, arrays) for header in meta["config"]["bases"]]
            calibration = Calibration.restore(meta["config"].get("calibration", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: its bases are incomplete ({error})") from None
        own = {"estimator", "config", "classes", "format", "zspec"}
        made = cls(bases, {k: v for k, v in meta.items() if k not in own}, calibration)
        made.device = device
        return made


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


def _widened(found: Solutions, bases: Sequence[Basis], calibration: Calibration) -> torch.Tensor:
    """(n, T) sigma of shifts, as calibration has it.

    The fit's, with the factor of its spectype and evidence, and the scatter at its redshift.
    """
    z, evidence = redshift(found.shift).numpy(), found.evidence.numpy()
    wide, factor = np.zeros_like(z), np.ones_like(z)
    for kind in {basis.spectype for basis in bases}:
        mine = np.array([bases[label].spectype == kind for label in found.label.tolist()])
        wide[:, mine] = scatter.at(calibration.scatter, kind, z[:, mine]) / PIXEL_LN
        factor[:, mine] = stretch.at(calibration.stretch, kind, evidence[:, mine])
    return torch.hypot(found.sigma * torch.from_numpy(factor), torch.from_numpy(wide))


class _Out:
    """The arrays of a prediction, empty at first, filled group by group."""

    def __init__(
        self,
        n: int,
        classes: tuple[ClassSpec, ...],
        arms: Sequence[Arm],
        want: frozenset[Want],
    ) -> None:
        """``n`` rows without data."""
        wide, long = (n, len(classes)), (n, NCANDIDATES)
        self.classes, self.arms = classes, arms
        self.prob = np.full(wide, np.nan, np.float32)
        self.z, self.sigma = np.full(wide, np.nan), np.full(wide, np.nan)
        self.best = np.zeros(n, np.int16)
        self.chi2, self.delta = np.full(n, np.nan), np.full(n, np.nan)
        self.zwarn = np.zeros(n, np.int64)
        self.zconf = np.full(n, np.nan, np.float32)
        self.candidates = Candidates(
            label=np.full(long, -1, np.int16),
            z=np.full(long, np.nan),
            sigma=np.full(long, np.nan),
            prob=np.full(long, np.nan, np.float32),
            chi2=np.full(long, np.nan),
        )
        size = sum(len(arm.wave) for arm in arms)
        self.model = np.zeros((n, size), np.float32) if "model" in want else None
        self.bound = np.full(n, np.nan) if "bound" in want else None
        self.parts: list[tuple[NDArray[np.intp], Densities]] | None = None
        if "zpdf" in want:
            self.parts = []

    def fill(
        self,
        rows: NDArray[np.intp],
        pixels: Native,
        found: Solutions,
        bases: Sequence[Basis],
        calibration: Calibration,
    ) -> None:
        """Put the solutions of some rows in their places."""
        ranked = rank(found, bases, calibration.temper)
        own, found.sigma = found.sigma, _widened(found, bases, calibration)
        self.best[rows] = found.label[ranked.column[:, 0]].numpy()
        self.chi2[rows] = ranked.of(found.chi2).numpy()
        self.delta[rows] = ranked.delta.numpy()
        self._fill_classes(rows, found)
        self.prob[rows] = ranked.classes.numpy()
        self._fill_candidates(rows, found, ranked)
        self.zwarn[rows] = reasons(pixels, found, ranked, bases, calibration)
        if calibration.confidence:
            table = features(pixels, found, ranked, bases)
            self.zconf[rows] = probability(table, np.array(calibration.confidence))
        if self.model is not None and found.model is not None:
            self.model[rows] = found.model.numpy()
        if self.bound is not None:
            width = float(resolution(self.arms)[rows[0]])
            self.bound[rows] = of_fits(pixels, found, ranked, bases, width)
        if self.parts is not None:
            self.parts.append((rows, densities(found, bases, calibration.temper, own)))

    def _fill_classes(self, rows: NDArray[np.intp], found: Solutions) -> None:
        """Best redshift of every class."""
        for number in range(len(self.classes)):
            mine = torch.where(found.label == number, found.value, torch.inf)
            at = mine.argmin(1, keepdim=True)
            shift, sigma = found.shift.gather(1, at)[:, 0], found.sigma.gather(1, at)[:, 0]
            self.z[rows, number] = redshift(shift).numpy()
            self.sigma[rows, number] = z_sigma(shift, sigma).numpy()

    def _fill_candidates(self, rows: NDArray[np.intp], found: Solutions, ranked: Ranked) -> None:
        """The ranked list; slots beyond the last candidate stay empty."""
        there = ranked.value.isfinite().numpy()
        shift = found.shift.gather(1, ranked.column)
        sigma = z_sigma(shift, found.sigma.gather(1, ranked.column))
        out = self.candidates
        out.label[rows] = np.where(there, found.label[ranked.column].numpy(), -1)
        out.z[rows] = np.where(there, redshift(shift).numpy(), np.nan)
        out.sigma[rows] = np.where(there, sigma.numpy(), np.nan)
        out.prob[rows] = np.where(there, ranked.share.numpy(), np.nan)
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
            zconf=self.zconf,
            model=model,
            bound=self.bound,
            zpdf=None if self.parts is None else join(self.parts),
        )
