"""chi2 at every redshift at once.

For a basis B shifted by s grid pixels, and nuisance polynomials p (three for each arm, the same in
every class),

    A_kl(s) = Σ_j w_j B_k(j-s) B_l(j-s)
    b_k(s)  = Σ_j (wd)_j B_k(j-s)
    C_pk(s) = Σ_j (wp)_j B_k(j-s)

are correlations, hence products in Fourier space. With the polynomials made orthonormal under w and
y_p = Σ ivar d p, they are projected out: A' = A - CᵀC, b' = b - Cᵀy, and

    chi2(s) = Σ ivar d² - yᵀy - b'ᵀ A'⁻¹ b'.

A weak Gaussian prior on the shape (the coefficients relative to the amplitude, by the statistics of
the training set) adds its quadratic form to A', and the Occam factor of the coefficients, ln det A'
less ln det of the prior, makes classes with different numbers of vectors comparable. All in
float64: float32 moved minima of quasars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy import fft

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.pixels import Native, Sums, Window, on_grid

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


@dataclass(frozen=True)
class Nuisance:
    """The P polynomials of n spectra, made orthonormal under each spectrum's weights."""

    weighted: torch.Tensor
    """(n, P, length) Σ ivar p on the grid."""
    fitted: torch.Tensor
    """(n, P) y: their coefficients."""

    def __getitem__(self, rows: slice) -> Nuisance:
        """Those of some of the spectra."""
        return Nuisance(self.weighted[rows], self.fitted[rows])


def nuisance(pixels: Native) -> Nuisance:
    """Orthonormal polynomials of native pixels; 0 for an arm or a spectrum without data."""
    poly = pixels.polynomials.T  # (P, pixel)
    weighted = pixels.ivar[:, None] * poly  # (n, P, pixel)
    gram = weighted @ poly.T  # (n, P, P)
    scale = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-200)
    ridge = TINY * scale[:, None, None] * torch.eye(len(poly), dtype=gram.dtype)
    lower = torch.linalg.cholesky(gram + ridge)
    seen = (weighted @ pixels.flux[..., None])[..., 0]  # (n, P)
    return Nuisance(
        torch.linalg.solve_triangular(lower, on_grid(pixels, weighted), upper=False),
        torch.linalg.solve_triangular(lower, seen[..., None], upper=False)[..., 0],
    )


def scan(sums: Sums, extra: Nuisance, basis: Basis, sigma: float = 0.0) -> torch.Tensor:
    """(n, S) -2 ln evidence at every shift of the basis, from ``basis.shifts[0]`` up.

    That is chi2, plus what the prior on the mixture of vectors adds, plus the Occam factor.

    ``extra`` is the ``nuisance`` of the same spectra, the same for every basis; the basis is
    broadened by ``sigma`` grid pixels. A spectrum without data gives a constant.
    """
    table = tables(basis, sums.window, sigma)
    per_row = (len(table.products) + (extra.fitted.shape[1] + 1) * len(table.first)) * table.size
    block = max(1, BUDGET // per_row)
    blocks = [slice(i, i + block) for i in range(0, len(sums.square), block)]
    parts = [_scan(sums[rows], extra[rows], table, basis) for rows in blocks]
    return torch.cat(parts) if parts else torch.zeros(0, table.count, dtype=torch.float64)


def _scan(sums: Sums, extra: Nuisance, table: Tables, basis: Basis) -> torch.Tensor:
    """One block of :func:`scan`."""
    fitted = extra.fitted
    signals = torch.cat([sums.weighted[:, None], extra.weighted], dim=1)  # (n, 1 + P, length)
    cross = _correlate(signals[:, :, None], table.first, table)  # (n, 1 + P, K, S)
    packed = _correlate(sums.weight[:, None], table.products, table)  # (n, pairs, S)
    scale = amplitude(cross[:, 0, 0], packed[:, 0])  # (n, S)

    overlap = cross[:, 1:]  # (n, P, K, S)
    linear = cross[:, 0] - (overlap * fitted[:, :, None, None]).sum(1)  # (n, K, S)
    for p in range(overlap.shape[1]):
        subtract_outer(packed, overlap[:, p], overlap[:, p])
    k, m = table.pairs
    precision = basis.precision[k, m] / PRIOR_WIDTH**2
    packed.addcdiv_(precision[:, None].expand_as(packed), scale[:, None])
    _lift(packed, k == m)
    explained, volume = quadratic(packed, linear)
    chi2 = (sums.square - (fitted**2).sum(1))[:, None] - explained
    return chi2 + occam(volume, scale, basis)


def occam(volume: torch.Tensor, scale: torch.Tensor, basis: Basis) -> torch.Tensor:
    """What the freedom of a basis costs in units of chi2: -2 ln of its Occam factor.

    ``volume`` is ln det A', with the prior; ``scale`` the squared amplitude. Each direction costs
    ln of its information relative to the prior's, and nothing where the data do not see it (MacKay
    2003, Information Theory, eq. 28.10). The prior of the amplitude is flat in its logarithm.
    """
    size = len(basis.precision)
    return volume + size * scale.log() + (size - 1) * math.log(PRIOR_WIDTH**2)


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


def quadratic(packed: torch.Tensor, linear: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bᵀ A⁻¹ b and ln det A, (n, S) each, by elimination over all spectra and shifts at once.

    ``packed``: (n, K(K+1)/2, S) the upper triangle of A, row by row, positive definite; it is
    destroyed. ``linear``: (n, K, S) b; destroyed too. The loop runs over the K vectors only.
    """
    size, start = linear.shape[1], 0
    explained, volume = torch.zeros_like(linear[:, 0]), torch.zeros_like(linear[:, 0])
    for k in range(size):
        row = packed[:, start : start + size - k]  # A_kk ... A_kK of what is left
        factor = row[:, 1:] / row[:, :1]
        explained += linear[:, k] ** 2 / row[:, 0]
        volume += row[:, 0].log()
        linear[:, k + 1 :].addcmul_(factor, linear[:, k : k + 1], value=-1)
        start += size - k
        subtract_outer(packed[:, start:], factor, row[:, 1:])
    return explained, volume
