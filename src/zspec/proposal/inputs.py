"""What the network sees of a spectrum: five channels that depend on no unit and no survey.

Flux comes three times, as what is there differs with the SNR: in units of the spectrum's own level
(the shape of a bright one), in units of its error (how sure each pixel is), and in units of its
error after a running mean is taken off (lines and breaks of a faint one).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CHANNELS = ("shape", "signal", "detail", "weight", "good")
"""Names of the channels, in order."""
WINDOW = 61
"""Pixels of the running mean: wider than a broad line, narrower than a continuum."""
HIGHEST = 20.0
"""Largest |flux| in units of the level: a cosmic ray must not outshine the spectrum."""
RANGE = (-6.0, 6.0)
"""Limits of ln(level / error)."""


def channels(flux: Tensor, error: Tensor) -> Tensor:
    """(n, channel, wave) float32 of flux and error (n, wave), in one unit; error 0 is a bad pixel.

    All channels are 0 in a bad pixel. A row without a good pixel is all 0. NaN is not allowed.
    """
    good = error > 0
    safe = torch.where(good, error, 1.0)
    flux = torch.where(good, flux, 0.0)
    level = _level(flux, safe, good)
    signal = flux / safe
    weight = torch.where(good, (level / safe).clamp(max=1e4), 0.0)
    shape = flux / level
    detail = (shape - _running_mean(shape.clamp(-HIGHEST, HIGHEST), weight)) * weight
    made = [
        _compress(shape.clamp(-HIGHEST, HIGHEST)),
        _compress(signal),
        _compress(detail),
        torch.where(good, weight.clamp(min=1e-6).log().clamp(*RANGE) / 3, 0.0),
    ]
    return torch.stack([*made, good.to(flux.dtype)], 1)


def _level(flux: Tensor, error: Tensor, good: Tensor) -> Tensor:
    """(n, 1) mean of |flux|, pixels weighted by 1/error relative to the best; 1 where it is 0."""
    best = torch.where(good, error, torch.inf).amin(-1, keepdim=True)
    share = torch.where(good, best / error, 0.0)
    level = (share * flux.abs()).sum(-1, keepdim=True) / share.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(level > 0, level, 1.0)


def _running_mean(shape: Tensor, weight: Tensor) -> Tensor:
    """(n, wave) mean over ``WINDOW`` pixels weighted by ``weight``; 0 where there is none.

    Weighted by 1/error and not by its square: one pixel that a pipeline trusts too much would be
    all of the mean.
    """
    sums = torch.stack([shape * weight, weight], 1)
    total = functional.avg_pool1d(sums, WINDOW, 1, WINDOW // 2)
    return total[:, 0] / total[:, 1].clamp(min=1e-6)


def _compress(x: Tensor) -> Tensor:
    """Linear near 0, logarithmic beyond."""
    return torch.asinh(x)
