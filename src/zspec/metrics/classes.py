"""Classes, probabilities, and what is kept by ZWARN = 0. All take arrays (n,).

Classes are integer codes that prediction and truth share; -1 is a class that was not found. A
redshift that is NaN is not good.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.metrics.redshifts import log_bias
from zspec.metrics.statistics import Floats, Sums, mean

Codes = NDArray[np.integer[Any]]

RELIABILITY_BINS = 15
"""Bins of equal width in probability; Guo+2017 use 15."""


def acc(label: Codes, label_true: Codes) -> Sums:
    """Accuracy: fraction whose class is the true one."""
    return mean(label == label_true)


def confusion(label: Codes, label_true: Codes) -> Sums:
    """Mean over true classes of the fraction found: the diagonal of the matrix, true by found."""
    classes = int(label_true.max(initial=0)) + 1
    return Sums((label == label_true, np.ones(len(label))), label_true, classes, mean_share)


def mean_share(sums: Floats) -> Floats:
    """Mean over the true classes that are there of hits / n, of sums (..., class, column)."""
    hits, number = sums[..., 0], sums[..., 1]
    share = hits / np.where(number > 0, number, 1)
    with np.errstate(invalid="ignore"):
        out: Floats = share.sum(axis=-1) / (number > 0).sum(axis=-1)
    return out


def ece(label: Codes, label_true: Codes, prob: Floats) -> Sums:
    """Expected calibration error of PROB as the probability that the class is right."""
    return calibration_error(prob, label == label_true)


def ece_z(z: Floats, z_true: Floats, zconf: Floats, thr: Floats | float) -> Sums:
    """Expected calibration error of ZCONF as the probability that bias < thr."""
    return calibration_error(zconf, log_bias(z, z_true) < thr)


def calibration_error(prob: Floats, hit: NDArray[np.bool_]) -> Sums:
    """Σ_b n_b/n |mean prob - fraction of hits| over bins b of probability; Guo+2017 eq. 3."""
    code = np.clip((prob * RELIABILITY_BINS).astype(np.intp), 0, RELIABILITY_BINS - 1)
    columns = (prob, hit.astype(np.float64), np.ones(len(prob)))
    return Sums(columns, code, RELIABILITY_BINS, mean_gap)


def mean_gap(sums: Floats) -> Floats:
    """Σ |prob - hits| / Σ n of sums (..., bin, column)."""
    with np.errstate(invalid="ignore"):
        out: Floats = np.abs(sums[..., 0] - sums[..., 1]).sum(-1) / sums[..., 2].sum(-1)
    return out


def purity(z: Floats, z_true: Floats, zwarn: Codes, thr: Floats | float) -> Sums:
    """Among rows with ZWARN = 0, the fraction with bias < thr."""
    kept = zwarn == 0
    return Sums((kept & (log_bias(z, z_true) < thr), kept))


def completeness(z: Floats, z_true: Floats, zwarn: Codes, thr: Floats | float) -> Sums:
    """Fraction of all rows that have both ZWARN = 0 and bias < thr."""
    return mean((zwarn == 0) & (log_bias(z, z_true) < thr))
