"""What validation cases teach about the joint posterior: its weights, and how far to believe it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zspec.joint import confidence, fitting
from zspec.joint.calibration import JointCalibration
from zspec.joint.cases import JointCase, weighted
from zspec.joint.judging import likelihood_alone
from zspec.likelihood import widths
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.confidence import learn
from zspec.likelihood.validate import threshold

FALSE_ALARM = 0.01
"""Share of the right spectra of a survey that are too far from the network's training, at most."""


def learned(
    every: Sequence[JointCase], blanks: Sequence[JointCase], fit: Calibration
) -> JointCalibration:
    """All of a calibration; ``fit`` is the likelihood's own.

    ``every`` are labelled spectra, real and mock; ``blanks`` spectra of blank sky: without any,
    DELTACHI2 keeps the likelihood's threshold.
    """
    weights, _ = fitting.fit(every)
    cases, sky = weighted(every, weights), weighted(blanks, weights)
    real = [case for case in cases if case.group == "real"]
    changes: dict[str, object] = {"temper": 1.0, "confidence": ()}
    if real:
        changes["conformal"] = widths.conformal_scores(real, 1.0, fit.stretch, fit.scatter)
    if sky:
        gaps = np.array([float(case.ranked(1.0).delta) for case in sky])
        gaps = gaps[np.isfinite(gaps)]  # infinite: there is no second candidate
        if len(gaps):
            changes["delta"] = threshold(gaps)
    made = JointCalibration(weights, dataclasses.replace(fit, **changes))  # type: ignore[arg-type]
    table, good = confidence_table(cases, made)
    learned_from = learn(table, good)
    confident = tuple(learned_from.tolist())
    return dataclasses.replace(made, confidence=confident, distance=limit(cases))


def confidence_table(
    cases: Sequence[JointCase], calibration: JointCalibration
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features (n, F) of all cases, and whether their redshifts are good (n,)."""
    rows, good = [], []
    for case in cases:
        order = case.ranked(1.0)
        alone = likelihood_alone(case.found, case.bases, calibration)
        given = (case.pixels, case.found, order, alone, case.proposed, case.bases)
        rows.append(confidence.features(*given))
        good.append(case.good(order))
    return np.concatenate(rows), np.array(good)


def limit(cases: Sequence[JointCase]) -> float:
    """The distance from the network's training set that FALSE_ALARM of right cases exceed.

    It is that of the group (real spectra at a step of the ladder, mocks of a survey) that lies
    farthest, so that none loses more.
    """
    far: dict[tuple[str, int], list[float]] = {}
    for case in cases:
        order, distance = case.ranked(1.0), float(case.proposed.distance[0])
        right = case.good(order) and case.spectype(order) == case.known.spectype
        if right and math.isfinite(distance):  # infinite: nothing is near its class
            far.setdefault((case.group, case.step), []).append(distance)
    ends = [float(np.quantile(group, 1 - FALSE_ALARM)) for group in far.values()]
    return round(max(ends, default=math.inf), 2)
