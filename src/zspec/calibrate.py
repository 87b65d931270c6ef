"""Learn how far to believe an estimator's sigma, from spectra whose redshift is known.

    t = (z_true - z) / sigma
    calibration = learn(t, covariate(snr), method="beta", knots=5)
    sigma * calibration.widening(covariate(snr))

Beta calibration was made for probabilities (Kull+2017); for a regression it is used on the CDF: at
each of many thresholds t_j, "the truth lies below t_j" is an event with predicted probability
Φ(t_j), and one map is fitted to the events of all thresholds by logistic regression. Without a
covariate that is the fit of the map to the empirical frequencies of the predictive CDF.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_ndtr

from zspec.calibration.maps import METHODS, Calibration, Floats, Method, hats, probit
from zspec.errors import ConfigError, InputError, unknown

THRESHOLDS = np.linspace(-3.0, 3.0, 25)
"""t at which events are counted: evenly in t, so that the tails weigh as much as the centre.

Wider ones cost coverage at 68 % where errors have outliers, narrower ones at 95 % (measured).
"""
LEAST_SLOPE = 1e-3
"""Lower bound of a and b: at 0 the map would not rise, and have no quantiles."""
SMOOTH = 1e-3
"""Weight of squared differences of neighbouring knots: a bin of few spectra follows the others."""
ISOTONIC_KNOTS = 201
"""At most; quantiles of t between which the isotonic map is straight."""
FEWEST = 20
"""Spectra that a calibration needs for each knot."""


def learn(t: Floats, x: Floats, method: Method = "beta", knots: int = 0) -> Calibration:
    """The map of some spectra: ``t`` (n,) as above, NaN left out, and their covariate ``x`` (n,).

    ``knots`` > 1 lets the coefficients depend on x, at quantiles of it. Raises ConfigError for an
    unknown method, and InputError for too few spectra.
    """
    if method not in METHODS:
        raise ConfigError(unknown("calibration", method, METHODS))
    use = np.isfinite(t) & np.isfinite(x)
    t, x = np.asarray(t, np.float64)[use], np.asarray(x, np.float64)[use]
    if method == "none":
        return Calibration()
    if len(t) < FEWEST * max(knots, 1):
        raise InputError(f"{len(t)} spectra with a known redshift: too few to calibrate on")
    at = np.unique(np.quantile(x, np.linspace(0.02, 0.98, knots))) if knots > 1 else np.zeros(0)
    if len(at) < 2:
        at = np.zeros(0)
    fit = {"beta": _beta, "temperature": _temperature, "isotonic": _isotonic}[method]
    found = fit(t, hats(x, at))
    rows = tuple(tuple(map(float, row)) for row in found)
    return Calibration(method, tuple(map(float, at)), rows)


def _beta(t: Floats, weights: Floats) -> Floats:
    """(knot, 3) a, b, c by penalised logistic regression; convex, so that there is one minimum."""
    below = (t[:, None] <= THRESHOLDS).astype(np.float64)  # (n, threshold)
    if weights.shape[1] == 1:  # the same map for all: their mean says it all
        below, weights = below.mean(axis=0, keepdims=True), weights[:1]
    features = np.stack([log_ndtr(THRESHOLDS), -log_ndtr(-THRESHOLDS), np.ones(len(THRESHOLDS))])
    shape = (weights.shape[1], 3)

    def loss(flat: Floats) -> tuple[float, Floats]:
        c = flat.reshape(shape)
        logit = (weights @ c) @ features  # (n, threshold)
        value = np.mean(np.logaddexp(0, logit) - below * logit)
        slope = weights.T @ ((expit(logit) - below) @ features.T) / logit.size
        step = np.diff(c, axis=0)
        slope[:-1] -= 2 * SMOOTH * step
        slope[1:] += 2 * SMOOTH * step
        return float(value + SMOOTH * np.sum(step**2)), slope.ravel()

    start = np.tile([1.0, 1.0, 0.0], shape[0])
    bounds = [(LEAST_SLOPE, None), (LEAST_SLOPE, None), (None, None)] * shape[0]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x.reshape(shape))


def _temperature(t: Floats, weights: Floats) -> Floats:
    """(knot, 1) ln T by maximum likelihood of a Gaussian; one knot: T² is the mean of t²."""

    def loss(log_t: Floats) -> tuple[float, Floats]:
        each = weights @ log_t
        scaled = t**2 * np.exp(-2 * each)
        step = np.diff(log_t)
        slope = weights.T @ (1 - scaled) / len(t)
        slope[:-1] -= 2 * SMOOTH * step
        slope[1:] += 2 * SMOOTH * step
        return float(np.mean(each + 0.5 * scaled) + SMOOTH * np.sum(step**2)), slope

    start = np.full(weights.shape[1], 0.5 * np.log(np.mean(t**2)))
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x[:, None])


def _isotonic(t: Floats, weights: Floats) -> Floats:
    """(1 + knot, ISOTONIC_KNOTS) values of t, and for each knot the probit of its frequency.

    The empirical CDF of t, where each spectrum counts at a knot by its weight there: that is what
    pool-adjacent-violators gives, since ranks rise.
    """
    at = np.unique(np.quantile(t, np.linspace(0, 1, min(ISOTONIC_KNOTS, len(t)))))
    order = np.argsort(t)
    below = np.searchsorted(t[order], at, side="right")
    total = np.concatenate([np.zeros((1, weights.shape[1])), np.cumsum(weights[order], axis=0)])
    share = (total[below] + 0.5) / (total[-1] + 1)  # half a count, so that no probit is infinite
    return np.stack([at, *probit(share).T])
