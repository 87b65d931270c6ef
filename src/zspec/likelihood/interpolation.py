"""Interpolation between pixels by cubic splines.

A function on the grid is kept as coefficients of cubic B-splines, one a pixel. Unlike a polynomial
through neighbours, the spline has a continuous slope, blurs no phase more than another where it
runs through given values, and its weights are positive and sum to 1.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage


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
    f, g = fraction, -fraction + 1
    f2, g2 = f * f, g * g
    near = (f2 * (f - 2) * 3 + 4, g2 * (g - 2) * 3 + 4)
    return torch.stack([g2 * g, *near, f2 * f], dim=-1) / 6


def slopes(fraction: torch.Tensor) -> torch.Tensor:
    """(..., 4) derivatives of :func:`taps`: weights that give the slope per pixel."""
    f, g = fraction, -fraction + 1
    return torch.stack([-g * g, f * (f * 3 - 4), g * (g * -3 + 4), f * f], dim=-1) / 2
