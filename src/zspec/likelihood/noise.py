"""The error of the model, added to the noise of the data.

No basis of ten vectors fits a spectrum of SNR 50 to its noise. Without a term for that, differences
of chi2 at high SNR measure the shortcomings of the bases, and say thousands where they mean little.
So

    sigma² = 1 / ivar + (f · level)²,

with ``level`` the running mean of the flux. It is made of the data alone, hence the same for every
class and redshift of a spectrum, and Σ ln sigma² cancels between them. A rescaled spectrum has the
same posterior. f is learned from residuals of real spectra, and stored with the bases.
"""

from __future__ import annotations

import dataclasses

import torch

from zspec.likelihood.pixels import Native

REACH = 5
"""Native pixels on either side over which the flux is averaged: lines count, single pixels not."""


def with_model_error(pixels: Native, fraction: float) -> Native:
    """The same pixels with the error of the model in their ivar; one without weight stays so."""
    if fraction == 0:
        return pixels
    ends = [len(wave) for wave in pixels.waves]
    parts = zip(torch.split(pixels.flux, ends, 1), torch.split(pixels.ivar, ends, 1), strict=True)
    level = torch.cat([running_mean(flux, ivar) for flux, ivar in parts], dim=1)
    ivar = pixels.ivar / (1 + pixels.ivar * (fraction * level) ** 2)
    return dataclasses.replace(pixels, ivar=ivar)


def running_mean(flux: torch.Tensor, ivar: torch.Tensor) -> torch.Tensor:
    """(n, pixel) mean of flux over 2 REACH + 1 pixels, weighted by ivar; 0 where none has any."""
    return _windowed(flux * ivar) / _windowed(ivar).clamp(min=1e-300)


def _windowed(values: torch.Tensor) -> torch.Tensor:
    """(n, pixel) mean over the window, with zeros beyond both ends."""
    return torch.nn.functional.avg_pool1d(values[:, None], 2 * REACH + 1, 1, REACH)[:, 0]
