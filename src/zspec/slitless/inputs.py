"""What the network sees of a spectrum: flux and error in units of the spectrum's own level.

Both channels of a spectrum are divided by one number, so that nothing depends on the unit of flux
but the ratio of flux to error stays. A bad pixel has flux 0 and ``BAD_ERROR``: an error of 0 would
say that flux 0 is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

BAD_ERROR = 10.0
"""Error of a bad pixel, in units of the level; noisier pixels tell nothing and count as bad."""
HIGHEST = 30.0
"""Largest |flux| in units of the level: a cosmic ray must not outshine the spectrum."""


def scale(flux: Tensor, error: Tensor) -> Tensor:
    """Channels (n, 2, wave) of flux and error (n, wave), in one unit; error 0 is a bad pixel.

    The level is the root of the mean flux² weighted by ivar: pixels at the edge of a band, where
    the error is huge, do not set it. A row without a good pixel is all bad. Pixels that are not
    good must have flux 0; NaN is not allowed.
    """
    good = error > 0
    masked = torch.where(good, error, torch.inf)
    # relative to the best pixel, so that no unit of flux overflows
    weight = (masked.amin(-1, keepdim=True).clamp_max(torch.finfo(flux.dtype).max) / masked) ** 2
    mean = (weight * flux**2).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(1.0)
    level = mean.sqrt()
    level = torch.where(level > 0, level, 1.0)
    noise = torch.where(good, error / level, BAD_ERROR)
    used = good & (noise < BAD_ERROR)
    signal = torch.where(used, flux / level, 0.0).clamp(-HIGHEST, HIGHEST)
    return torch.stack([signal, torch.where(used, noise, BAD_ERROR)], 1)


def observe(flux: Tensor, error: Tensor) -> Tensor:
    """Fresh noise of 1 sigma on flux (n, wave); bad pixels stay as they are.

    On a noise-free spectrum this is one more observation of it. On one that is noisy already it is
    P2's augmentation, and its noise becomes √2 of what the error says.
    """
    return flux + error * torch.randn_like(flux)


def signal_to_noise(flux: Tensor, error: Tensor) -> Tensor:
    """(n,) median of flux / error over good pixels; 0 in a row without any."""
    ratio = torch.where(error > 0, flux / torch.where(error > 0, error, 1.0), torch.nan)
    return ratio.nanmedian(-1).values.nan_to_num(0.0)
