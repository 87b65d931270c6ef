"""Layers on frozen features that give a mean and a sigma, and differ in what is random in them.

All have two dense layers with relu between (P2, Fig. 6) and one interface, so that they can be
compared: ``mnf`` draws weights from normalising flows (Louizos & Welling 2017), ``dropout`` drops
units at prediction too (Gal & Ghahramani 2015), ``gaussian`` draws nothing: several networks from
different starts with that head are a deep ensemble (Lakshminarayanan+2017).

A pass at prediction is one set of weights, the same for all rows: :class:`Weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from zspec.slitless.mnf import MNFDense

Kind = Literal["mnf", "dropout", "gaussian"]

SIGMA_FLOOR = 1e-4
"""Least sigma, in units of the network below: a likelihood must not diverge on one row."""


@dataclass(frozen=True)
class HeadSettings:
    """Which head, and how large."""

    kind: Kind = "mnf"
    """``mnf``, ``dropout`` or ``gaussian``."""
    hidden: int = 64
    """Units between the two layers (P2 does not say how many)."""
    flows: int = 2
    """Couplings of each flow: 2 in the package that P2 used, 50 in its text. ``mnf`` only."""
    flow_hidden: int = 50
    """Units in a coupling. ``mnf`` only."""
    dropout: float = 0.1
    """Share of features and units that a pass drops. ``dropout`` only."""
    length_scale: float = 1.0
    """Standard deviation of the weights' prior is its inverse (Gal & Ghahramani). ``dropout``."""
    passes: int = 200
    """Draws of the weights at prediction (P2, section 3.2), over all networks."""

    def __post_init__(self) -> None:
        """Refuse what makes no head. Raises ValueError."""
        if min(self.hidden, self.flows, self.flow_hidden, self.passes) < 1:
            raise ValueError("hidden, flows, flow_hidden and passes must be at least 1")
        if not 0 < self.dropout < 1 or not self.length_scale > 0:
            raise ValueError("dropout must lie in (0, 1), and length_scale be > 0")


class Weights(NamedTuple):
    """``p`` draws of both layers."""

    first: Tensor
    """(p, features, hidden)"""
    first_bias: Tensor
    """(p, hidden)"""
    second: Tensor
    """(p, hidden, 2)"""
    second_bias: Tensor
    """(p, 2)"""

    def run(self, features: Tensor) -> Tensor:
        """(n, features) to (p, n, 2): all passes of all rows in one call."""
        passes, inputs, hidden = self.first.shape
        wide = self.first.permute(1, 0, 2).reshape(inputs, passes * hidden)
        h = (features @ wide).view(-1, passes, hidden) + self.first_bias  # (n, p, hidden)
        return torch.baddbmm(self.second_bias[:, None], h.relu_().transpose(0, 1), self.second)

    def to(self, device: str) -> Weights:
        """The same on another device."""
        return Weights(*(part.to(device) for part in self))


class Head(nn.Module):
    """Base: standardised features in, mean and raw sigma out."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        """Features are standardised by the training set's, which ``standardise`` sets."""
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def standardise(self, centre: Tensor, spread: Tensor) -> None:
        """Mean and standard deviation (features,) of the training set; 0 spread counts as 1."""
        self.centre.copy_(centre)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def normal(self, features: Tensor) -> Tensor:
        """(n, features) standardised."""
        return (features - self.centre) / self.spread

    def forward(self, features: Tensor) -> Tensor:
        """(n, features) to (n, 2): one random pass, drawn anew for each row, for training."""
        raise NotImplementedError

    def penalty(self, n: int) -> Tensor:
        """What the loss holds beside the mean negative log-likelihood of ``n`` spectra."""
        raise NotImplementedError

    def draw(self, passes: int, generator: Generator) -> Weights:
        """Weights of ``passes`` passes."""
        raise NotImplementedError


class MNFHead(Head):
    """Two MNF layers; the penalty is KL / N."""

    def __init__(self, features: int, settings: HeadSettings) -> None:
        """See :class:`zspec.slitless.mnf.MNFDense`."""
        super().__init__(features)
        flows = (settings.flows, settings.flow_hidden)
        self.first = MNFDense(features, settings.hidden, *flows)
        self.second = MNFDense(settings.hidden, 2, *flows)

    def forward(self, features: Tensor) -> Tensor:
        """See :class:`Head`."""
        out: Tensor = self.second(torch.relu(self.first(self.normal(features))))
        return out

    def penalty(self, n: int) -> Tensor:
        """KL of both layers from one draw, per spectrum."""
        return (self.first.kl() + self.second.kl()) / n

    def draw(self, passes: int, generator: Generator) -> Weights:
        """See :class:`Head`."""
        first, second = (x.draw_weights(passes, generator) for x in (self.first, self.second))
        return Weights(*first, *second)


class PlainHead(Head):
    """Two plain layers, with dropout before each where ``settings.kind`` is ``dropout``.

    The penalty is that of Gal & Ghahramani 2015 (eq. 7 with precision 1: it is in the likelihood):
    (1 - p) l² |W|² / 2N, the Gaussian prior's; without dropout p = 0.
    """

    def __init__(self, features: int, settings: HeadSettings) -> None:
        """See :class:`HeadSettings`."""
        super().__init__(features)
        self.first = nn.Linear(features, settings.hidden)
        self.second = nn.Linear(settings.hidden, 2)
        self.share = settings.dropout if settings.kind == "dropout" else 0.0
        self.length_scale = settings.length_scale

    def forward(self, features: Tensor) -> Tensor:
        """See :class:`Head`."""
        x = functional.dropout(self.normal(features), self.share)
        x = functional.dropout(torch.relu(self.first(x)), self.share)
        out: Tensor = self.second(x)
        return out

    def penalty(self, n: int) -> Tensor:
        """See the class."""
        squares = self.first.weight.square().sum() + self.second.weight.square().sum()
        return (1 - self.share) * self.length_scale**2 * squares / (2 * n)

    def draw(self, passes: int, generator: Generator) -> Weights:
        """See :class:`Head`. Without dropout all passes are equal, and one is drawn."""
        passes = passes if self.share else 1
        first, second = (self._drop(x, passes, generator) for x in (self.first, self.second))
        return Weights(*first, *second)

    def _drop(self, layer: nn.Linear, passes: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """(passes, inputs, outputs) with rows of dropped inputs 0, and (passes, outputs)."""
        shape = (passes, layer.in_features, 1)
        drawn = torch.rand(shape, generator=generator, device=generator.device)
        kept = (drawn >= self.share).to(layer.weight) / (1 - self.share)
        return kept * layer.weight.T, layer.bias.expand(passes, -1)


HEADS: Mapping[str, Callable[[int, HeadSettings], Head]] = {
    "mnf": MNFHead,
    "dropout": PlainHead,
    "gaussian": PlainHead,
}


def make_head(features: int, settings: HeadSettings) -> Head:
    """The head that the settings name."""
    return HEADS[settings.kind](features, settings)


def gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 2) of a head as mean and sigma (...), in units of the network that it stands on."""
    return raw[..., 0], functional.softplus(raw[..., 1]) + SIGMA_FLOOR


def negative_log_likelihood(mean: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
    """Mean over rows of -ln N(label | mean, sigma), in nats, without its constant."""
    return (sigma.log() + 0.5 * ((label - mean) / sigma) ** 2).mean()
