"""Matched filters that are learned, on the survey's own pixels: the other network of features.

Global average pooling (:mod:`~zspec.slitless.network`) keeps what a feature is and loses where it
was, and a redshift is a place: after 1.3 million spectra such a network is still 0.004 off where
the SNR is above 16. Here places stay. Small convolutions on native pixels make lines and breaks;
they are put on an even grid of ln λ, where a redshift is a shift, and correlated with kernels in
the rest frame at all shifts (:class:`zspec.proposal.network.Filters`). What comes out is a density
over ln(1 + z), trained by cross-entropy, so that two readings of one line remain two.

Unusual: features are no activations. They are what the density says (its highest place, its width
and the masses around it) and the numbers about the whole spectrum. A head may move the redshift
within its peak only, and counts sigma in widths of the density: a Gaussian's likelihood is highest
at the mean of two readings, where there is no redshift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zspec.proposal.inputs import CHANNELS, channels
from zspec.proposal.network import Block, Filters
from zspec.slitless.heads import gaussian
from zspec.slitless.inputs import BAD_ERROR
from zspec.slitless.network import Network

SHRINK = 4
"""Pixels per feature of the coarse path."""
SEGMENTS = 8
"""Parts of the spectrum whose mean features are among the numbers about the whole."""
KNOTS = 24
"""Knots of the curve that says how common redshifts are."""
MARGIN = 2
"""Bins beyond either end of the range: a redshift is a mean over neighbours."""
CORE = 2
"""Bins on either side of a peak whose mean is the redshift, and within which a head stays."""
HALVES = tuple(2.0**k for k in range(9))
"""Half-widths, in bins, within which the mass around the peak is a feature."""
LEAST = 0.3
"""Least width, in bins: the standard deviation of an even bin is 1/√12."""
EMPTY = 1e-4
"""Added to a mass before its logarithm."""


@dataclass(frozen=True)
class FilterSettings:
    """The size of it."""

    channels: int = 24
    """Features of each pixel."""
    coarse: int = 32
    """Features of each ``SHRINK`` pixels."""
    blocks: int = 1
    """Residual blocks of the fine path."""
    coarse_blocks: int = 3
    """Residual blocks of the coarse path; their dilation doubles from one to the next."""
    lines: int = 8
    """Features that the kernels see."""
    kernels: int = 24
    """Kernels in the rest frame."""
    hidden: int = 32
    """Units that weigh what the kernels found, the same at each redshift."""
    summary: int = 48
    """Numbers about the whole spectrum."""
    step: float = 1e-3
    """Width of a bin of ln(1 + z), and step of the grid of ln λ."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no network."""
        sizes = (self.channels, self.coarse, self.lines, self.kernels, self.hidden, self.summary)
        if min(sizes) < 1 or min(self.blocks, self.coarse_blocks) < 0:
            raise ValueError("sizes must be at least 1, and numbers of blocks at least 0")
        if not 1e-5 <= self.step <= 0.1:
            raise ValueError("step must lie in [1e-5, 0.1]")


class FilterNetwork(Network):
    """Flux and error to a density over ln(1 + z), and to features that describe it."""

    to_ln: Tensor
    place: Tensor

    def __init__(
        self, wave: Tensor, settings: FilterSettings, z_range: tuple[float, float]
    ) -> None:
        """``wave`` (wave,) Å, band after band; ``z_range`` is that of training."""
        super().__init__()
        self.step = settings.step
        ends = [math.log1p(z) / self.step for z in z_range]
        self.first = min(math.floor(ends[0]), 0) - MARGIN
        self.bins = math.ceil(ends[1]) + MARGIN + 1 - self.first
        self.size = 3 + len(HALVES) + settings.summary
        pixels = np.asarray(wave, np.float64)
        to_ln = even(pixels, self.step)
        self.register_buffer("to_ln", torch.from_numpy(to_ln).float(), persistent=False)
        ln = torch.log(wave)
        place = (2 * (ln - ln.min()) / (ln.max() - ln.min()) - 1).float()[None, None]
        self.register_buffer("place", place, persistent=False)
        self._make(settings, to_ln.shape[1])

    def _make(self, settings: FilterSettings, length: int) -> None:
        """All layers; ``length`` of the grid of ln λ."""
        fine, coarse, hidden = settings.channels, settings.coarse, settings.hidden
        self.enter = nn.Conv1d(len(CHANNELS) + 1, fine, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm1d(fine)
        self.fine = nn.Sequential(*[Block(fine, 1 + k) for k in range(settings.blocks)])
        self.down = nn.Conv1d(fine, coarse, 2 * SHRINK - 1, SHRINK, padding=SHRINK - 1)
        self.coarse = nn.Sequential(*[Block(coarse, 2**k) for k in range(settings.coarse_blocks)])
        self.up = nn.Conv1d(coarse, fine, 1)
        self.leave = nn.Conv1d(fine, settings.lines, 3, padding=1)
        self.filters = Filters(settings.lines, settings.kernels, length, self.first, self.bins)
        self.squeeze = nn.Conv1d(coarse, 16, 1)
        self.inner = nn.Linear(16 * SEGMENTS + 2 * coarse, 2 * settings.summary)
        self.outer = nn.Linear(2 * settings.summary, settings.summary)
        self.condition = nn.Linear(settings.summary, hidden)
        self.vote = nn.Conv1d(settings.kernels, hidden, 1)
        self.weigh = nn.Conv1d(hidden, hidden, 1)
        self.decide = nn.Conv1d(hidden, 1, 5, padding=2)
        self.curve = nn.Parameter(torch.zeros(1, 1, KNOTS))

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 2, wave) of scaled flux and error to logits (n, bin) and the summary (n, summary)."""
        error = torch.where(x[:, 1] < BAD_ERROR, x[:, 1], 0.0)
        x = torch.cat([channels(x[:, 0], error), self.place.expand(len(x), 1, -1)], 1)
        fine = self.fine(functional.relu(self.norm(self.enter(x))))
        coarse = self.coarse(functional.relu(self.down(fine)))
        spread = functional.interpolate(self.up(coarse), size=fine.shape[-1], mode="nearest")
        lines = self.leave(functional.relu(fine + spread)) @ self.to_ln  # (n, lines, ln λ)
        summary = self._summarise(coarse)
        inner = functional.relu(
            self.vote(self.filters(lines)) + self.condition(summary)[:, :, None]
        )
        logits = self.decide(functional.relu(self.weigh(inner)))[:, 0]
        curve = functional.interpolate(
            self.curve, size=self.bins, mode="linear", align_corners=True
        )
        return logits + curve[0], summary

    def _summarise(self, coarse: Tensor) -> Tensor:
        """(n, coarse, place) to (n, summary)."""
        parts = functional.adaptive_avg_pool1d(self.squeeze(coarse), SEGMENTS).flatten(1)
        whole = torch.cat([parts, coarse.mean(-1), coarse.amax(-1)], 1)
        made: Tensor = self.outer(functional.relu(self.inner(whole)))
        return made

    def features(self, x: Tensor) -> Tensor:
        """(n, 2, wave) of scaled flux and error to (n, features): redshift, ln width, the rest."""
        logits, summary = self.logits(x)
        return torch.cat([describe(logits, self.first, self.step), summary], 1)

    def point(self, features: Tensor) -> Tensor:
        """(n, features) to the redshift (n,) of the highest peak."""
        return features[:, 0]

    def answer(self, raw: Tensor, features: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma (..., n): within ``CORE`` bins of the peak, and in units of the width."""
        mean, sigma = gaussian(raw)
        z, width = features[:, 0], features[:, 1].exp()
        reach = CORE * self.step * (1 + z)
        return z + reach * torch.tanh(mean), width * sigma

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Mean cross-entropy in nats; a redshift between two bins is shared by both."""
        logits, _ = self.logits(x)
        place = torch.log1p(z) / self.step - self.first
        low = place.floor().long().clamp(0, self.bins - 2)
        upper = (place - low).to(logits).clamp(0, 1)
        log_p = logits.log_softmax(1)
        pair = log_p.gather(1, torch.stack([low, low + 1], 1))
        return -((1 - upper) * pair[:, 0] + upper * pair[:, 1]).mean()


def describe(logits: Tensor, first: int, step: float) -> Tensor:
    """What a density says, (n, 3 + halves): z of its peak, ln width in z, entropy, masses beyond.

    logits: (n, bin) of bins ``first`` and following, ``step`` wide in ln(1 + z). The peak is where
    2 · CORE + 1 bins hold most; width is the root of the mean square of z from it.
    """
    p = logits.softmax(1)
    window = 2 * CORE + 1
    held = functional.avg_pool1d(p[:, None], window, 1, CORE)[:, 0]
    index = held.argmax(1, keepdim=True) + torch.arange(-CORE, CORE + 1, device=p.device)
    index = index.clamp(0, p.shape[1] - 1)
    core = p.gather(1, index)
    peak = (core * index).sum(1, keepdim=True) / core.sum(1, keepdim=True)  # (n, 1) in bins
    away = torch.arange(p.shape[1], device=p.device) - peak
    width = ((p * away**2).sum(1) + LEAST**2).sqrt()
    beyond = [(p * (away.abs() > half)).sum(1) for half in HALVES]
    z = torch.expm1((peak[:, 0] + first) * step)
    entropy = torch.special.entr(p).sum(1)
    masses = [(mass + EMPTY).log() for mass in beyond]
    return torch.stack([z, (width * step * (1 + z)).log(), entropy, *masses], 1)


def even(wave: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """(wave, length): what puts values at ``wave`` (Å) on an even grid of ln λ from the bluest on.

    Linear between the pixels of a band; a band ends where wavelengths fall. Where bands overlap
    their mean is taken, and where there is none 0.
    """
    ln = np.log(wave)
    x = ln.min() + step * np.arange(math.ceil(np.ptp(ln) / step) + 1)
    made, count = np.zeros((len(wave), len(x))), np.zeros(len(x))
    for band in np.split(np.arange(len(wave)), np.flatnonzero(np.diff(wave) <= 0) + 1):
        inside = np.flatnonzero((x >= ln[band[0]]) & (x <= ln[band[-1]]))
        place = np.interp(x[inside], ln[band], np.arange(len(band)))
        low = np.clip(place.astype(int), 0, max(len(band) - 2, 0))
        high = np.minimum(low + 1, len(band) - 1)
        made[band[low], inside] += 1 - (place - low)
        made[band[high], inside] += place - low
        count[inside] += 1
    return made / np.maximum(count, 1)
