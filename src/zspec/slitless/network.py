"""The residual network that turns flux and error into features, and its point redshift.

P2, section 3.1 and Fig. 6: a convolution of 32 kernels of 7 pixels, max-pooling, eight residual
blocks, global average pooling, dropout 0.2, one output. The paper gives neither the channels of
the blocks nor where they shrink: here they double at every second block, as in He et al. 2015.
Unusual: where ``position`` is set, ln λ of each pixel is a third channel. Global average pooling
forgets where a feature was, and a redshift is a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


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


class PointNetwork(nn.Module):
    """Flux and error to one number: the redshift, in units of the training's scale."""

    place: Tensor | None

    def __init__(
        self, wave: Tensor, channels: Sequence[int], stem: int, dropout: float, position: bool
    ) -> None:
        """``wave`` (wave,) Å; ``channels`` of the blocks; ``stem`` kernels of the first layer."""
        super().__init__()
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
        """(n, features) to (n,)."""
        out: Tensor = self.out(self.dropout(features))[:, 0]
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2, wave) to (n,)."""
        return self.point(self.features(x))
