"""Nuisance polynomials: offset, slope and curvature of each arm, the same in every class.

They have a Gaussian prior, and are made orthonormal under a spectrum's weights and that prior, so
that they are projected out of all that is fitted. With a wider prior they are what a spectrum is
compared with that has no features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.linalg import vecdot

from zspec.likelihood.evidence import TINY
from zspec.likelihood.pixels import NPOLY, Native, on_grid, own

CALIBRATED = 0.1
"""Prior of the nuisance polynomials: root mean square of each over the mean flux of its arm. What
spectrographs' flux calibration is wrong by; 0.05 and 0.1 have most held-out spectra right."""
FREE = 1.0
"""The same of the continuum of what has no features, with which objects are compared."""


@dataclass(frozen=True)
class Nuisance:
    """The P polynomials of n spectra, made orthonormal under each spectrum's weights."""

    weighted: torch.Tensor
    """(n, P, length) Σ ivar p on the grid."""
    fitted: torch.Tensor
    """(n, P) y: their coefficients."""
    null: torch.Tensor
    """(n,) -2 ln evidence of no object; see :func:`featureless`."""

    def __getitem__(self, rows: torch.Tensor) -> Nuisance:
        """Those of some of the spectra."""
        return Nuisance(self.weighted[rows], self.fitted[rows], self.null[rows])


def nuisance(pixels: Native) -> Nuisance:
    """Orthonormal polynomials of native pixels; 0 for an arm or a spectrum without data.

    Those of one arm are 0 in the others, and are made arm by arm.
    """
    lower, weighted, fitted = orthonormal(pixels), [], []
    for number, one in enumerate(pixels.apart):
        root = lower[:, own(number), own(number)]
        placed = on_grid(one, one.information, pixels.window)
        weighted.append(torch.linalg.solve_triangular(root, placed, upper=False))
        fitted.append(torch.linalg.solve_triangular(root, one.overlap, upper=False)[..., 0])
    return Nuisance(torch.cat(weighted, 1), torch.cat(fitted, 1), featureless(pixels))


def orthonormal(pixels: Native) -> torch.Tensor:
    """(n, P, P) lower triangles whose inverses make polynomials orthonormal by ivar and prior."""
    size = NPOLY * len(pixels.waves)
    gram = pixels.ivar.new_zeros(len(pixels), size, size)
    for number, one in enumerate(pixels.apart):
        prior = torch.diag_embed(_variances(one, CALIBRATED).reciprocal())
        gram[:, own(number), own(number)] = one.gram + prior
    scale = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-200)
    ridge = torch.eye(size, dtype=gram.dtype, device=gram.device)
    lower: torch.Tensor = torch.linalg.cholesky(gram + TINY * scale[:, None, None] * ridge)
    return lower


def _variances(one: Native, share: float) -> torch.Tensor:
    """(n, NPOLY) prior of the polynomials of an arm: each a ``share`` of its mean flux.

    The mean has a variance of its own. A Legendre polynomial has a mean square of 1 / (2 k + 1).
    """
    total = one.ivar.sum(1).clamp(min=1e-200)
    level = vecdot(one.ivar, one.flux) / total
    order = torch.arange(NPOLY, dtype=level.dtype, device=level.device)
    square: torch.Tensor = level.square() + total.reciprocal()
    return share**2 * square[:, None] * (2 * order + 1)


def featureless(pixels: Native) -> torch.Tensor:
    """(n,) -2 ln evidence of a smooth continuum alone: polynomials whose prior is ``FREE``.

    On the scale of :func:`~zspec.likelihood.scan.scan`, which leaves out what the prior of the
    polynomials costs in every class.
    """
    value: torch.Tensor = vecdot(pixels.ivar, pixels.flux.square())
    for one in pixels.apart:
        explained, volume = _smooth(one, FREE)
        value = value - explained + volume - _smooth(one, CALIBRATED)[1]
    return value


def _smooth(one: Native, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) what the polynomials of an arm explain of chi2, and what their freedom costs."""
    root = _variances(one, share).sqrt()[:, :, None]
    size = root * one.gram * root.mT
    lower = torch.linalg.cholesky(size + torch.eye(NPOLY, dtype=size.dtype, device=size.device))
    held = torch.linalg.solve_triangular(lower, root * one.overlap, upper=False)
    return held.square().sum((1, 2)), 2 * lower.diagonal(dim1=1, dim2=2).log().sum(1)
