"""The evidence of a linear fit with a Gaussian prior, for many spectra and shifts at once.

Matrices are upper triangles, packed row by row, with shifts along the last axis.
"""

from __future__ import annotations

import torch

TINY = 1e-9
"""Relative to the diagonal, added to it: keeps vectors that the data do not see out of the fit."""


def amplitude(linear: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """Squared amplitude of the mean spectrum alone, and at least its own variance."""
    square = square.clamp(min=1e-300)
    return (linear / square).square() + square.reciprocal()


def occam(volume: torch.Tensor, scale: torch.Tensor, size: int) -> torch.Tensor:
    """What the freedom of ``size`` vectors costs in units of chi2: -2 ln of its Occam factor.

    ``volume`` is ln det A', with the prior; ``scale`` the squared amplitude. Each direction costs
    ln of its information relative to the prior's, and nothing where the data do not see it (MacKay
    2003, Information Theory, eq. 28.10). The prior of the amplitude is flat in its logarithm.
    """
    return volume + size * scale.log()


def _diagonal(size: int) -> list[int]:
    """Where the diagonal of a matrix (size, size) stands in its packed upper triangle."""
    return [k * size - k * (k - 1) // 2 for k in range(size)]


def lift(packed: torch.Tensor, size: int) -> None:
    """Add TINY of its mean to the diagonal of (n, pairs, S), in place: pivots stay positive."""
    diagonal = [packed[:, at] for at in _diagonal(size)]
    scale = sum(diagonal[1:], start=diagonal[0]).clamp(min=1e-300)  # (n, S)
    for each in diagonal:
        each.add_(scale, alpha=TINY / size)


def subtract_outer(packed: torch.Tensor, vectors: torch.Tensor) -> None:
    """Subtract v vᵀ of vectors (n, K, S) from its upper triangle (n, K(K+1)/2, S), in place."""
    size, at = vectors.shape[1], 0
    for j in range(size):
        packed[:, at : at + size - j].addcmul_(vectors[:, j : j + 1], vectors[:, j:], value=-1)
        at += size - j


def quadratic(packed: torch.Tensor, linear: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bᵀ A⁻¹ b and ln det A, (n, S) each, by Cholesky's method over all spectra and shifts at once.

    ``packed``: (n, K(K+1)/2, S) the upper triangle of A, row by row, positive definite; it is
    destroyed. ``linear``: (n, K, S) b; destroyed too. The loop runs over the K vectors only.
    """
    size, start = linear.shape[1], 0
    explained = torch.zeros_like(linear[:, 0])
    for k in range(size):
        row = packed[:, start : start + size - k]  # A_kk ... A_kK of what is left
        root = row[:, :1].rsqrt()
        factor, known = row[:, 1:] * root, linear[:, k : k + 1] * root
        explained.addcmul_(known[:, 0], known[:, 0])
        linear[:, k + 1 :].addcmul_(factor, known, value=-1)
        start += size - k
        subtract_outer(packed[:, start:], factor)
    return explained, packed[:, _diagonal(size)].log().sum(1)
