"""What follows from the joint posterior: order, shares, ZERR, flags and ZCONF."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.flags import ZWarn, where
from zspec.joint.calibration import JointCalibration
from zspec.joint.confidence import features
from zspec.joint.posterior import joined, powers, ranked, to_power
from zspec.joint.proposed import Proposed
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.confidence import probability
from zspec.likelihood.output import Judged, scattered, stretched
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked, rank
from zspec.likelihood.reasons import reasons
from zspec.likelihood.solve import Solutions
from zspec.metrics.redshifts import C
from zspec.metrics.registry import RIGHT

SURE = 0.95
"""MODELS_DISAGREE: network and likelihood, each alone, give different answers more than this."""


def judge(
    pixels: Native,
    found: Solutions,
    proposed: Proposed,
    bases: Sequence[Basis],
    calibration: JointCalibration,
) -> Judged:
    """What a calibration makes of solutions of the likelihood and of what the network says."""
    wide = stretched(found, bases, calibration.fit)
    together = joined(found, proposed, bases, calibration.weights, wide)
    sigma = scattered(together.sigma, together, bases, calibration.fit)
    order = ranked(found, together, bases)
    alone = likelihood_alone(found, bases, calibration)
    zconf = None
    if calibration.confidence:
        table = features(pixels, found, order, alone, proposed, bases)
        zconf = probability(table, np.array(calibration.confidence))
    fitted = dataclasses.replace(together, shift=found.shift)  # limits and lines are the fit's
    bits = reasons(pixels, fitted, order, bases, calibration.fit)
    bits |= where(disagree(found, alone, proposed, bases), ZWarn.MODELS_DISAGREE)
    far = proposed.distance.numpy() > calibration.distance
    return Judged(
        pixels=pixels,
        found=dataclasses.replace(together, sigma=sigma),
        sigma=found.sigma,
        ranked=order,
        temper=1.0,
        zwarn=bits | where(far, ZWarn.OUT_OF_DISTRIBUTION),
        zconf=zconf,
        wings=calibration.fit.wings,
    )


def likelihood_alone(
    found: Solutions, bases: Sequence[Basis], calibration: JointCalibration
) -> Ranked:
    """The order that the likelihood's part of the posterior would give."""
    return rank(to_power(found, powers(found, calibration.weights)), bases, 1.0)


def disagree(
    found: Solutions, alone: Ranked, proposed: Proposed, bases: Sequence[Basis]
) -> NDArray[np.bool_]:
    """(n,) whether the network and the likelihood, each alone, are sure of different answers.

    Different: that one would be a catastrophe if the other were the truth (metric ``right``), or a
    star for one of them only. A galaxy or a quasar at one redshift is a matter of class, which PROB
    tells: hosts of broad lines are both.
    """
    peak = proposed.peaks(1)
    place = proposed.edges[peak.bin[:, 0]] + proposed.width / 2
    spectypes = [basis.spectype for basis in bases]
    label = found.label[alone.column[:, 0]]
    far = torch.tensor([RIGHT[name] / C for name in spectypes])[label] + proposed.width / 2
    apart = (alone.of(found.shift) * PIXEL_LN - place).abs() > far
    star = torch.tensor([name == "STAR" for name in spectypes])[label]
    seen = torch.tensor([name == "STAR" for name in proposed.kinds])[peak.kind[:, 0]]
    sure = (peak.mass[:, 0] > SURE) & (alone.share[:, 0] > SURE)
    different: torch.Tensor = sure & (apart | (star != seen))
    return np.asarray(different.numpy())
