"""Pixelated images of Sérsic galaxies under a Gaussian point-spread function.

A Sérsic profile with n >= 0.5 is a mixture of Gaussians of many widths, since exp(-b s^(1/2n)) is
completely monotone in s = r². Under a Gaussian PSF each stays a Gaussian, at any axis ratio and
position angle, and so does, to 1e-4 at these widths, its mean over a pixel. So the light in every
pixel is a sum of exponentials, and no integral over the cusp of the profile is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls
from scipy.special import gamma, gammainc

Float = NDArray[np.float64]

WIDTHS = np.geomspace(0.01, 16.0, 16)
"""Sigmas of the mixture, in effective radii."""
INDICES = np.arange(0.5, 6.51, 0.1)
"""Sérsic indices where the mixture is fitted; in between weights are interpolated."""
PIXEL_VARIANCE = 1 / 12
"""Pixel²; of the mean over a pixel, along each axis."""
FAINTEST = -80.0
"""ln of the light per pixel below which a Gaussian of the mixture is as good as 0."""
TAPS = 6
KAISER = 6.0
"""Half width in pixels, and shape, of the window of :func:`refining`."""
FWHM = float(np.sqrt(8 * np.log(2)))
"""Of a Gaussian, in sigmas."""


@dataclass(frozen=True)
class Shapes:
    """Morphology of n sources, as seen by the telescope above the dispersion."""

    r_eff: torch.Tensor
    """(n,) half-light radius along the major axis, pixels; 0 is a point source."""
    index: torch.Tensor
    """(n,) Sérsic index, 0.5 to 6.5."""
    axis_ratio: torch.Tensor
    """(n,) b/a, above 0 and up to 1."""
    angle: torch.Tensor
    """(n,) radians from the dispersion axis to the major axis."""
    row: torch.Tensor
    """(n,) centre along the slitless spectrum's cross-dispersion, pixels from the middle row."""
    column: torch.Tensor
    """(n,) shift along the dispersion, pixels: what the wavelength calibration missed."""


def sersic_b(index: float) -> float:
    """b_n of I(r) = I_e exp(-b_n ((r/r_e)^(1/n) - 1)), with half of the light within r_e."""
    return float(brentq(lambda b: gammainc(2 * index, b) - 0.5, 1e-3, 20.0))


def sersic_density(radius: Float, index: float) -> Float:
    """Surface brightness (...) at ``radius`` in effective radii, for a total light of 1."""
    b = sersic_b(index)
    total = 2 * np.pi * index * b ** (-2 * index) * gamma(2 * index)
    return np.asarray(np.exp(-b * radius ** (1 / index)) / total)


@lru_cache(maxsize=1)
def mixture() -> torch.Tensor:
    """(index, width) light in each Gaussian, of INDICES and WIDTHS; each row sums to 1.

    Fitted to the light within circles, which weighs every radius by the light that is there.
    """
    radii = np.geomspace(0.003, 30.0, 200)
    inside = 1 - np.exp(-0.5 * (radii[:, None] / WIDTHS) ** 2)
    rows = []
    for index in INDICES:
        light = gammainc(2 * index, sersic_b(index) * radii ** (1 / index))
        weights = nnls(inside, light)[0]
        rows.append(weights / weights.sum())
    return torch.tensor(np.array(rows), dtype=torch.float32)


def weights_of(index: torch.Tensor) -> torch.Tensor:
    """(n, width) light in each Gaussian of sources with Sérsic ``index`` (n,)."""
    table = mixture().to(index.device)
    at = ((index - INDICES[0]) / 0.1).clamp(0, len(INDICES) - 1.001)
    low = at.long()
    part = (at - low)[:, None]
    return torch.lerp(table[low], table[low + 1], part)


def pixel_image(shapes: Shapes, fwhm: float, half: int, across: int) -> torch.Tensor:
    """(n, row, column) light in pixels, of total 1, under a PSF of ``fwhm`` pixels.

    ``across`` rows to either side of the middle one, and ``half`` columns. Light beyond the edges
    is missing, not folded back.
    """
    device = shapes.r_eff.device
    y = torch.arange(-across, across + 1, device=device) - shapes.row[:, None]
    x = torch.arange(-half, half + 1, device=device) - shapes.column[:, None]
    cos2, sin2 = torch.cos(2 * shapes.angle), torch.sin(2 * shapes.angle)
    mean, part = (1 + shapes.axis_ratio**2) / 2, (1 - shapes.axis_ratio**2) / 2
    size = shapes.r_eff[:, None] ** 2 * torch.tensor(WIDTHS**2, dtype=x.dtype, device=device)
    base = (fwhm / FWHM) ** 2 + PIXEL_VARIANCE
    vxx = base + size * (mean + part * cos2)[:, None]  # (n, width)
    vyy = base + size * (mean - part * cos2)[:, None]
    vxy = size * (part * sin2)[:, None]
    det = vxx * vyy - vxy**2
    level = weights_of(shapes.index) / (2 * torch.pi * det.sqrt())
    image = torch.zeros(len(y), y.shape[1], x.shape[1], device=device)
    for k in range(len(WIDTHS)):
        xx = (-0.5 * vyy[:, k] / det[:, k])[:, None] * x**2
        yy = (-0.5 * vxx[:, k] / det[:, k])[:, None] * y**2 + level[:, k, None].log()
        term = torch.baddbmm(
            xx[:, None, :], (vxy[:, k] / det[:, k])[:, None, None] * y[:, :, None], x[:, None, :]
        )
        # far below float32's least normal number exp is ten times slower, and nothing is left
        image += term.add_(yy[:, :, None]).clamp_(min=FAINTEST).exp_()
    return image


@lru_cache(maxsize=8)
def refining(half: int, oversample: int) -> torch.Tensor:
    """(2 half + 1, 2 half oversample + 1) matrix from whole columns to ``oversample`` a pixel.

    Kaiser-windowed sinc: a Gaussian PSF of sigma 1.3 pixels holds 1e-3 of its contrast, and one of
    1.7 pixels 1e-6, beyond what whole pixels sample. Sums over whole pixels stay what they are.
    """
    fine = np.arange(-half * oversample, half * oversample + 1) / oversample
    apart = fine - np.arange(-half, half + 1)[:, None]
    window = np.i0(KAISER * np.sqrt(np.clip(1 - (apart / TAPS) ** 2, 0, None)))
    taps = np.where(np.abs(apart) < TAPS, np.sinc(apart) * window, 0.0)
    every = fine[:oversample] - np.arange(-half - TAPS, TAPS - half + 1)[:, None]
    full = np.sinc(every) * np.i0(KAISER * np.sqrt(np.clip(1 - (every / TAPS) ** 2, 0, None)))
    norm = np.where(np.abs(every) < TAPS, full, 0.0).sum(axis=0)
    taps /= np.resize(norm, len(fine))
    return torch.tensor(taps, dtype=torch.float32)
