"""The residual network that turns flux and error into features, and its point redshift.

P2, section 3.1 and Fig. 6: a convolution of 32 kernels of 7 pixels, max-pooling, eight residual
blocks, global average pooling, dropout 0.2, one output. The paper gives neither the channels of
the blocks nor where they shrink: here they double at every second block, as in He et al. 2015.
Unusual: where ``position`` is set, ln λ of each pixel is a third channel. Global average pooling
forgets where a feature was, and a redshift is a place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from zspec.slitless.heads import gaussian


class Block(nn.Module):
    """Two convolutions of 3 pixels with batch norm, and a skip.

    The skip has a convolution where the block has more channels than its input, and is half as
    long.
    """

    def __init__(self, before: int, after: int) -> None:
        """From ``before`` to ``after`` channels; it shrinks where they differ."""
        super().__init__()
        stride = 1 if before == after else 2
        self.body = nn.Sequential(
            nn.Conv1d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(),
            nn.Conv1d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm1d(after),
        )
        self.skip: nn.Module = nn.Identity()
        if before != after:
            skip = nn.Conv1d(before, after, 1, stride, bias=False)
            self.skip = nn.Sequential(skip, nn.BatchNorm1d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, length) to (n, after, length or half of it)."""
        out: Tensor = torch.relu(self.body(x) + self.skip(x))
        return out


class Network(nn.Module):
    """Base: what makes features, and is trained on redshifts before it is frozen."""

    size: int
    """Number of features."""

    def features(self, x: Tensor) -> Tensor:
        """(n, 2, wave) of scaled flux and error to (n, features)."""
        raise NotImplementedError

    def point(self, features: Tensor) -> Tensor:
        """(n, features) to redshifts (n,)."""
        raise NotImplementedError

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """What is made small: of (n, 2, wave) whose redshifts are ``z`` (n,)."""
        raise NotImplementedError

    def answer(self, raw: Tensor, features: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """What a head says (..., n, 2) of features (n, feature) as mean and sigma (..., n) of z.

        ``units`` (2,) are mean and spread of all labels, which a network may count in.
        """
        mean, sigma = gaussian(raw)
        return units[0] + units[1] * mean, units[1] * sigma


class PointNetwork(Network):
    """Flux and error to one number: the redshift."""

    place: Tensor | None

    def __init__(
        self,
        wave: Tensor,
        channels: Sequence[int],
        stem: int,
        dropout: float,
        position: bool,
        scale: float = 1.0,
    ) -> None:
        """``wave`` (wave,) Å; ``channels`` of the blocks; ``stem`` kernels of the first layer.

        ``scale`` is what redshifts are multiplied by before log-cosh.
        """
        super().__init__()
        self.size, self.scale = channels[-1], scale
        ln = torch.log(wave)
        place = (2 * (ln - ln.min()) / (ln.max() - ln.min()) - 1).float()[None, None]
        self.register_buffer("place", place if position else None, persistent=False)
        inputs = 3 if position else 2
        self.stem = nn.Sequential(
            nn.Conv1d(inputs, stem, 7, padding=3, bias=False),
            nn.BatchNorm1d(stem),
            nn.ReLU(),
            nn.MaxPool1d(2),
        )
        widths = [stem, *channels]
        self.blocks = nn.Sequential(*(Block(before, after) for before, after in pairwise(widths)))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(widths[-1], 1)

    def features(self, x: Tensor) -> Tensor:
        """(n, 2, wave) of scaled flux and error to (n, features)."""
        if self.place is not None:
            x = torch.cat([x, self.place.expand(len(x), 1, -1)], 1)
        x = self.stem(x)  # (n, stem, wave // 2)
        pooled: Tensor = self.blocks(x).mean(-1)  # (n, features)
        return pooled

    def point(self, features: Tensor) -> Tensor:
        """(n, features) to redshifts (n,)."""
        out: Tensor = self.out(self.dropout(features))[:, 0] / self.scale
        return out

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Mean log-cosh (P2, section 3.2)."""
        return log_cosh(self.scale * (self.point(self.features(x)) - z))


def log_cosh(difference: Tensor) -> Tensor:
    """Mean of ln cosh, without overflow (P2, section 3.2)."""
    size = difference.abs()
    return (size + functional.softplus(-2 * size) - math.log(2)).mean()
