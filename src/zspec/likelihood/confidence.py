"""ZCONF: the probability that Z is good by the threshold of its class.

A logistic model of a handful of numbers that the fit knows of itself, learned on real spectra and
on the same with noise added, all of them objects that the bases were not learned from. It is small
enough to be read: one coefficient a feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.likelihood.basis import Basis
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.solve import Solutions

Array = NDArray[np.float64]

FEATURES = ("evidence", "share", "snr", "quasar", "star", "odd", "both")
"""ln(1 + 2 ln odds of any object against none); logit of the share of the best candidate;
ln(1 + median SNR per pixel); 1 for each of two spectypes; how far the share of the light that the
basis gives is from 1, at most ODD; evidence times share: each tells little where the other is low.

chi2 per pixel is none of them: it would help on SDSS, and mistrust every survey whose errors are
off by a tenth.
"""
ODD = 2.0
"""A basis that gives none or several times the light is as odd as can be."""
MOST = 1e4
"""Odds and SNR beyond it tell no more."""
RIDGE = 1e-4
"""Penalty on coefficients of standardised features, per row: complete separation stays finite."""
STEPS = 50
"""Newton steps at most."""


def features(pixels: Native, found: Solutions, ranked: Ranked, bases: Sequence[Basis]) -> Array:
    """(n, len(FEATURES)) of the first candidates. No NaN."""
    snr = median_snr(pixels)
    kinds = [bases[i].spectype for i in found.label[ranked.column[:, 0]].tolist()]
    evidence, share = _log(ranked.evidence), torch.logit(ranked.share[:, 0], eps=1e-4)
    columns = [
        evidence,
        share,
        _log(snr),
        torch.tensor([float(kind == "QSO") for kind in kinds], dtype=torch.float64),
        torch.tensor([float(kind == "STAR") for kind in kinds], dtype=torch.float64),
        (ranked.of(found.own) - 1).abs().clamp(max=ODD),
        evidence * share,
    ]
    return np.asarray(torch.stack(columns, 1).nan_to_num(0.0).numpy())


def median_snr(pixels: Native) -> torch.Tensor:
    """(n,) median flux over error of the good pixels."""
    good = pixels.ivar > 0
    return torch.where(good, pixels.flux * pixels.ivar.sqrt(), math.nan).nanmedian(1).values


def _log(values: torch.Tensor) -> torch.Tensor:
    """ln(1 + x) of x cut to 0 and ``MOST``."""
    return values.clamp(0, MOST).log1p()


def probability(table: Array, coefficients: Array) -> Array:
    """(n,) of a good redshift; ``coefficients`` are the constant and one for each feature."""
    return np.asarray(1 / (1 + np.exp(-(coefficients[0] + table @ coefficients[1:]))))


def learn(table: Array, good: NDArray[np.bool_]) -> Array:
    """Coefficients that maximise the log likelihood less a small ridge (Newton).

    Targets are Platt's (1999, "Probabilistic outputs for support vector machines", section 2.2):
    never 0 or 1, so that rows that are all good promise no certainty.
    """
    hits, misses = int(good.sum()), int((~good).sum())
    target = np.where(good, (hits + 1) / (hits + 2), 1 / (misses + 2))
    mean, scale = table.mean(0), np.maximum(table.std(0), 1e-6)
    design = np.column_stack([np.ones(len(table)), (table - mean) / scale])
    ridge = RIDGE * len(table) * np.diag([0.0] + [1.0] * table.shape[1])
    c = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = probability(design[:, 1:], c)
        slope = design.T @ (target - p) - ridge @ c
        curve = (design.T * (p * (1 - p))) @ design + ridge
        step = np.linalg.solve(curve, slope)
        c += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    raw = c[1:] / scale
    return np.concatenate([[c[0] - raw @ mean], raw])
