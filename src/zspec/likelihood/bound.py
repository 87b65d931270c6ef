"""The Cramér-Rao bound: how well a redshift can be known from given pixels.

With m the model on native pixels, w the inverse variance and η all that is fitted besides z,

    F = Jᵀ diag(w) J over (z, η),   sigma_z² >= 1 / (F_zz - F_zη F_ηη⁻¹ F_ηz),

(e.g. Kay 1993, Fundamentals of Statistical Signal Processing, section 3.9, for white noise), where
∂m/∂z = -(∂m/∂ln λ) / (1 + z), and η are the coefficients of a basis at that redshift and the
polynomials of each arm, all of them free: there is no prior in it. For one unresolved line of width
s and total SNR ρ it is sigma_v = √2 c s / (λ ρ).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from zspec.likelihood import refine
from zspec.likelihood.basis import PIXEL_LN, Basis, broadened
from zspec.likelihood.interpolation import coefficients, slopes, taps
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.solve import Solutions, broadening

Array = NDArray[np.float64]
Weights = Callable[[torch.Tensor], torch.Tensor]
"""Of the four spline coefficients around a place between pixels."""

DEGREE = 5
"""Of the splines whose slope is ∂m/∂ln λ: right to 2 % for a line of sigma 0.8 pixels."""
RIDGE = 1e-10
"""Relative to the diagonal: directions that the data do not see stay out."""
ROWS = 64
"""Spectra at once: about 100 MB for three arms of 3,000 pixels."""
PAD = 4
"""Zeros beyond the ends of a basis."""


def cramer_rao(
    waves: Sequence[Array],
    flux: Sequence[NDArray[np.floating]],
    ivar: Sequence[NDArray[np.floating]],
    z: Array,
    basis: Basis | None = None,
    resolution: float = 0.0,
    tangents: Sequence[NDArray[np.floating]] | None = None,
) -> Array:
    """(n,) bound of 1 sigma of z, for noise-free spectra of known redshift.

    One entry an arm: ``waves`` (pixel,) in Å, vacuum; ``flux`` (n, pixel) through the instrument,
    without noise, and known in masked pixels too; ``ivar`` (n, pixel), 0 where a pixel is masked.
    ``z`` (n,). Marginal over three polynomials an arm and, where given, the vectors of ``basis``,
    broadened to ``resolution`` (sigma of the LSF in grid pixels; 0: as they are). ``tangents``
    (n, pixel) are ∂flux/∂z where they are known better than from the slope of the pixels. NaN where
    nothing is known of the redshift.
    """
    weights = torch.from_numpy(np.concatenate(ivar, axis=1, dtype=np.float64))
    if tangents is None:
        tangents = [_slope(w, f) / -(1 + z)[:, None] for w, f in zip(waves, flux, strict=True)]
    tangent = torch.from_numpy(np.concatenate(tangents, axis=1, dtype=np.float64))
    pixels = Native(tuple(np.asarray(w, np.float64) for w in waves), tangent, weights)
    shift = torch.from_numpy(np.log1p(z) / PIXEL_LN)
    sigma = broadening(basis, resolution) if basis else 0.0
    parts = [
        _bound(pixels[rows], tangent[rows], shift[rows], basis, sigma)
        for rows in (slice(i, i + ROWS) for i in range(0, len(z), ROWS))
    ]
    return np.concatenate([*(part.numpy() for part in parts), np.zeros(0)])


def of_fits(
    pixels: Native, found: Solutions, ranked: Ranked, bases: Sequence[Basis], resolution: float
) -> Array:
    """(n,) bound of 1 sigma of z of the first candidates' models, at their own redshifts.

    Noise in the coefficients makes the model's lines stronger than they are, and the bound smaller.
    """
    label, shift = found.label[ranked.column[:, 0]], ranked.of(found.shift)
    prepared = refine.prepare(pixels)
    out = torch.full_like(shift, torch.nan)
    for number in torch.unique(label).tolist():
        basis, rows = bases[number], (label == number).nonzero()[:, 0]
        sigma = broadening(basis, resolution)
        once = torch.zeros(len(rows), dtype=torch.bool)
        c = refine.refine(prepared, basis, rows, shift[rows], once, sigma).mixture  # (m, K)
        for at in (slice(i, i + ROWS) for i in range(0, len(rows), ROWS)):
            part, moved = pixels[rows[at]], shift[rows[at]]
            slope = (_sampled(part, moved, basis, sigma, slopes) @ c[at][..., None])[..., 0]
            tangent = -slope / PIXEL_LN * torch.exp(-moved * PIXEL_LN)[:, None]
            out[rows[at]] = _bound(part, tangent, moved, basis, sigma)
    return np.asarray(out.numpy())


def _slope(wave: Array, flux: NDArray[np.floating]) -> Array:
    """(n, pixel) ∂flux/∂ln λ."""
    spline = make_interp_spline(np.log(wave), np.asarray(flux, np.float64), k=DEGREE, axis=1)
    return np.asarray(spline.derivative()(np.log(wave)))


def _bound(
    pixels: Native, tangent: torch.Tensor, shift: torch.Tensor, basis: Basis | None, sigma: float
) -> torch.Tensor:
    """(n,) 1 / root of the information on z, whose ``tangent`` (n, pixel) is ∂m/∂z."""
    root = pixels.ivar.sqrt()
    design = pixels.polynomials.mT.expand(len(shift), -1, -1)
    if basis is not None:
        design = torch.cat([design, _sampled(pixels, shift, basis, sigma, taps)], 2)
    design = design * root[..., None]  # (n, pixel, η)
    tangent = tangent * root
    normal = design.mT @ design
    scale = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
    normal = normal * scale[:, :, None] * scale[:, None]
    normal.diagonal(dim1=1, dim2=2).add_(RIDGE)
    mixed = (design.mT @ tangent[..., None]) * scale[..., None]
    known = torch.cholesky_solve(mixed, torch.linalg.cholesky(normal))
    information = tangent.square().sum(1) - (mixed * known).sum((1, 2))
    return torch.where(information > 0, information, torch.nan).rsqrt()


def _sampled(
    pixels: Native, shift: torch.Tensor, basis: Basis, sigma: float, weights: Weights
) -> torch.Tensor:
    """(n, pixel, K) a basis at native wavelengths, or its slope per grid pixel."""
    padded = torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD))
    table = coefficients(padded).T  # (rest, K)
    moved = pixels.position - basis.k0 + PAD - shift[:, None]  # (n, pixel)
    whole = moved.floor()
    at = whole.clamp(0, len(table) - 1).long()
    near = weights(moved - whole)  # (n, pixel, 4)
    around = [(at + q).clamp(0, len(table) - 1) for q in range(-1, 3)]
    return sum(
        (table[place] * near[..., q, None] for q, place in enumerate(around)),
        start=torch.zeros(()).to(table),
    )
