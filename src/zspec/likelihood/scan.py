"""chi2 at every redshift at once.

For a basis B shifted by s grid pixels, and nuisance polynomials p that are the same in every class,

    A_kl(s) = Σ_j w_j B_k(j-s) B_l(j-s)
    b_k(s)  = Σ_j (wd)_j B_k(j-s)
    C_pk(s) = Σ_j w_j p_j B_k(j-s)

are correlations, hence products in Fourier space. With the polynomials made orthonormal under w and
y_p = Σ (wd)_j p_j, they are projected out: A' = A - CᵀC, b' = b - Cᵀy, and

    chi2(s) = Σ ivar d² - yᵀy - b'ᵀ A'⁻¹ b'.

A weak Gaussian prior on the shape (the coefficients relative to the amplitude, by the statistics of
the training set) adds its quadratic form to A'. All in float64: float32 moved minima of quasars.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import fft

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.pixels import Sums, Window

NPOLY = 3
"""Nuisance polynomials over the observed range: offset, slope and curvature in log λ."""
PRIOR_WIDTH = 3.0
"""The prior's standard deviations are those of the training set times this."""
TINY = 1e-9
"""Relative to the diagonal, added to it: keeps vectors that the data do not see out of the fit."""
BUDGET = 4_000_000
"""Complex numbers that one block of spectra may hold per class: about 64 MB."""


@dataclass(frozen=True)
class Tables:
    """Fourier transforms of one basis and its products, for one window."""

    first: torch.Tensor
    """(K, freq) transforms of B_k."""
    products: torch.Tensor
    """(pairs, freq) transforms of B_k B_l, k <= l."""
    pairs: torch.Tensor
    """(2, pairs) k and l."""
    size: int
    """Length of the transforms."""
    count: int
    """Number of shifts S."""


@lru_cache(maxsize=128)
def tables(basis: Basis, window: Window, sigma: float) -> Tables:
    """What correlations with ``basis`` need, broadened by ``sigma`` grid pixels."""
    low, high = basis.shifts
    count = high - low + 1
    size = fft.next_fast_len(window.length + count - 1, real=True)
    rest = placed(basis, window.start - high, window.length + count - 1, sigma)  # (K, rest)
    pairs = torch.triu_indices(len(rest), len(rest))
    return Tables(
        first=torch.fft.rfft(rest, size),
        products=torch.fft.rfft(rest[pairs[0]] * rest[pairs[1]], size),
        pairs=pairs,
        size=size,
        count=count,
    )


def placed(basis: Basis, start: int, length: int, sigma: float) -> torch.Tensor:
    """(K, length) the vectors on grid pixels ``start`` and up; 0 where the basis has ended."""
    source = broadened(basis, sigma)
    out = torch.zeros(len(source), length, dtype=torch.float64)
    low, high = max(start, basis.k0), min(start + length, basis.k0 + source.shape[1])
    if low < high:
        out[:, low - start : high - start] = source[:, low - basis.k0 : high - basis.k0]
    return out


def legendre(position: torch.Tensor, window: Window) -> torch.Tensor:
    """(pixel, NPOLY) Legendre polynomials over the window, at grid positions."""
    x = 2 * (position.numpy() - window.start) / (window.length - 1) - 1
    return torch.from_numpy(np.polynomial.legendre.legvander(x, NPOLY - 1))


@dataclass(frozen=True)
class Nuisance:
    """The polynomials of n spectra, made orthonormal under each spectrum's weights."""

    weighted: torch.Tensor
    """(n, NPOLY, length) w p."""
    fitted: torch.Tensor
    """(n, NPOLY) y: their coefficients."""


def nuisance(sums: Sums) -> Nuisance:
    """Orthonormal polynomials; 0 for a spectrum without data."""
    start, length = sums.window.start, sums.window.length
    position = torch.arange(start, start + length, dtype=torch.float64)
    poly = legendre(position, sums.window).T  # (NPOLY, length)
    weighted = sums.weight[:, None] * poly  # (n, NPOLY, length)
    gram = weighted @ poly.T  # (n, NPOLY, NPOLY)
    scale = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-300)
    ridge = TINY * scale[:, None, None] * torch.eye(NPOLY, dtype=gram.dtype)
    lower = torch.linalg.cholesky(gram + ridge)
    weighted = torch.linalg.solve_triangular(lower, weighted, upper=False)
    fitted = sums.weighted @ poly.T  # (n, NPOLY)
    fitted = torch.linalg.solve_triangular(lower, fitted[..., None], upper=False)[..., 0]
    return Nuisance(weighted, fitted)


def scan(sums: Sums, extra: Nuisance, basis: Basis, sigma: float = 0.0) -> torch.Tensor:
    """(n, S) penalised chi2 at every shift of the basis, from ``basis.shifts[0]`` up.

    ``extra`` is ``nuisance(sums)``, the same for every basis; the basis is broadened by ``sigma``
    grid pixels. A spectrum without data gives 0 everywhere.
    """
    table = tables(basis, sums.window, sigma)
    per_row = (len(table.products) + (NPOLY + 1) * len(table.first)) * table.size
    block = max(1, BUDGET // per_row)
    parts = [
        _scan(sums[i : i + block], extra, i, table, basis)
        for i in range(0, len(sums.square), block)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, table.count, dtype=torch.float64)


def _scan(sums: Sums, extra: Nuisance, at: int, table: Tables, basis: Basis) -> torch.Tensor:
    """One block of :func:`scan`, the spectra from number ``at`` on."""
    rows = slice(at, at + len(sums.square))
    poly, fitted = extra.weighted[rows], extra.fitted[rows]
    signals = torch.cat([sums.weighted[:, None], poly], dim=1)  # (n, 1 + NPOLY, length)
    cross = _correlate(signals[:, :, None], table.first, table)  # (n, 1 + NPOLY, K, S)
    packed = _correlate(sums.weight[:, None], table.products, table)  # (n, pairs, S)
    scale = amplitude(cross[:, 0, 0], packed[:, 0])  # (n, S)

    overlap = cross[:, 1:]  # (n, NPOLY, K, S)
    linear = cross[:, 0] - (overlap * fitted[:, :, None, None]).sum(1)  # (n, K, S)
    for p in range(NPOLY):
        subtract_outer(packed, overlap[:, p], overlap[:, p])
    k, m = table.pairs
    precision = basis.precision[k, m] / PRIOR_WIDTH**2
    packed.addcdiv_(precision[:, None].expand_as(packed), scale[:, None])
    _lift(packed, k == m)
    explained = quadratic(packed, linear)
    return (sums.square - (fitted**2).sum(1))[:, None] - explained


def _correlate(signals: torch.Tensor, transforms: torch.Tensor, table: Tables) -> torch.Tensor:
    """(..., S) Σ_j signal_j V(j - s) for every transformed V, in the order of increasing s."""
    spectrum = torch.fft.rfft(signals, table.size).conj()
    lags: torch.Tensor = torch.fft.irfft(spectrum * transforms, table.size)[..., : table.count]
    return lags.flip(-1)


def amplitude(linear: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """Squared amplitude of the mean spectrum alone, and at least its own variance."""
    square = square.clamp(min=1e-300)
    return (linear / square) ** 2 + 1 / square


def _lift(packed: torch.Tensor, diagonal: torch.Tensor) -> None:
    """Add TINY of its mean to the diagonal of (n, pairs, S), in place: pivots stay positive."""
    scale = packed[:, diagonal].abs().mean(1).clamp(min=1e-300)  # (n, S)
    for at in diagonal.nonzero()[:, 0].tolist():
        packed[:, at].add_(scale, alpha=TINY)


def subtract_outer(packed: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Subtract left rightᵀ, (n, K, S) each, from its upper triangle (n, K(K+1)/2, S) in place."""
    size, at = left.shape[1], 0
    for j in range(size):
        packed[:, at : at + size - j].addcmul_(left[:, j : j + 1], right[:, j:], value=-1)
        at += size - j


def quadratic(packed: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
    """(n, S) bᵀ A⁻¹ b by elimination, vectorised over spectra and shifts.

    ``packed``: (n, K(K+1)/2, S) the upper triangle of A, row by row, positive definite; it is
    destroyed. ``linear``: (n, K, S) b; destroyed too. The loop runs over the K vectors only.
    """
    size, start = linear.shape[1], 0
    out = torch.zeros_like(linear[:, 0])
    for k in range(size):
        row = packed[:, start : start + size - k]  # A_kk ... A_kK of what is left
        factor = row[:, 1:] / row[:, :1]
        out += linear[:, k] ** 2 / row[:, 0]
        linear[:, k + 1 :].addcmul_(factor, linear[:, k : k + 1], value=-1)
        start += size - k
        subtract_outer(packed[:, start:], factor, row[:, 1:])
    return out
