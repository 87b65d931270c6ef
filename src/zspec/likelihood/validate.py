"""What predictions of objects that the bases never saw teach: the numbers of a ``Calibration``.

The bases are learned five times, each time without a fifth of the objects, and predict those: as
they are, and with noise added to a half, a quarter, an eighth and a sixteenth of their SNR, so that
there are enough wrong redshifts to learn from. So do mocks of sources that are kept for it, whose
redshifts are exact. Blank sky teaches what DELTACHI2 noise reaches.
Labels are the survey pipeline's, and a few of them are wrong; medians, and a share of labels that
may be anything, keep those from mattering.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.likelihood import confidence, scatter, widths
from zspec.likelihood.basis import PIXEL_LN, STEP, Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.noise import running_mean
from zspec.likelihood.pixels import Native, native
from zspec.likelihood.ranking import Ranked, rank
from zspec.likelihood.scatter import MAD
from zspec.likelihood.solve import Solutions, solve
from zspec.survey import Spectra

if TYPE_CHECKING:
    from zspec.estimators.likelihood import Likelihood

FOLDS = 5
LADDER = (1, 2, 4, 8, 16)
"""SNR is divided by these."""
SHORT = (1, 4, 16)
"""The same for mocks."""
BRIGHT = 10.0
"""Median SNR per pixel from which a spectrum tells of the model's error."""
START_ERROR = 0.03
"""Model error with which residuals are taken."""
NARROW = 0.003
"""Range of redshifts around the label's in which they are taken."""
TEMPERS = np.arange(0.3, 1.01, 0.1)
"""Powers of the evidence that are tried."""
TAIL = 0.25
"""Share of the blank fibres, those of highest DELTACHI2, that an exponential is fitted to."""
BLANK = 0.003
"""Share of blank fibres that its threshold lets pass."""
EXPLAINED = 0.99
"""Share of the right rows, at their own SNR, whose unexplained share is within its limit."""
OWN = (0.005, 0.995)
"""Shares of those whose own light is below its two limits."""
STRAY = 0.01
"""Share of labels that may be anything: keeps a wrong one from counting without bound."""


@dataclass(frozen=True)
class Known:
    """One labelled spectrum."""

    key: str
    """The object."""
    spectype: str
    z: float
    z_err: float
    spectrum: Spectra
    """One row."""


def known(line: Mapping[str, str], spectrum: Spectra) -> Known:
    """One spectrum with its line of a manifest."""
    z, z_err = float(line["z"]), float(line["z_err"])
    return Known(line["object"], line["class"], z, z_err, spectrum)


def blank(line: Mapping[str, str], spectrum: Spectra) -> Known:
    """One spectrum of blank sky: nothing is right for it."""
    return Known(line["object"], "", float("nan"), 0.0, spectrum)


@dataclass(frozen=True)
class Case:
    """A prediction of a labelled spectrum by bases that did not see its object."""

    known: Known
    step: int
    """Of ``LADDER``."""
    bases: tuple[Basis, ...]
    pixels: Native
    found: Solutions
    """Of one row."""

    def ranked(self, temper: float) -> Ranked:
        """The candidates."""
        return rank(self.found, self.bases, temper)

    def offset(self, ranked: Ranked) -> float:
        """ln((1 + z) / (1 + z_label)) of the best candidate."""
        shift = float(ranked.of(self.found.shift))
        return shift * float(np.log(10)) * STEP - float(np.log1p(self.known.z))

    def sigma(self, ranked: Ranked) -> float:
        """Of ln(1 + z) of the best candidate, by the fit alone."""
        return float(ranked.of(self.found.sigma)) * float(np.log(10)) * STEP

    def spectype(self, ranked: Ranked) -> str:
        """Of the best candidate."""
        return self.bases[int(self.found.label[ranked.column[0, 0]])].spectype

    def good(self, ranked: Ranked) -> bool:
        """Whether the redshift is good by the threshold of the label's class."""
        limit = next(b.good_dz for b in self.bases if b.spectype == self.known.spectype)
        return abs(self.offset(ranked)) < limit

    def elsewhere(self, ranked: Ranked) -> bool:
        """Whether a later candidate is where the label is, of its spectype, and the best is not."""
        columns = ranked.column[0]
        own = [self.bases[label] for label in self.found.label[columns].tolist()]
        apart = torch.tensor([basis.separation for basis in own], dtype=torch.float64)
        mine = torch.tensor([basis.spectype == self.known.spectype for basis in own])
        label = np.log1p(self.known.z) / PIXEL_LN
        near = (self.found.shift[0, columns] - label).abs() <= apart
        there = near & mine & ranked.value[0].isfinite()
        return bool(there.any() & ~there[0])

    def prob_label(self, ranked: Ranked) -> float:
        """Share of the posterior that the label's spectype holds."""
        mine = [b.spectype == self.known.spectype for b in self.bases]
        return float(ranked.classes[0, mine].sum())


def fold_of(key: str, folds: int = FOLDS) -> int:
    """A fold from an object's name, the same on every machine."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % folds


def calibrate(
    given: Sequence[Known],
    fitters: Sequence[Likelihood],
    blanks: Sequence[Known] = (),
    mocks: Sequence[Known] = (),
) -> Calibration:
    """All of a calibration; ``fitters[i]`` holds bases that no object of fold i was used for.

    ``blanks`` are spectra of blank sky; without any, DELTACHI2 keeps its default threshold.
    ``mocks`` are simulated spectra, whose redshifts are exact.
    """
    error = model_error(given, [f.bases for f in fitters])
    fitters = [f.calibrated_by(Calibration(error)) for f in fitters]
    exact = list(cases(mocks, fitters, SHORT))
    return learned(list(cases(given, fitters)), blank_cases(blanks, fitters), error, exact)


def learned(
    every: Sequence[Case],
    blanks: Sequence[Case],
    error: float,
    mocks: Sequence[Case] = (),
    loss: NDArray[np.float64] | None = None,
) -> Calibration:
    """What cases teach of labelled spectra, of blank ones and of mocks.

    ``loss``: ``losses`` of the labelled and then of the mocks. Mocks teach by how much to trust a
    sigma and an evidence; what is strange or confident is for real spectra to say.
    """
    both = [*every, *mocks]
    power = temper(losses(both) if loss is None else loss)
    table, good = confidence_table(every, power)
    factors = widths.stretching(both)
    wide = widths.scattering(both, factors)
    found = Calibration(
        model_error=error,
        stretch=factors,
        scatter=wide,
        wings=widths.tails(both, factors, wide),
        temper=power,
        **strangeness(every, power),
        confidence=tuple(confidence.learn(table, good).tolist()),
        conformal=widths.conformal_scores(every, power, factors, wide),
    )
    deltas = np.array([float(case.ranked(power).delta) for case in blanks])
    return dataclasses.replace(found, delta=threshold(deltas)) if len(deltas) else found


def threshold(deltas: NDArray[np.float64]) -> float:
    """DELTACHI2 that a share BLANK of blank spectra exceeds, if those of (n,) are alike.

    The highest quarter is taken for exponential, as tails of maxima are (Gumbel). Its scale is that
    of the median, since one freak, which other bits tell, would rule the mean.
    """
    start = float(np.quantile(deltas, 1 - TAIL))
    scale = float(np.median(deltas[deltas >= start] - start) / np.log(2))
    return round(start + scale * float(np.log(TAIL / BLANK)), 2)


def strangeness(every: Sequence[Case], power: float) -> dict[str, Any]:
    """Limits of what is unexplained and of own light that right rows of known objects keep."""
    values: dict[str, list[float]] = {"unexplained": [], "own": []}
    for case in every:
        ranked = case.ranked(power)
        right = case.good(ranked) and case.spectype(ranked) == case.known.spectype
        if right and case.step == 1:
            for name, kept in values.items():
                kept.append(float(ranked.of(getattr(case.found, name))))
    if not values["own"]:
        return {}
    low, high = np.quantile(values["own"], OWN).round(4).tolist()
    left = round(float(np.quantile(values["unexplained"], EXPLAINED)), 3)
    return {"unexplained": left, "own": (low, high)}


def cases(
    given: Iterable[Known], fitters: Sequence[Likelihood], ladder: Sequence[int] = LADDER
) -> Iterator[Case]:
    """Predictions of every spectrum at every step of a ladder; none without a good pixel."""
    for number, one in enumerate(given):
        fitter = fitters[fold_of(one.key)]
        for step in ladder:
            noisy = weakened(one.spectrum, step, np.random.default_rng([number, step]))
            for _, pixels, found in fitter.solutions(noisy.arms):
                yield Case(one, step, fitter.bases, pixels, found)


def blank_cases(blanks: Sequence[Known], fitters: Sequence[Likelihood]) -> list[Case]:
    """Predictions of blank sky by each of the fitters: no bases saw any, and its tail is thin."""
    return [case for f in fitters for case in cases(blanks, [f] * FOLDS, (1,))]


def weakened(spectrum: Spectra, factor: int, rng: np.random.Generator) -> Spectra:
    """The spectrum with noise added so that its errors grow by a factor."""
    arms = []
    for arm in spectrum.arms:
        sigma = np.where(arm.ivar > 0, np.maximum(arm.ivar, 1e-30) ** -0.5, 0)
        noise = (factor**2 - 1) ** 0.5 * sigma * rng.standard_normal(arm.flux.shape)
        flux, ivar = arm.flux + noise.astype(np.float32), arm.ivar / np.float32(factor**2)
        arms.append(dataclasses.replace(arm, flux=flux, ivar=ivar))
    return dataclasses.replace(spectrum, arms=tuple(arms))


def model_error(given: Iterable[Known], bases: Sequence[Sequence[Basis]]) -> float:
    """Fraction of the flux that residuals at the label's redshift ask for.

    The median over bright spectra of the spectype where it is largest: one number for all, so that
    hypotheses compare on the same noise.
    """
    values: dict[str, list[float]] = {}
    for one in given:
        pixels = native(one.spectrum.arms)
        good = pixels.ivar > 0
        if good.any() and (pixels.flux * pixels.ivar.sqrt())[good].median() > BRIGHT:
            mine = [b for b in bases[fold_of(one.key)] if b.spectype == one.spectype]
            values.setdefault(one.spectype, []).append(_excess(pixels, mine, one.z))
    return max((float(np.median(v)) for v in values.values()), default=0.0)


def _excess(pixels: Native, bases: Sequence[Basis], z: float) -> float:
    """The fraction that makes the median of |residual| / sigma that of a normal; 0 to 0.5."""
    at_label = [
        dataclasses.replace(basis, z_range=(z - NARROW, z + NARROW), density=()) for basis in bases
    ]
    model = solve(pixels, at_label, 0.0, START_ERROR, with_model=True).model
    assert model is not None
    good = pixels.ivar[0] > 0
    residual = (pixels.flux - model)[0, good].numpy()
    level = running_mean(pixels.flux, pixels.ivar)[0, good].numpy()
    variance = 1 / pixels.ivar[0, good].numpy()

    def wide(fraction: float) -> bool:
        return bool(np.median(residual**2 / (variance + (fraction * level) ** 2)) > MAD**2)

    return scatter.crossing(wide, 0.5)


def losses(every: Sequence[Case]) -> NDArray[np.float64]:
    """(case, power) log loss of the spectype and of the redshift for each of ``TEMPERS``."""
    return np.array([[_loss(case, float(power)) for power in TEMPERS] for case in every])


def _loss(case: Case, power: float) -> float:
    """Of one case: -ln of what spectype and redshift of the label were given."""
    ranked = case.ranked(power)
    right = case.good(ranked) and case.spectype(ranked) == case.known.spectype
    share = float(ranked.share[0, 0])
    given = np.array([case.prob_label(ranked), share if right else 1 - share])
    return float(-np.log((1 - STRAY) * given + STRAY / 2).sum())


def temper(loss: NDArray[np.float64]) -> float:
    """The power of the least summed loss (case, power)."""
    return round(float(TEMPERS[int(loss.sum(0).argmin())]), 2)


def confidence_table(
    every: Sequence[Case], power: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features (n, F) of all cases, and whether their redshifts are good (n,)."""
    ranked = [case.ranked(power) for case in every]
    both = list(zip(every, ranked, strict=True))
    table = [confidence.features(c.pixels, c.found, r, c.bases) for c, r in both]
    return np.concatenate(table), np.array([c.good(r) for c, r in both])
