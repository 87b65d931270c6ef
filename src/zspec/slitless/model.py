"""The whole network: one or several residual networks, each with a head on its frozen features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from zspec.slitless.heads import HeadSettings, Weights, gaussian, make_head
from zspec.slitless.network import PointNetwork
from zspec.slitless.recipe import NetworkSettings

COVARIANCE = 100_000
"""Rows that are enough for the covariance of features."""
ROWS = 512
"""Rows in a call: 200 passes of 64 units are 26 MB."""


class Passes(NamedTuple):
    """What all passes say of n spectra, in redshift."""

    z: Tensor
    """(n,) mean of the passes' means."""
    aleatoric: Tensor
    """(n,) root of the mean of sigma²: the data's own noise."""
    epistemic: Tensor
    """(n,) standard deviation of the means: what the network does not know."""
    point: Tensor
    """(n,) the point network's redshift, the mean over members."""
    distance: Tensor
    """(n,) Mahalanobis distance of the features from the training set's, over √features."""

    @property
    def sigma(self) -> Tensor:
        """(n,) both parts together: total variance = mean(sigma²) + var(mean)."""
        return torch.hypot(self.aleatoric, self.epistemic)


class Member(nn.Module):
    """One residual network and its head."""

    whiten: Tensor

    def __init__(self, wave: Tensor, network: NetworkSettings, head: HeadSettings) -> None:
        """``wave`` (wave,) Å."""
        super().__init__()
        shape = (network.channels, network.stem, network.dropout, network.position)
        self.point = PointNetwork(wave, *shape)
        size = network.channels[-1]
        self.head = make_head(size, head)
        self.register_buffer("whiten", torch.eye(size))

    def learn_features(self, features: Tensor) -> None:
        """Take mean, spread and covariance from features (n, feature) of the training set."""
        self.head.standardise(features.mean(0), features.std(0))
        normal = self.head.normal(features[:COVARIANCE]).double()
        covariance = normal.T @ normal / len(normal)
        values, vectors = torch.linalg.eigh(covariance)
        # directions without spread (units that never fire) say nothing of what is unusual
        inverse = torch.where(values > 1e-6 * values[-1], values.clamp_min(1e-30).rsqrt(), 0.0)
        self.whiten.copy_(vectors * inverse)

    def distance(self, normal: Tensor) -> Tensor:
        """(n,) of standardised features (n, feature); about 1 for spectra as in training."""
        return (normal @ self.whiten).square().mean(-1).sqrt()


class Model(nn.Module):
    """All members, and the units of their labels."""

    units: Tensor

    def __init__(
        self, wave: Tensor, network: NetworkSettings, head: HeadSettings, scale: float
    ) -> None:
        """``scale`` is what redshifts were multiplied by for the point network."""
        super().__init__()
        self.members = nn.ModuleList(Member(wave, network, head) for _ in range(network.members))
        self.scale = scale
        self.passes = max(1, head.passes // network.members)
        self.register_buffer("units", torch.tensor([0.0, 1.0]))

    def draw(self, seed: int) -> list[Weights]:
        """Weights of all passes, member by member; on the CPU, so that devices agree."""
        generator = Generator().manual_seed(seed)
        with torch.no_grad():
            return [member.head.draw(self.passes, generator) for member in self.members]  # type: ignore[operator,union-attr]

    def forward(self, x: Tensor, weights: list[Weights]) -> Passes:
        """All passes of spectra (n, 2, wave); features are computed once."""
        means, sigmas, points, distances = [], [], [], []
        for member, drawn in zip(self.members, weights, strict=True):
            assert isinstance(member, Member)
            features = member.point.features(x)
            normal = member.head.normal(features)
            mean, sigma = gaussian(drawn.run(normal))
            means.append(mean)
            sigmas.append(sigma)
            points.append(member.point.point(features))
            distances.append(member.distance(normal))
        centre, spread = self.units.double()
        mean = torch.cat(means).double() * spread + centre  # (p, n)
        variance = (torch.cat(sigmas).double() * spread).square().mean(0)
        return Passes(
            z=mean.mean(0),
            aleatoric=variance.sqrt(),
            epistemic=mean.var(0, correction=0).sqrt(),
            point=torch.stack(points).double().mean(0) / self.scale,
            distance=torch.stack(distances).mean(0),
        )

    @torch.inference_mode()
    def run(self, x: Tensor, weights: list[Weights]) -> Passes:
        """The same in pieces of ``ROWS``, on the device of the network; the result on the CPU."""
        self.eval()
        device = self.units.device
        there = [drawn.to(str(device)) for drawn in weights]
        parts = [self(piece.to(device), there) for piece in torch.split(x, ROWS)]
        return Passes(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))
