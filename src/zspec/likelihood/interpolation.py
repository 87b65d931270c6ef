"""Interpolation between pixels by cubic splines.

A function on the grid is kept as coefficients of cubic B-splines, one a pixel. Unlike a polynomial
through neighbours, the spline has a continuous slope, blurs no phase more than another where it
runs through given values, and its weights are positive and sum to 1.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

CUBIC = torch.tensor(
    [[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], dtype=torch.float64
).div(6)
"""(power, 4) uniform cubic B-splines as polynomials of the fraction (de Boor 1978)."""


def coefficients(values: torch.Tensor) -> torch.Tensor:
    """(..., pixel) coefficients of the spline that runs through values; 0 beyond both ends."""
    filtered = ndimage.spline_filter1d(values.numpy(), order=3, axis=-1, mode="mirror")
    return torch.from_numpy(np.ascontiguousarray(filtered))


def sample(spline: torch.Tensor) -> torch.Tensor:
    """(..., pixel) values of a spline at its pixels.

    Within its ends this is the inverse of :func:`coefficients`.
    """
    padded = torch.nn.functional.pad(spline, (1, 1))
    return (padded[..., :-2] + 4 * spline + padded[..., 2:]) / 6


def taps(fraction: torch.Tensor) -> torch.Tensor:
    """(..., 4) weights of coefficients -1, 0, 1, 2 at ``fraction`` in [0, 1) beyond pixel 0."""
    square = fraction * fraction
    powers = torch.stack([torch.ones_like(fraction), fraction, square, square * fraction], -1)
    return powers @ CUBIC.to(fraction)


def slopes(fraction: torch.Tensor) -> torch.Tensor:
    """(..., 4) derivatives of :func:`taps`: weights that give the slope per pixel."""
    powers = torch.stack([torch.ones_like(fraction), 2 * fraction, 3 * fraction * fraction], -1)
    return powers @ CUBIC[1:].to(fraction)


def pieces(spline: torch.Tensor, order: int = 0) -> torch.Tensor:
    """(4 - order, m, pixel - 3) what splines (m, pixel) are between their coefficients 1 and -2.

    Polynomials of the fraction, by rising power; ``order`` 1: their slopes.
    """
    around = spline.unfold(1, 4, 1).permute(2, 0, 1)  # (4, m, pixel - 3)
    powers = CUBIC.to(spline)
    if order:
        powers = powers[1:] * torch.arange(1, 4).to(spline)[:, None]
    return (powers @ around.flatten(1)).view(-1, *around.shape[1:])


def horner(polynomials: torch.Tensor, at: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
    """(...) values of polynomials number ``at`` (...) of (power, count) at fractions (...)."""
    flat = at.flatten()
    out = polynomials[-1].index_select(0, flat)
    for plane in polynomials[:-1].flip(0):
        out.mul_(fraction.flatten()).add_(plane.index_select(0, flat))
    return out.view(fraction.shape)
