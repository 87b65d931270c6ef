"""``likelihood``: the exact fit of learned rest-frame bases at every redshift.

For every class the evidence is computed at all redshifts at once (:mod:`zspec.likelihood.scan`),
the deepest minima are fitted on native pixels (:mod:`zspec.likelihood.refine`), and all are weighed
by the mass of the posterior around them (:mod:`zspec.likelihood.posterior`). PROB is the share of a
class, over all redshifts. CHI2 is the fit's own, by the ivar of the file; DELTACHI2 is the
difference of -2 ln mass to the next candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.estimator import Chunk, ClassSpec, Estimator, Prediction, Want
from zspec.likelihood import limits
from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.confidence import median_snr
from zspec.likelihood.conformal import intervals, reach
from zspec.likelihood.output import Output, judge
from zspec.likelihood.pixels import Native, native
from zspec.likelihood.published import MODEL_ERROR, digest, read_folder, versions
from zspec.likelihood.ranking import leading
from zspec.likelihood.solve import Guide, Solutions, scanned, solve
from zspec.survey import Arm

Array = NDArray[np.float64]

WIDTH_STEP = 0.5
"""Grid pixels to which an instrument's LSF is rounded, so that spectra share their tables."""
WIDTH_RATIO = 1.1
"""Ratio of neighbours among widths that lie farther apart than WIDTH_STEP. Of a slitless spectrum,
whose LSF is its object's size, one width stands for a range of 1.6 along the wavelengths."""


class Likelihood(Estimator):
    """Fits rest-frame bases at every redshift of every class."""

    name: ClassVar[str] = "likelihood"
    title: ClassVar[str] = "exact fit of learned rest-frame bases at every redshift"
    needs: ClassVar[frozenset[str]] = frozenset({"arms"})
    stage: ClassVar[str] = "likelihood"
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
        n = len(chunk.spectra)
        out = Output(n, self.classes, arms, want)
        widths = resolution(arms) if "bound" in want else np.zeros(n)  # nothing else asks for them
        for rows, pixels, found in self.solutions(arms, want):
            judged = judge(pixels, found, self.bases, self.calibration)
            out.fill(rows, judged, self.bases, float(widths[rows[0]]))
        said = out.prediction()
        return replace(said, interval=self.interval(said, arms)) if "interval" in want else said

    def interval(self, said: Prediction, arms: Sequence[Arm]) -> tuple[Array, Array]:
        """Lowest and highest z (n,) that split-conformal prediction gives at ``level``."""
        row, best = np.arange(len(said.best)), said.best
        kinds = [self.bases[i].spectype for i in best]
        snr = median_snr(native(arms)).numpy()
        half = reach(self.calibration.conformal, self.level, kinds, snr)
        return intervals(said.z[row, best], said.sigma[row, best], half)

    def solutions(
        self,
        arms: Sequence[Arm],
        want: frozenset[Want] = frozenset(),
        guiding: Callable[[NDArray[np.intp]], Guide | None] = lambda rows: None,
    ) -> Iterator[tuple[NDArray[np.intp], Native, Solutions]]:
        """Rows, pixels and solutions of all spectra with data, those of one resolution at once.

        ``guiding`` gives the guide of some rows; None: their pixels alone.
        """
        pixels = native(arms)
        widths = resolution(arms)
        seen = pixels.ivar.numpy().any(1)
        temper = self.calibration.temper
        alone = Guide(scanned, lambda found: leading(found, self.bases, temper))
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
                    guide=guiding(rows) or alone,
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
        made.device, made.sha256, made.parts = device, digest(folder), versions(folder)
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
        tensors, meta = checkpoint.load_own(path, cls.name)
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
    n = len(arms[0].flux)
    widths = [
        np.asarray(arm.resolution, np.float64) / (arm.wave * math.log(10) * STEP)
        for arm in arms
        if arm.resolution is not None
    ]
    if not widths:
        return np.zeros(n)
    if any(width.ndim > 1 for width in widths):  # else all rows have one LSF
        widths = [np.broadcast_to(width, (n, width.shape[-1])) for width in widths]
    every = np.concatenate(widths, axis=-1)
    middle = np.nanmedian if np.isnan(every).any() else np.median  # which takes a fifth of the time
    return rounded(np.broadcast_to(np.nan_to_num(middle(every, axis=-1)), n))


def rounded(widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Widths in grid pixels to the nearest that are WIDTH_STEP or WIDTH_RATIO apart."""
    wide = WIDTH_STEP / math.log(WIDTH_RATIO)  # from where on a ratio is the longer step
    number = np.log(np.maximum(widths, wide) / wide) / math.log(WIDTH_RATIO)
    far = wide * WIDTH_RATIO ** np.round(number)
    return np.asarray(np.where(widths < wide, np.round(widths / WIDTH_STEP) * WIDTH_STEP, far))
