"""From spectra of known redshift to a basis: weighted low-rank factorisation.

Spectrum i is modelled as d_i = T_i (c_i B) + noise: B (K, pixel) lives on the rest-frame grid, and
T_i interpolates it to the phase at which the redshift puts the spectrum's pixels. B is learned as
coefficients of cubic splines, whose four weights are positive and sum to 1.
Nothing is resampled: data keep their independent pixels, and the basis stays as sharp as the
sharpest of them allow. Missing pixels have weight 0.

One iteration: every c_i by weighted least squares under a Gaussian prior whose mean and
covariance are those of all c (expectation maximisation, as in probabilistic PCA, Tipping & Bishop
1999; without it, coefficients that a spectrum's range does not constrain would run away); then one
step of B along the weighted residuals, divided pixel by pixel by the curvature that bounds the
coupling between neighbours (Jensen's inequality: (T x)² <= T x²), so that the misfit never grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.likelihood.basis import STEP
from zspec.likelihood.interpolation import coefficients, sample, taps
from zspec.likelihood.pixels import Sums

CHUNK = 64
"""Rows that are interpolated at once."""
RIDGE = 1e-6
"""Least curvature of a pixel of B, relative to the largest: pixels without data do not move."""
MODEL_ERROR = 0.03
"""Fractional error added to each training spectrum, so that none counts beyond SNR 33 a pixel."""


@dataclass(frozen=True)
class Rows:
    """Training spectra on one rest-frame grid; float64."""

    k0: int
    """Grid index of the first column."""
    flux: torch.Tensor
    """(n, pixel) flux density, each spectrum of median 1; 0 where there are no data."""
    weight: torch.Tensor
    """(n, pixel) inverse variance; 0 where there are no data."""
    phase: torch.Tensor
    """(n,) in [0, 1): column j lies at rest-frame grid position k0 + j + phase."""

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.phase)

    def chunks(self) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Row range, flux, weight and phase of ``CHUNK`` spectra at a time."""
        for start in range(0, len(self), CHUNK):
            rows = slice(start, start + CHUNK)
            yield rows, self.flux[rows], self.weight[rows], self.phase[rows]


@dataclass(frozen=True)
class Coefficients:
    """How n spectra mix K vectors, and the Gaussian that describes all of them."""

    values: torch.Tensor
    """(n, K)"""
    mean: torch.Tensor
    """(K,)"""
    spread: torch.Tensor
    """(K, K)"""


def observed(sums: Sums, z: float, k0: int, length: int) -> Rows:
    """One observed spectrum (n = 1) in its rest frame, on columns k0 to k0 + length.

    Normalised to median 1; ``MODEL_ERROR`` of the median is added to its errors. Pixels that fall
    outside of the columns are left out.
    """
    position = sums.window.start - np.log10(1 + z) / STEP - k0
    first = int(np.floor(position))
    weight, weighted = sums.weight[0], sums.weighted[0]
    seen = weight > 0
    flux = torch.where(seen, weighted / weight.clamp(min=1e-300), 0.0)
    level = float(flux[seen].median().clamp(min=1e-300))
    weight = torch.where(seen, 1 / (1 / (weight * level**2) + MODEL_ERROR**2), 0.0)
    out = torch.zeros(2, 1, length, dtype=torch.float64)
    low, high = max(first, 0), min(first + len(flux), length)
    if low < high:
        out[0, 0, low:high] = flux[low - first : high - first] / level
        out[1, 0, low:high] = weight[low - first : high - first]
    phase = torch.tensor([position - first], dtype=torch.float64)
    return Rows(k0, out[0], out[1], phase)


def stack(parts: Sequence[Rows]) -> Rows:
    """Rows of the same columns, one below the other."""
    return Rows(
        parts[0].k0,
        torch.cat([p.flux for p in parts]),
        torch.cat([p.weight for p in parts]),
        torch.cat([p.phase for p in parts]),
    )


def interpolate(vectors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(n, K, pixel): T_i B for the four tap weights (n, 4) of every row."""
    length = vectors.shape[-1]
    padded = torch.nn.functional.pad(vectors, (1, 2))
    shifted = torch.stack([padded[:, q : q + length] for q in range(4)])  # (4, K, pixel)
    return torch.einsum("nq,qkp->nkp", weights, shifted)


def spread_back(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(n, pixel): T_iᵀ applied to (n, pixel) values, the adjoint of :func:`interpolate`."""
    length = values.shape[-1]
    out = torch.zeros(len(values), length + 3, dtype=values.dtype)
    for q in range(4):
        out[:, q : q + length] += weights[:, q : q + 1] * values
    return out[:, 1 : 1 + length]


def fit(rows: Rows, vectors: torch.Tensor, prior: Coefficients | None) -> Coefficients:
    """Coefficients of every row under the prior, and the Gaussian that they make.

    ``vectors`` (K, pixel) are spline coefficients.
    """
    size = len(vectors)
    precision, pull = _prior(size, prior)
    values, scatter = [], torch.zeros(size, size, dtype=torch.float64)
    for _, flux, weight, phase in rows.chunks():
        design = interpolate(vectors, taps(phase))  # (n, K, pixel)
        weighted = design * weight[:, None]
        normal = weighted @ design.mT + precision  # (n, K, K)
        right = (weighted @ flux[..., None])[..., 0] + pull
        covariance = torch.linalg.inv(normal)
        values.append((covariance @ right[..., None])[..., 0])
        scatter += covariance.sum(0)
    c = torch.cat(values)
    mean = c.mean(0)
    spread = (c - mean).T @ (c - mean) / len(c) + scatter / len(c)
    return Coefficients(c, mean, spread)


def _prior(size: int, prior: Coefficients | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Precision and precision times mean; next to nothing where there is no prior yet."""
    eye = torch.eye(size, dtype=torch.float64)
    if prior is None:
        return 1e-4 * eye, torch.zeros(size, dtype=torch.float64)
    floor = 1e-6 * prior.spread.diagonal().mean() * eye
    precision = torch.linalg.inv(prior.spread + floor)
    return precision, precision @ prior.mean


def _improve(rows: Rows, vectors: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """One step of the vectors towards the data, the coefficients held."""
    size, length = vectors.shape
    slope = torch.zeros(size, length, dtype=torch.float64)
    curve = torch.zeros(size * size, length, dtype=torch.float64)
    for part, flux, weight, phase in rows.chunks():
        weights = taps(phase)
        mixed = torch.einsum("nk,nkp->np", c[part], interpolate(vectors, weights))
        slope += c[part].T @ spread_back(weight * (flux - mixed), weights)
        outer = (c[part][:, :, None] * c[part][:, None, :]).flatten(1)  # (n, K²)
        curve += outer.T @ spread_back(weight, weights)
    matrix = curve.T.reshape(length, size, size)
    ridge = RIDGE * matrix.diagonal(dim1=1, dim2=2).amax()
    matrix = matrix + ridge * torch.eye(size, dtype=torch.float64)
    step: torch.Tensor = torch.linalg.solve(matrix, slope.T[..., None])
    return vectors + step[..., 0].T


def factorise(rows: Rows, size: int, iterations: int) -> tuple[torch.Tensor, Coefficients]:
    """Vectors (K, pixel) and coefficients that minimise the weighted misfit. Deterministic."""
    vectors = coefficients(_start(rows, size))
    prior: Coefficients | None = None
    for _ in range(iterations):
        prior = fit(rows, vectors, prior)
        vectors = _improve(rows, vectors, prior.values)
    return sample(vectors), fit(rows, vectors, prior)


def _start(rows: Rows, size: int) -> torch.Tensor:
    """Leading singular vectors of the spectra, with the mean spectrum where pixels tell nothing.

    A pixel counts by its share of signal, 1 / (1 + variance) for spectra of median 1 (Wiener): one
    pixel of noise 1000 at the end of a faint spectrum would make a vector of its own, for good.
    """
    mean = (rows.flux * rows.weight).sum(0) / rows.weight.sum(0).clamp(min=1e-300)
    filled = mean + (rows.flux - mean) * rows.weight / (1 + rows.weight)
    _, left = torch.linalg.eigh(filled @ filled.T)
    leading: torch.Tensor = left[:, -size:].flip(1).T @ filled / len(rows) ** 0.5
    return leading


def canonical(
    vectors: torch.Tensor, found: Coefficients, level: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Vectors, mean and spread rotated as :mod:`zspec.likelihood.basis` defines them.

    ``level`` (pixel,) is True where the mean flux of a spectrum is its amplitude. Spectra whose
    amplitude is below a fifth of the median are left out: their shape is unknown. The fewer there
    are, the wider the spread of what comes next: (N + 1) / (N - K) times their own variance, a
    little more than that of the predictive distribution (Gelman+2013, Bayesian Data Analysis, 3.6).
    """
    amplitude = found.values @ vectors[:, level].mean(1)  # (n,)
    keep = amplitude > 0.2 * amplitude.median()
    shape = found.values[keep] / amplitude[keep, None]
    mean = shape.mean(0)
    values, axes = torch.linalg.eigh((shape - mean).T @ (shape - mean) / len(shape))
    size, number = len(mean), len(shape)
    wider = (number + 1) / max(number - size, 1)
    scale = (wider * values.flip(0)[: size - 1].clamp(min=0)).sqrt()
    turned = axes.flip(1)[:, : size - 1].T * scale[:, None]
    rotated = torch.cat([mean[None], turned]) @ vectors
    return rotated.numpy(), np.eye(size)[0], np.diag([0.0] + [1.0] * (size - 1))
