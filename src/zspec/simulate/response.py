"""The line spread of a spectrograph, and its pixels, as one sparse matrix.

Light at a fine wavelength is spread by a Gaussian whose sigma may change with wavelength, and what
falls between a pixel's edges is that pixel's. Each column holds where the light of one fine point
goes, and is normalised: no photon that lands on the detector is lost or made.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.grid import Float, bounds

if TYPE_CHECKING:
    from scipy.sparse import csr_array

REACH = 4.5
"""Sigmas; 7e-6 of the light of a Gaussian lies beyond."""

OVERSAMPLING = 1.25
"""Fine points per sigma of the narrowest line spread. A Gaussian sampled in steps h has a ripple of
2 exp(-2 pi^2 sigma^2 / h^2) (Poisson's sum): 1e-13 here, and 1e-4 for an object's line that is half
as wide as the line spread.
"""


def fine_grid(waves: Sequence[Float], sigmas: Sequence[Float]) -> Float:
    """(fine,) Å, even in ln λ, over all pixels (Å) and the reach of their line spread (Å)."""
    step = min(float(np.min(s / w)) for w, s in zip(waves, sigmas, strict=True)) / OVERSAMPLING
    pad = 1.0 + 2 * REACH * max(float(np.max(s / w)) for w, s in zip(waves, sigmas, strict=True))
    first = min(w[0] for w in waves) / pad
    last = max(w[-1] for w in waves) * pad
    return np.asarray(np.exp(np.arange(np.log(first), np.log(last) + step, step)), np.float64)


def spread(wave: Float, sigma: Float, fine: Float) -> csr_array:
    """(pixel, fine) weights: flux density of the fine points to mean flux density of the pixels.

    wave: (pixel,) Å, increasing; sigma: (fine,) Å, of light at each fine point; fine: (fine,) Å,
    even in ln λ. The share of column k in pixel p is the Gaussian's integral over the pixel, times
    the width of the fine point, over the width of the pixel.
    """
    from scipy.sparse import csr_array
    from scipy.special import ndtr

    left, right = bounds(wave)
    edges = np.append(left, right[-1])  # neighbouring pixels share their edges
    first = np.searchsorted(edges, fine - REACH * sigma, side="right") - 1
    last = np.searchsorted(edges, fine + REACH * sigma, side="left")
    first, last = np.clip(first, 0, len(wave)), np.clip(last, 0, len(wave))
    count = np.maximum(last - first, 0)
    indptr = np.concatenate([[0], np.cumsum(count)])
    column = np.repeat(np.arange(len(fine)), count)
    pixel = np.arange(indptr[-1]) - indptr[column] + first[column]
    centre, width = fine[column], sigma[column]
    upper, lower = ((edges[pixel + k] - centre) / width for k in (1, 0))
    share = ndtr(np.minimum(upper, REACH)) - ndtr(np.maximum(lower, -REACH))
    share /= ndtr(REACH) - ndtr(-REACH)  # what is cut off comes back: columns sum to 1
    step = float(np.log(fine[-1] / fine[0])) / (len(fine) - 1)
    weight = share * centre * (2 * np.sinh(step / 2)) / (edges[pixel + 1] - edges[pixel])
    return csr_array((weight, (pixel, column)), shape=(len(wave), len(fine)))


def to_torch(matrix: csr_array, device: str = "cpu") -> torch.Tensor:
    """The same matrix in float32 on a device, in compressed rows."""
    matrix.sort_indices()
    with warnings.catch_warnings():  # torch calls compressed rows a beta; results are tested
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
            check_invariants=True,
        )


def interpolate(table: NDArray[np.floating], wave: Float) -> Float:
    """(wave,) values of a table of (Å, value) rows; beyond its ends the nearest row's."""
    return np.asarray(np.interp(wave, table[:, 0], table[:, 1]), np.float64)
