"""The whole network: one or several networks of features, each with a head on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from zspec.slitless.filters import FilterNetwork
from zspec.slitless.heads import Weights, make_head
from zspec.slitless.network import Network, PointNetwork
from zspec.slitless.recipe import Recipe

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
    """One network of features and its head."""

    whiten: Tensor

    def __init__(self, wave: Tensor, recipe: Recipe) -> None:
        """``wave`` (wave,) Å."""
        super().__init__()
        self.point = make_network(wave, recipe)
        self.head = make_head(self.point.size, recipe.head)
        self.register_buffer("whiten", torch.eye(self.point.size))

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

    def __init__(self, wave: Tensor, recipe: Recipe) -> None:
        """``wave`` (wave,) Å."""
        super().__init__()
        count = recipe.network.members
        self.members = nn.ModuleList(Member(wave, recipe) for _ in range(count))
        self.passes = max(1, recipe.head.passes // count)
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
            raw = drawn.run(normal).double()
            mean, sigma = member.point.answer(raw, features.double(), self.units.double())
            means.append(mean)
            sigmas.append(sigma)
            points.append(member.point.point(features))
            distances.append(member.distance(normal))
        mean = torch.cat(means)  # (p, n)
        variance = torch.cat(sigmas).square().mean(0)
        return Passes(
            z=mean.mean(0),
            aleatoric=variance.sqrt(),
            epistemic=mean.var(0, correction=0).sqrt(),
            point=torch.stack(points).double().mean(0),
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


def make_network(wave: Tensor, recipe: Recipe) -> Network:
    """The network that the recipe names, untrained."""
    said = recipe.network
    if said.kind == "filters":
        return FilterNetwork(wave, said.filters, recipe.label.z_range)
    shape = (said.channels, said.stem, said.dropout, said.position)
    return PointNetwork(wave, *shape, recipe.point.scale)
