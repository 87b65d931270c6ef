"""What predictions of known objects teach about ZERR: factor, scatter, tails and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from zspec.likelihood import confidence, conformal, scatter, stretch, wings
from zspec.likelihood.conformal import Scores
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.scatter import Knots
from zspec.likelihood.stretch import Factors
from zspec.likelihood.wings import Wing

if TYPE_CHECKING:
    from zspec.likelihood.validate import Case

HOPELESS = 1e9
"""Sigmas: the score of a redshift whose sigma is unknown."""


def stretching(every: Iterable[Case]) -> dict[str, Factors]:
    """By what factor redshifts move more than sigma says when noise is added to a spectrum.

    Each is compared with what the same bases find in the same spectrum without that noise, so that
    neither labels nor the sources' own scatter enter. With errors k times as large the difference
    of two efficient estimates has a variance of sigma² (1 - 1 / k²). Only right rows count.
    """
    native: dict[int, float] = {}
    rows: list[tuple[float, float]] = []
    kinds: list[str] = []
    for case in every:
        ranked = case.ranked(1.0)
        if not (case.good(ranked) and case.spectype(ranked) == case.known.spectype):
            continue
        offset = case.offset(ranked)
        if case.step == 1:
            native[id(case.known)] = offset
        elif id(case.known) in native and case.sigma(ranked) > 0:
            wide = case.sigma(ranked) * (1 - case.step**-2) ** 0.5
            rows.append((case.sigma(ranked), (offset - native[id(case.known)]) / wide))
            kinds.append(case.known.spectype)
    return stretch.learn(kinds, *np.array(rows, np.float64).reshape(-1, 2).T)


def scattering(every: Iterable[Case], factors: Mapping[str, Factors]) -> dict[str, Knots]:
    """What ZERR lacks, so that right redshifts at their own SNR scatter as it says.

    The label's own error is taken off; what the labels lack in it beyond that counts as ours.
    """
    rows: list[tuple[float, float, float]] = []
    kinds: list[str] = []
    for case in every:
        ranked = case.ranked(1.0)
        if case.step == 1 and case.good(ranked) and case.spectype(ranked) == case.known.spectype:
            own = np.hypot(_sigma(case, ranked, factors), case.known.z_err / (1 + case.known.z))
            if np.isfinite(own):  # unknown where the fit's curvature is not positive
                rows.append((case.known.z, case.offset(ranked), float(own)))
                kinds.append(case.known.spectype)
    return scatter.learn(kinds, *np.array(rows, np.float64).reshape(-1, 3).T)


def tails(
    every: Iterable[Case], factors: Mapping[str, Factors], wide: Mapping[str, Knots]
) -> dict[str, Wing]:
    """What tails right redshifts have beyond ZERR and the label's own error, at every SNR.

    Each object counts once. Where another minimum is the label's, p(z) has a peak there already.
    """
    rows: list[tuple[float, float]] = []
    kinds: list[str] = []
    objects: list[str] = []
    for case in every:
        ranked = case.ranked(1.0)
        kind = case.spectype(ranked)
        if case.good(ranked) and kind == case.known.spectype and not case.elsewhere(ranked):
            sigma = np.hypot(_sigma(case, ranked, factors), _scatter(case, ranked, wide))
            sigma = np.hypot(sigma, case.known.z_err / (1 + case.known.z))
            if np.isfinite(sigma):
                rows.append((case.offset(ranked), float(sigma)))
                kinds.append(kind)
                objects.append(case.known.key)
    _, which, count = np.unique(objects, return_inverse=True, return_counts=True)
    offset, sigma = np.array(rows, np.float64).reshape(-1, 2).T
    return wings.learn(kinds, offset, sigma, 1 / count[which])


def conformal_scores(
    every: Iterable[Case], power: float, factors: Mapping[str, Factors], wide: Mapping[str, Knots]
) -> Scores:
    """Scores of all cases for :mod:`~zspec.likelihood.conformal`, by ZERR as it is given."""
    rows, kinds = [], []
    for case in every:
        ranked = case.ranked(power)
        kind, offset = case.spectype(ranked), case.offset(ranked)
        sigma = np.hypot(_sigma(case, ranked, factors), _scatter(case, ranked, wide))
        rows.append((float(confidence.median_snr(case.pixels)), float(abs(offset) / sigma)))
        kinds.append(kind)
    snr, scores = np.array(rows, np.float64).reshape(-1, 2).T
    return conformal.learn(kinds, snr, np.nan_to_num(scores, nan=HOPELESS).clip(max=HOPELESS))


def _sigma(case: Case, ranked: Ranked, factors: Mapping[str, Factors]) -> float:
    """Of ln(1 + z) of the best candidate, with the factor."""
    own = case.sigma(ranked)
    return own * float(stretch.at(factors, case.spectype(ranked), np.array(own)))


def _scatter(case: Case, ranked: Ranked, wide: Mapping[str, Knots]) -> float:
    """That of ln(1 + z) at the redshift of the best candidate."""
    z = (1 + case.known.z) * np.exp(case.offset(ranked)) - 1
    return float(scatter.at(wide, case.spectype(ranked), np.array(z)))
