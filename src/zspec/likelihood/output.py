"""What the fit says of spectra, judged by a calibration, in the arrays of a prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.density import Densities, join
from zspec.estimator import NCANDIDATES, Candidates, ClassSpec, Prediction, Want
from zspec.likelihood import scatter, stretch
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.bound import of_fits
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.confidence import features, probability
from zspec.likelihood.density import densities
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked, rank
from zspec.likelihood.reasons import reasons
from zspec.likelihood.refine import redshift, z_sigma
from zspec.likelihood.solve import Solutions
from zspec.likelihood.wings import Wing
from zspec.survey import Arm


@dataclass(frozen=True)
class Judged:
    """Solutions of n spectra of one resolution, and what follows from them."""

    pixels: Native
    found: Solutions
    """With the sigma that calibration gives."""
    sigma: torch.Tensor
    """(n, T) the fit's own, grid pixels."""
    ranked: Ranked
    temper: float
    """Power of the masses of ``found`` that shares are of."""
    zwarn: NDArray[np.int64]
    zconf: NDArray[np.float64] | None
    """None where it is not known."""
    wings: Mapping[str, Wing]
    """As in a calibration."""


def judge(
    pixels: Native, found: Solutions, bases: Sequence[Basis], calibration: Calibration
) -> Judged:
    """What a calibration makes of the likelihood's solutions."""
    ranked = rank(found, bases, calibration.temper)
    zconf = None
    if calibration.confidence:
        table = features(pixels, found, ranked, bases)
        zconf = probability(table, np.array(calibration.confidence))
    return Judged(
        pixels=pixels,
        found=dataclasses.replace(found, sigma=widened(found, bases, calibration)),
        sigma=found.sigma,
        ranked=ranked,
        temper=calibration.temper,
        zwarn=reasons(pixels, found, ranked, bases, calibration),
        zconf=zconf,
        wings=calibration.wings,
    )


def widened(found: Solutions, bases: Sequence[Basis], calibration: Calibration) -> torch.Tensor:
    """(n, T) sigma of shifts, as calibration has it: stretched, and with the scatter."""
    return scattered(stretched(found, bases, calibration), found, bases, calibration)


def stretched(found: Solutions, bases: Sequence[Basis], calibration: Calibration) -> torch.Tensor:
    """(n, T) the fit's sigma of shifts with the factor of its spectype and size."""
    own = found.sigma.numpy() * PIXEL_LN
    factor = np.ones_like(own)
    for kind, mine in _spectypes(found, bases):
        factor[:, mine] = stretch.at(calibration.stretch, kind, own[:, mine])
    return found.sigma * torch.from_numpy(factor)


def scattered(
    sigma: torch.Tensor, found: Solutions, bases: Sequence[Basis], calibration: Calibration
) -> torch.Tensor:
    """(n, T) ``sigma`` of shifts and what no fit knows of: the scatter at their redshifts."""
    z = redshift(found.shift).numpy()
    wide = np.zeros_like(z)
    for kind, mine in _spectypes(found, bases):
        wide[:, mine] = scatter.at(calibration.scatter, kind, z[:, mine]) / PIXEL_LN
    return torch.hypot(sigma, torch.from_numpy(wide))


def _spectypes(found: Solutions, bases: Sequence[Basis]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each spectype, and which solutions (T,) are of it."""
    own = [bases[label].spectype for label in found.label.tolist()]
    for kind in {basis.spectype for basis in bases}:
        yield kind, np.array([one == kind for one in own])


class Output:
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
        self, rows: NDArray[np.intp], judged: Judged, bases: Sequence[Basis], width: float
    ) -> None:
        """Put what is said of some rows in their places; ``width`` is their LSF in grid pixels."""
        found, ranked = judged.found, judged.ranked
        self.best[rows] = found.label[ranked.column[:, 0]].numpy()
        self.chi2[rows] = ranked.of(found.chi2).numpy()
        self.delta[rows] = ranked.delta.numpy()
        self._fill_classes(rows, found)
        self.prob[rows] = ranked.classes.numpy()
        self._fill_candidates(rows, found, ranked)
        self._fill_best(rows)
        self.zwarn[rows] = judged.zwarn
        if judged.zconf is not None:
            self.zconf[rows] = judged.zconf
        if self.model is not None and found.model is not None:
            self.model[rows] = found.model.numpy()
        if self.bound is not None:
            self.bound[rows] = of_fits(judged.pixels, found, ranked, bases, width)
        if self.parts is not None:
            made = densities(found, bases, judged.temper, judged.sigma, judged.wings)
            self.parts.append((rows, made))

    def _fill_classes(self, rows: NDArray[np.intp], found: Solutions) -> None:
        """Best redshift of every class; NaN where it was not looked for."""
        mine = found.label == torch.arange(len(self.classes))[:, None]  # (class, T)
        value, at = torch.where(mine, found.value[:, None], torch.inf).min(2)  # (n, class)
        shift = torch.where(value.isfinite(), found.shift.gather(1, at), torch.nan)
        self.z[rows] = redshift(shift).numpy()
        self.sigma[rows] = z_sigma(shift, found.sigma.gather(1, at)).numpy()

    def _fill_best(self, rows: NDArray[np.intp]) -> None:
        """Redshift of the best class: the first candidate's, which need not be its deepest."""
        self.z[rows, self.best[rows]] = self.candidates.z[rows, 0]
        self.sigma[rows, self.best[rows]] = self.candidates.sigma[rows, 0]

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
