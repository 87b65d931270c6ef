"""From flux density to electrons on the detector: a grating of constant dispersion.

A source's first order is the sum over wavelength of its direct image, shifted along the rows. With
an achromatic PSF that is the convolution of its electrons per sub-pixel with every row of its
image. A slitless spectrum is broadened by its own source: that follows, nothing is added for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Float = NDArray[np.float64]

PLANCK = 6.62607015e-27  # erg s; CODATA 2018
LIGHT = 2.99792458e18  # Å/s; CODATA 2018
FLUX_UNIT = 1e-17  # erg/s/cm2/Å
OVERSAMPLE = 3
"""Sub-pixels of electrons in a pixel. Each photon is shared by two of them so that its mean place
is exact; that widens a line by at most 1/4 sub-pixel², a hundredth of the narrowest PSF's."""


@dataclass(frozen=True)
class Band:
    """One grating and its detector."""

    name: str
    first: float
    """Å; wavelength at the centre of the first pixel, of a source at its place."""
    step: float
    """Å a pixel."""
    pixels: int
    """Number of pixels along the dispersion."""
    sky: float
    """e-/s/pixel."""
    throughput_first: float
    """Å; where ``throughput`` starts."""
    throughput_step: float
    """Å."""
    throughput: tuple[float, ...]
    """Electrons per photon at the telescope's mouth, first order; 0 outside, linear in between."""
    zero_order: float
    """Throughput of the zero order over that of the first."""

    def wave(self) -> Float:
        """(pixel,) Å, centres."""
        return np.asarray(self.first + self.step * np.arange(self.pixels), np.float64)

    def efficiency(self, wave: Float) -> Float:
        """Throughput at ``wave`` in Å."""
        grid = self.throughput_first + self.throughput_step * np.arange(len(self.throughput))
        return np.asarray(np.interp(wave, grid, self.throughput, left=0.0, right=0.0), np.float64)

    def range(self) -> tuple[float, float]:
        """Å; first and last wavelength that leaves an electron."""
        last = self.throughput_first + self.throughput_step * (len(self.throughput) - 1)
        return self.throughput_first, last


def electrons(band: Band, wave: Float, area_time: float) -> Float:
    """Electrons per Å for a flux density of 1e-17 erg/s/cm2/Å at ``wave`` (wave,) in Å.

    area_time: cm2 s, of the mirror and of all exposures.
    """
    photons = FLUX_UNIT * wave / (PLANCK * LIGHT)
    return photons * band.efficiency(wave) * area_time


class Deposit:
    """Sums flux densities on a fine grid to electrons in sub-pixels of one band."""

    def __init__(self, band: Band, wave: Float, area_time: float) -> None:
        """For fine wavelengths (wave,) evenly spaced in ln λ; all that leave an electron count."""
        step = np.log(wave[-1] / wave[0]) / (len(wave) - 1)
        value = electrons(band, wave, area_time) * wave * step
        blue, red = ((edge - band.first) / band.step for edge in band.range())
        self.start = int(np.floor(blue)) * OVERSAMPLE
        """Sub-pixel of the first column, counted from the centre of the band's first pixel."""
        low = np.floor((wave - band.first) / band.step * OVERSAMPLE).astype(np.int64)
        share = (wave - band.first) / band.step * OVERSAMPLE - low
        count = int(np.ceil(red)) * OVERSAMPLE + 2 - self.start
        index = np.concatenate([low, low + 1]) - self.start
        weight = np.concatenate([value * (1 - share), value * share])
        there = weight > 0
        source = np.tile(np.arange(len(wave)), 2)
        self._matrix = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([index[there], source[there]])),
            torch.from_numpy(weight[there].astype(np.float32)),
            (count, len(wave)),
            check_invariants=False,
        ).coalesce()

    def __call__(self, flux: torch.Tensor) -> torch.Tensor:
        """(n, sub-pixel) electrons of flux densities (n, wave) in 1e-17 erg/s/cm2/Å."""
        self._matrix = self._matrix.to(flux.device)
        made: torch.Tensor = torch.sparse.mm(self._matrix, flux.T)
        return made.T.contiguous()

    def window(self, light: torch.Tensor, pixels: int, half: int, shift: int) -> torch.Tensor:
        """(n, sub-pixel) that reach the band's ``pixels``, of sources moved redward.

        light: (n, sub-pixel) of a call. ``half`` pixels to either side are kept; ``shift`` is in
        sub-pixels. There is no light where the throughput is 0.
        """
        first = -half * OVERSAMPLE - self.start - shift
        last = first + (pixels - 1 + 2 * half) * OVERSAMPLE + 1
        kept = light[:, max(first, 0) : max(last, 0)]
        before = min(max(-first, 0), last - first)
        return torch.nn.functional.pad(kept, (before, last - first - before - kept.shape[1]))


def disperse(light: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """(n, row, pixel) electrons: ``light`` (n, sub-pixel) in the places of ``image``.

    image: (n, row, column) with ``OVERSAMPLE`` columns a pixel, or any weighted sums of its rows.
    Every pixel is a sum over the sub-pixels of light within the image's width of it.
    """
    windows = light.unfold(1, image.shape[2], OVERSAMPLE)  # (n, pixel, column)
    return torch.bmm(image.flip(2), windows.transpose(1, 2))
