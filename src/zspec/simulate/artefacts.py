"""What goes wrong between sky and file, each with a rate and a bit that says that it was injected.

Labels stay what they are, but for blank fibres, which have none.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch

from zspec.simulate.exposure import Conditions, Exposed
from zspec.simulate.optics import Optics
from zspec.simulate.spectrograph import Artefacts

SHAPE = (0.3, 1.0, 0.3)
"""Signal of a cosmic ray in neighbouring pixels, along the spectrum."""


class Artefact(enum.IntFlag):
    """Bits of the truth's column ARTEFACT; each is a sentence in the header of truth.fits."""

    BLANK = 1
    """The fibre saw sky alone."""
    MISSING_ARM = 2
    """One camera has no data."""
    COSMIC = 4
    """A cosmic ray was left in, and not masked."""
    BAD_COLUMN = 8
    """A run of pixels is off by a constant, and not masked."""
    CONTAMINATED = 16
    """Light of a neighbour, or a zero order, lies on the spectrum."""


@dataclass
class Injector:
    """Injects artefacts into one block, and keeps the bits."""

    rates: Artefacts
    optics: Optics
    rng: torch.Generator
    bits: torch.Tensor
    """(n,) int32."""

    @classmethod
    def of(cls, n: int, rates: Artefacts, optics: Optics, rng: torch.Generator) -> Injector:
        """An injector for ``n`` spectra that are clean so far."""
        return cls(rates, optics, rng, torch.zeros(n, dtype=torch.int32, device=rng.device))

    def blank(self, clean: torch.Tensor) -> None:
        """Take the object out of some of (pixel, n) noise-free spectra."""
        hit = self._share(self.rates.blank)
        clean[:, hit] = 0
        self.bits[hit] |= int(Artefact.BLANK)

    def spoil(self, exposed: Exposed, seen: Conditions) -> None:
        """All that happens to what was exposed, in place."""
        self._cosmics(exposed, seen)
        self._columns(exposed)
        self._lose(exposed)
        self._missing(exposed)

    def _share(self, rate: float) -> torch.Tensor:
        """(n,) True with probability ``rate``."""
        return torch.rand(len(self.bits), generator=self.rng, device=self.rng.device) < rate

    def _integers(self, high: int, count: int) -> torch.Tensor:
        """(count,) whole numbers below ``high``."""
        return torch.randint(high, (count,), generator=self.rng, device=self.rng.device)

    def _uniform(self, count: int) -> torch.Tensor:
        """(count,) numbers in [0, 1)."""
        return torch.rand(count, generator=self.rng, device=self.rng.device)

    def _cosmics(self, exposed: Exposed, seen: Conditions) -> None:
        """Cosmic rays: three pixels each."""
        expected = self.rates.cosmics * seen.seconds[0] / 1000
        hits = torch.poisson(expected, generator=self.rng).long()
        target = torch.repeat_interleave(hits)
        first = self._integers(len(exposed.flux) - len(SHAPE) + 1, len(target))
        signal = -self.rates.cosmic_electrons * torch.log1p(-self._uniform(len(target)))
        found = self._uniform(len(target)) < self.rates.found
        for k, part in enumerate(SHAPE):
            at = (first + k, target)
            exposed.flux.index_put_(at, signal * part * exposed.per_electron[at], accumulate=True)
            exposed.ivar[first[found] + k, target[found]] = 0
        self.bits[target[~found]] |= int(Artefact.COSMIC)

    def _columns(self, exposed: Exposed) -> None:
        """Bad columns: a run of pixels, off by a constant."""
        for target in torch.nonzero(self._share(self.rates.bad_columns))[:, 0].tolist():
            length = 1 + int(-self.rates.column_pixels * torch.log1p(-self._uniform(1)))
            first = int(self._integers(max(len(exposed.flux) - length, 1), 1))
            run = (slice(first, first + length), target)
            if float(self._uniform(1)) < self.rates.found:
                exposed.ivar[run] = 0
                continue
            size = torch.randn(1, generator=self.rng, device=self.rng.device)
            error = exposed.ivar[run].clamp(min=1e-30).rsqrt().median()
            exposed.flux[run] += self.rates.column_sigma * error * size
            self.bits[target] |= int(Artefact.BAD_COLUMN)

    def _lose(self, exposed: Exposed) -> None:
        """Pixels that are masked anyway, in runs of three."""
        pixels, n = exposed.ivar.shape
        rate = torch.tensor(self.rates.lost * pixels * n / 3, device=self.rng.device)
        count = int(torch.poisson(rate, generator=self.rng))
        first, target = self._integers(pixels - 2, count), self._integers(n, count)
        for k in range(3):
            exposed.ivar[first + k, target] = 0

    def _missing(self, exposed: Exposed) -> None:
        """One camera without data, where there are several."""
        cameras = self.optics.cameras
        if len(cameras) == 1:
            return
        hit = self._share(self.rates.missing_arm)
        which = self._integers(len(cameras), len(self.bits))
        for number, part in enumerate(cameras):
            exposed.ivar[part, hit & (which == number)] = 0
        self.bits[hit] |= int(Artefact.MISSING_ARM)
