"""The linear fit of a basis at one shift, from products of its vectors: normal equations.

Polynomials are projected out, and the prior on the shape is in; see :mod:`~zspec.likelihood.scan`
for both. Bases of fewer vectors than others are filled up with zeros, which cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zspec.likelihood.evidence import TINY, amplitude, occam


@dataclass(frozen=True)
class Solved:
    """The linear fit at one shift, (m, ...)."""

    c: torch.Tensor
    """(m, K) coefficients."""
    inverse: torch.Tensor
    """(m, K, K) of the normal matrix."""
    penalty: torch.Tensor
    """(m,) what the prior adds to chi2, its Occam factor with it."""
    explained: torch.Tensor
    """(m,) by how much the basis lowers chi2 of the polynomials alone."""


def solve_normal(
    normal: torch.Tensor,
    overlap: torch.Tensor,
    whole: torch.Tensor,
    fitted: torch.Tensor,
    certain: torch.Tensor,
) -> Solved:
    """Fit a design: its products with itself, the polynomials (m, P, K) and the data (m, K)."""
    right = whole - times(overlap.mT, fitted)
    bare = normal - overlap.mT @ overlap
    known = normal.diagonal(dim1=1, dim2=2) > 0  # vectors of zeros change nothing, not even by TINY
    known[:, 0] = True  # which has no prior
    scale = amplitude(whole[:, 0], normal[:, 0, 0])
    _, c, inverse = _solved(bare, right, certain / scale[:, None, None], known)
    # what the mean spectrum has alone is far off where a shape is, so that its share in this fit
    # says for the next how large the spectrum is; nothing does where no pixel sees it
    found = c[:, 0].square() + inverse[:, 0, 0]
    scale = torch.where((normal[:, 0, 0] > 0) & found.isfinite(), found, scale)
    prior = certain / scale[:, None, None]
    factor, c, inverse = _solved(bare, right, prior, known)
    volume = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    penalty = (c * times(prior, c)).sum(1) + occam(volume, scale, len(c[0]))
    return Solved(c, inverse, penalty, (c * (2 * right - times(bare, c))).sum(1))


def _solved(
    bare: torch.Tensor, right: torch.Tensor, prior: torch.Tensor, known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cholesky factor of the normal matrix (m, K, K), coefficients (m, K), and its inverse."""
    full = bare + prior
    diagonal = full.diagonal(dim1=1, dim2=2)
    mean = (diagonal * known).sum(1) / known.sum(1)
    diagonal += TINY * known * mean.clamp(min=1e-300)[:, None]
    factor = torch.linalg.cholesky(full)
    inverse = torch.cholesky_inverse(factor)
    return factor, times(inverse, right), inverse


def times(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """(m, i) products of matrices (m, i, j) and vectors (m, j)."""
    return (matrix @ vector[..., None])[..., 0]
