"""What the rest of zspec calls: spectra in, a density over class and redshift out.

model = ProposalModel.restore(header, tensors)
batch = SpectrumBatch.from_spectra(spectra, model.grid)
proposal = model.propose(batch)
far = model.distance(proposal.features)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zspec.batch import SpectrumBatch
from zspec.errors import ConfigError
from zspec.grid import WaveGrid
from zspec.proposal.inputs import channels
from zspec.proposal.network import STRIDE, Network, NetworkSettings
from zspec.settings import build

TOGETHER = 16
"""Spectra that go through the network at once: more do not fit into a core's cache."""
DEVICE_TOGETHER = 64
"""The same beside a CPU."""


@dataclass(frozen=True)
class Range:
    """One class of the network."""

    name: str
    """GALAXY, QSO or STAR."""
    z_range: tuple[float, float]
    """Redshifts that it can have; ends included."""


RANGES = (
    Range("GALAXY", (-0.005, 2.0)),
    Range("QSO", (0.005, 5.5)),
    Range("STAR", (-0.00667, 0.00667)),
)
"""GALAXY and STAR as the likelihood has them (2000 km/s for stars); quasars end where the mocks'
do, and a likelihood beyond that must do without a proposal."""


@dataclass(frozen=True)
class Proposal:
    """What the network says of n spectra."""

    log_q: NDArray[np.float32]
    """(n, class, bin) ln of the density per unit ln(1 + z) over class and redshift together, given
    that there is an object: it integrates to 1. -inf outside a class's range."""
    features: NDArray[np.float32]
    """(n, feature) numbers about the whole spectrum, for ``ProposalModel.distance``."""
    blank: NDArray[np.float32]
    """(n,) probability that there is no object on the fibre."""


class Bins:
    """Bins of ln(1 + z), which are features of the grid, and what classes reach which of them."""

    def __init__(self, grid: WaveGrid, ranges: tuple[Range, ...] = RANGES) -> None:
        """Raise ConfigError where the grid is not log-uniform."""
        if grid.kind != "log":
            raise ConfigError(f"the proposal needs a log grid, not a {grid.kind} one")
        self.width = STRIDE * grid.step * float(np.log(10))
        ends = np.log1p(np.array([one.z_range for one in ranges]))
        self.first = int(np.floor(ends.min() / self.width))
        self.count = int(np.ceil(ends.max() / self.width)) - self.first + 1
        middle = (self.first + np.arange(self.count)) * self.width
        self.edges: NDArray[np.float64] = np.append(middle, middle[-1] + self.width)
        self.edges -= 0.5 * self.width  # (bin + 1,)
        self.inside = (middle >= ends[:, :1]) & (middle <= ends[:, 1:])  # (class, bin)
        reached = [middle[own] for own in self.inside]
        self.reach = tuple(np.array([own[at] for own in reached]) for at in (0, -1))  # (class,)


class ProposalModel:
    """A network with its grid, its bins, and how far the training set reaches."""

    classes = tuple(one.name for one in RANGES)

    def __init__(self, grid: WaveGrid, settings: NetworkSettings, device: str = "cpu") -> None:
        """An untrained network; torch's generator decides its start."""
        self.grid, self.settings, self.device = grid, settings, device
        self.bins = Bins(grid)
        size = (len(grid), self.bins.first, self.bins.count, len(self.classes))
        self.network = Network(settings, *size).to(device).eval()
        shape = (len(self.classes), settings.summary)
        self.centres = torch.full(shape, torch.nan, device=device)
        self.whitening = torch.full((*shape, shape[1]), torch.nan, device=device)

    @property
    def edges(self) -> NDArray[np.float64]:
        """(bins + 1,) edges of the bins in ln(1 + z), uniform."""
        return self.bins.edges

    def propose(self, batch: SpectrumBatch) -> Proposal:
        """What the network says of spectra on its grid; nothing is known of a row without data.

        Raises ConfigError for another grid.
        """
        if batch.grid != self.grid:
            raise ConfigError("the proposal takes spectra on its own grid alone")
        data = batch.inputs(("flux", "error"), self.device)
        size = TOGETHER if data.is_cpu else DEVICE_TOGETHER
        some = torch.split(data, size) if len(data) else ()  # no transform takes 0 rows
        parts = [self._part(rows) for rows in some]
        shapes = ((0, len(self.classes), self.bins.count), (0, self.settings.summary), (0,))
        empty = [np.zeros(shape, np.float32) for shape in shapes]
        return Proposal(*(np.concatenate(same) for same in zip(empty, *parts, strict=True)))

    def to(self, device: str) -> ProposalModel:
        """The same model on a device."""
        self.device = device
        self.network.to(device)
        self.centres, self.whitening = self.centres.to(device), self.whitening.to(device)
        return self

    def logits(self, flux: Tensor, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, class, bin), -inf outside a class, of nothing (n,), and features (n, f).

        flux, error: (n, wave) in one unit, on the grid; error is 0 where not good.
        """
        logits, nothing, summary = self.network(channels(flux, error))
        return self.masked(logits), nothing, summary

    def masked(self, logits: Tensor) -> Tensor:
        """(n, class, bin) with -inf outside a class's range."""
        outside = ~torch.from_numpy(self.bins.inside).to(logits.device)
        return logits.masked_fill(outside, -torch.inf)

    @torch.no_grad()
    def features(self, flux: Tensor, error: Tensor) -> Tensor:
        """(n, f) features of flux and error (n, wave)."""
        self.network.eval()
        flux, error = flux.to(self.device).float(), error.to(self.device).float()
        return self.network.summarise(channels(flux, error))

    @torch.no_grad()
    def _part(self, data: Tensor) -> tuple[NDArray[np.float32], ...]:
        """Density, features and blankness of flux and error (n, 2, wave)."""
        self.network.eval()
        logits, nothing, summary = self.logits(data[:, 0], data[:, 1])
        total = torch.logsumexp(logits.flatten(1), 1)
        density = logits - total[:, None, None] - float(np.log(self.bins.width))
        blank = torch.sigmoid(nothing - total)
        return tuple(t.cpu().numpy() for t in (density, summary, blank))

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,) Mahalanobis distance of features (n, f) from the nearest class of the training set.

        Its square is about f for spectra like those of the training set. Infinite where no training
        has taught what is near.
        """
        apart = torch.from_numpy(features).to(self.device)[:, None] - self.centres
        white = torch.einsum("ncf,cgf->ncg", apart, self.whitening)
        made: NDArray[np.float64] = (
            white.norm(dim=-1).nan_to_num(torch.inf).amin(1).cpu().double().numpy()
        )
        return made

    def learn_distance(self, features: Tensor, label: Tensor) -> None:
        """Take centre and spread of each class from features (n, f) of the training set.

        A class of no more than f spectra has no spread, and nothing is near it. All of it is done
        on the CPU, which has float64.
        """
        features, label = features.cpu(), label.cpu()
        for number in range(len(self.classes)):
            own = features[label == number].double()
            if len(own) <= own.shape[1]:
                continue
            unit = torch.eye(own.shape[1], dtype=torch.float64, device="cpu")
            root = torch.linalg.cholesky(torch.cov(own.T) + 1e-6 * unit)
            white = torch.linalg.solve_triangular(root, unit, upper=False)
            self.centres[number] = own.mean(0).to(self.centres)
            self.whitening[number] = white.to(self.whitening)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint stores, in 16 bits where that is enough."""
        stored = {f"network.{k}": _stored(v) for k, v in self.network.state_dict().items()}
        return stored | {"centres": self.centres, "whitening": self.whitening}

    def header(self) -> dict[str, Any]:
        """What a checkpoint stores as text."""
        return {"grid": self.grid.to_dict(), "network": dataclasses.asdict(self.settings)}

    @classmethod
    def restore(
        cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str = "cpu"
    ) -> ProposalModel:
        """The model that ``header`` and ``tensors`` were made of. Raises ConfigError."""
        try:
            settings = build(NetworkSettings, header["network"], "network")
            made = cls(WaveGrid.from_dict(header["grid"]), settings, device)
            start = "network."
            weights = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            made.network.load_state_dict(weights)
            made.centres = tensors["centres"].to(device)
            made.whitening = tensors["whitening"].to(device)
        except (KeyError, RuntimeError) as error:
            text = " ".join(str(error).split())[:200]
            raise ConfigError(f"no weights of a proposal: {text}") from None
        return made


def _stored(tensor: Tensor) -> Tensor:
    """Weights in 16 bits; what a batch norm keeps stays as it is."""
    return tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
