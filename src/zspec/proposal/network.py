"""The network: features on the log grid, matched filters in the rest frame, a vote per redshift.

What is unusual in it:

- a redshift moves a spectrum on a log grid, so the same kernels are correlated with the features at
  all shifts (one FFT), and a line that was learned at one redshift is known at every other;
- the kernels run over features, not flux: a stem of small convolutions decides first what is a
  line, an edge or an artefact, at two resolutions;
- a few numbers about the whole spectrum shift the units of the vote, so that a star's continuum or
  an empty fibre can silence it;
- an output besides all classes says that there is nothing on the fibre.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional

from zspec.proposal.inputs import CHANNELS

STRIDE = 2
"""Pixels of the grid per feature, which is a bin of ln(1 + z)."""
COARSE = 4
"""Features per feature of the coarse path."""
SEGMENTS = 12
"""Parts of the spectrum whose mean features make the numbers about the whole."""
KNOTS = 16
"""Bins of ln(1 + z) between two knots of each class's own curve."""


@dataclass(frozen=True)
class NetworkSettings:
    """The size of the network."""

    channels: int = 32
    """Of the fine features."""
    coarse: int = 64
    """Of the coarse features."""
    blocks: int = 2
    """Residual blocks of the fine path."""
    coarse_blocks: int = 3
    """Residual blocks of the coarse path; their dilation doubles from one to the next."""
    lines: int = 12
    """Features that the kernels see."""
    filters: int = 32
    """Kernels in the rest frame."""
    hidden: int = 48
    """Units of the vote at each redshift."""
    summary: int = 64
    """Numbers about the whole spectrum: the feature space of OUT_OF_DISTRIBUTION."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no network."""
        sizes = (self.channels, self.coarse, self.lines, self.filters, self.hidden, self.summary)
        if min(sizes) < 1 or min(self.blocks, self.coarse_blocks) < 0:
            raise ValueError("sizes must be at least 1, and numbers of blocks at least 0")


class Block(nn.Module):
    """Two convolutions with batch norm, and what came in."""

    def __init__(self, channels: int, dilation: int) -> None:
        """Kernels of 5 pixels, ``dilation`` apart in the second convolution."""
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 5, padding=2, bias=False)
        self.second = nn.Conv1d(
            channels, channels, 5, padding=2 * dilation, dilation=dilation, bias=False
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(channels) for _ in range(2)])
        nn.init.zeros_(self.norms[1].weight)  # type: ignore[arg-type]  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        """(n, channel, wave) to the same."""
        inner = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(x + self.norms[1](self.second(inner)))


class Stem(nn.Module):
    """Features of the spectrum at two resolutions."""

    def __init__(self, settings: NetworkSettings) -> None:
        """See the settings."""
        super().__init__()
        fine, coarse = settings.channels, settings.coarse
        self.enter = nn.Conv1d(len(CHANNELS), fine, 7, STRIDE, padding=3, bias=False)
        self.norm = nn.BatchNorm1d(fine)
        self.fine = nn.Sequential(*[Block(fine, 1 + k) for k in range(settings.blocks)])
        self.down = nn.Conv1d(fine, coarse, 2 * COARSE - 1, COARSE, padding=COARSE - 1)
        wide = [Block(coarse, 2**k) for k in range(settings.coarse_blocks)]
        self.coarse = nn.Sequential(*wide)
        self.up = nn.Conv1d(coarse, fine, 1)
        self.leave = nn.Conv1d(fine, settings.lines, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channel, wave) to (n, lines, feature) and (n, coarse, feature // COARSE)."""
        x = functional.relu(self.norm(self.enter(x)))
        fine = self.fine(x)
        coarse = self.coarse(functional.relu(self.down(fine)))
        spread = functional.interpolate(self.up(coarse), size=fine.shape[-1], mode="nearest")
        return self.leave(functional.relu(fine + spread)), coarse


class Filters(nn.Module):
    """Correlation of features with kernels in the rest frame, at every shift."""

    kernel: Tensor

    def __init__(self, lines: int, filters: int, features: int, first: int, bins: int) -> None:
        """Shifts ``first`` (below 0) to ``first + bins - 1``, in features: bins of ln(1 + z)."""
        super().__init__()
        self.first, self.bins = first, bins
        self.kept: tuple[object, Tensor] | None = None
        # all that a shift can bring together; a few more, that no shift reaches, make it fast
        self.size = next_fast_len(features + bins - 1, real=True)
        self.kernel = nn.Parameter(torch.empty(filters, lines, self.size))
        self.bias = nn.Parameter(torch.zeros(filters))
        nn.init.normal_(self.kernel, std=(lines * features) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, lines, feature) to (n, filter, bin).

        With shift s, out[s] = Σ x[i] kernel[i - s]; the kernel's index is modulo its length.
        """
        seen = torch.fft.rfft(x, self.size).permute(2, 0, 1)  # (frequency, n, lines)
        # one small product of matrices a frequency; of real ones, as they are faster than complex
        both = torch.bmm(torch.view_as_real(seen).flatten(2), self._multiplier())
        both = both.reshape(*both.shape[:2], -1, 2).permute(1, 2, 0, 3).contiguous()
        made = torch.fft.irfft(torch.view_as_complex(both), self.size)
        parts = (made[..., self.first :], made[..., : self.bins + self.first])  # first is below 0
        return torch.cat(parts, -1) + self.bias[:, None]

    def train(self, mode: bool = True) -> Filters:
        """As every module's; what was kept is of another kernel once there was a training."""
        if mode:
            self.kept = None
        return super().train(mode)

    def _multiplier(self) -> Tensor:
        """What ``_turned`` makes of the kernel: kept while nothing is learned."""
        if self.training or torch.is_grad_enabled():
            return _turned(self.kernel)
        state = (self.kernel._version, self.kernel.device, self.kernel.data_ptr())
        if self.kept is None or self.kept[0] != state:
            self.kept = (state, _turned(self.kernel))
        return self.kept[1]


def _turned(kernel: Tensor) -> Tensor:
    """(f, 2 lines, 2 filters) real: correlates (real, imaginary) with (filters, lines, size)."""
    waves = torch.fft.rfft(kernel).permute(2, 1, 0)  # (f, lines, filters)
    real, imaginary = waves.real, waves.imag
    rows = [torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)]
    return torch.stack(rows, 2).flatten(3).flatten(1, 2)


class Summary(nn.Module):
    """A few numbers about the whole spectrum."""

    def __init__(self, settings: NetworkSettings) -> None:
        """See the settings."""
        super().__init__()
        self.squeeze = nn.Conv1d(settings.coarse, 16, 1)
        self.inner = nn.Linear(16 * SEGMENTS + 2 * settings.coarse, 2 * settings.summary)
        self.outer = nn.Linear(2 * settings.summary, settings.summary)

    def forward(self, coarse: Tensor) -> Tensor:
        """(n, coarse, place) to (n, summary)."""
        parts = functional.adaptive_avg_pool1d(self.squeeze(coarse), SEGMENTS).flatten(1)
        whole = torch.cat([parts, coarse.mean(-1), coarse.amax(-1)], 1)
        made: Tensor = self.outer(functional.relu(self.inner(whole)))
        return made


class Network(nn.Module):
    """Channels to a logit for each class and bin, and one for nothing at all."""

    def __init__(
        self, settings: NetworkSettings, pixels: int, first: int, bins: int, classes: int
    ) -> None:
        """For ``pixels`` of the grid, and bins from ``first``, 0 being redshift 0."""
        super().__init__()
        features = -(-pixels // STRIDE)
        hidden = settings.hidden
        self.stem = Stem(settings)
        self.filters = Filters(settings.lines, settings.filters, features, first, bins)
        self.summary = Summary(settings)
        self.condition = nn.Linear(settings.summary, hidden)
        self.vote = nn.Conv1d(settings.filters, hidden, 1)
        self.weigh = nn.Conv1d(hidden, hidden, 1)
        self.decide = nn.Conv1d(hidden, classes, 5, padding=2)
        self.overall = nn.Linear(settings.summary, classes + 1)
        self.curve = nn.Parameter(torch.zeros(classes, -(-bins // KNOTS) + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, channel, wave) to logits (n, class, bin), of nothing (n,), and the summary (n, f)."""
        lines, coarse = self.stem(x)
        with torch.autocast(x.device.type, enabled=False):  # transforms need 32 bits
            found = self.filters(lines.float())
        summary = self.summary(coarse).float()
        inner = functional.relu(self.vote(found) + self.condition(summary)[:, :, None])
        inner = functional.relu(self.weigh(inner))
        logits = self.decide(inner).float() + self._curves(found.shape[-1])
        overall = self.overall(summary).float()
        return logits + overall[:, :-1, None], overall[:, -1], summary

    def summarise(self, x: Tensor) -> Tensor:
        """(n, channel, wave) to the summary (n, f) alone."""
        made: Tensor = self.summary(self.stem(x)[1])
        return made.float()

    def _curves(self, bins: int) -> Tensor:
        """(class, bin) what each class adds at a redshift, whatever the spectrum."""
        size = KNOTS * (self.curve.shape[1] - 1) + 1
        made = functional.interpolate(
            self.curve[None], size=size, mode="linear", align_corners=True
        )
        return made[0, :, :bins]
