"""From a two-dimensional spectrum to a one-dimensional one, and the same without the image.

Extraction is a weighted sum over rows with weights that do not depend on wavelength, and the image
is a convolution of every row with the same light: the two commute, so that one row of kernel gives
the extracted spectrum exactly, and its variance likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zspec.simulate.slitless.design import Extraction
from zspec.simulate.slitless.profile import PIXEL_VARIANCE


@dataclass(frozen=True)
class Weights:
    """How the rows of n sources are summed."""

    rows: torch.Tensor
    """(n, row); Σ rows × the light in each row is 1."""
    squared: torch.Tensor
    """(n,) Σ rows²: variance of the sum for 1 e-² a pixel."""
    gain: torch.Tensor
    """(n,) variance of the sum for 1 extracted e- of the source itself."""


def weigh_rows(image: torch.Tensor, method: Extraction) -> Weights:
    """Weights for direct images (n, row, column) of total light 1, which the pipeline knows.

    ``optimal`` has the least variance where the background dominates, and is without bias always.
    """
    across = image.sum(2)  # (n, row)
    rows = across
    if method.method == "box":
        sigma = equivalent_sigma(across)
        place = torch.arange(across.shape[1], device=image.device, dtype=image.dtype)
        centre = (across * place).sum(1) / across.sum(1)
        rows = ((place - centre[:, None]).abs() <= method.box * sigma[:, None]).to(image.dtype)
    rows = rows / (rows * across).sum(1, keepdim=True)
    return Weights(rows, (rows**2).sum(1), (rows**2 * across).sum(1))


def equivalent_sigma(profile: torch.Tensor) -> torch.Tensor:
    """(n,) sigma in columns of the Gaussian with the same Σ p² / (Σ p)² as (n, column) profiles.

    For a Gaussian its own; wings of a Sérsic profile, whose second moment may be far larger than
    the width that lines are seen with, count as little as they do in a matched filter.
    """
    share = profile / profile.sum(1, keepdim=True)
    sigma: torch.Tensor = 1 / (2 * torch.pi**0.5 * (share**2).sum(1))
    return sigma


def line_spread(kernel: torch.Tensor) -> torch.Tensor:
    """(n,) sigma of the line-spread function in pixels, without the pixel itself.

    kernel: (n, column) response to one wavelength, a column a pixel.
    """
    return (equivalent_sigma(kernel) ** 2 - PIXEL_VARIANCE).clamp(min=0).sqrt()


def collapse(image: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(n, column) sums of (n, row, column) over rows with weights (n, row)."""
    return torch.einsum("nrc,nr->nc", image, rows)


def running_mean(counts: torch.Tensor, width: int) -> torch.Tensor:
    """(n, pixel) mean of ``width`` pixels around each; of fewer at the ends."""
    pool = torch.nn.functional.avg_pool1d
    return pool(counts[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]
