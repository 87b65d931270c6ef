"""What a recipe may say of the proposal, in its table ``[proposal]``: schema, default and manual.

[proposal]            seed, grid, sources              :class:`Recipe`
[proposal.network]    channels, filters, ...           :class:`~zspec.proposal.network.NetworkSettings`
[proposal.data]       valid, artefacts, survey, ...    :class:`DataSettings`
[proposal.augment]    noise, cut, ...                  :class:`~zspec.proposal.augment.AugmentSettings`
[proposal.train]      steps, batch, rate, ...          :class:`TrainSettings`
"""  # noqa: E501  # names of classes cannot be broken

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from zspec.grid import WaveGrid
from zspec.proposal.augment import AugmentSettings
from zspec.proposal.network import NetworkSettings
from zspec.settings import build


@dataclass(frozen=True)
class GridSettings:
    """The log grid."""

    first: float = 3550.0
    """Å."""
    last: float = 10450.0
    """Å."""
    step: float = 2.5e-4
    """In log10 λ; a bin of ln(1 + z) is two of them wide."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no grid."""
        if not 0 < self.first < self.last or not 0 < self.step < 0.01:
            raise ValueError("first and last must increase, and step be a small part of a dex")

    def grid(self) -> WaveGrid:
        """As the rest of zspec has it."""
        return WaveGrid.log(self.first, self.last, self.step)


@dataclass(frozen=True)
class SurveyEntry:
    """Mock spectra of one survey."""

    name: str
    """Whose simulator makes them."""
    train: int = 20_000
    """Spectra to learn from."""
    valid: int = 1000
    """Spectra to judge by."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the instrument of the training set, as ``"artefacts.blank" = "0.05"``."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no data."""
        if min(self.train, self.valid) < 1:
            raise ValueError("train and valid must be at least 1")


@dataclass(frozen=True)
class DataSettings:
    """What is learned from."""

    survey: tuple[SurveyEntry, ...] = ()
    """All surveys, mixed."""
    sources: str = "sources-published"
    """Recipe that learns the sources of the training set, with no real spectrum in it; ``shipped``:
    those of ``zspec simulate``. The validation set has the shipped ones, of the part ``valid``."""
    artefacts: bool = True
    """Whether spectra on which the simulator put an artefact are kept. Without, there are no blank
    fibres either."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no data."""
        if not self.survey:
            raise ValueError("survey: name at least one, [[proposal.data.survey]]")


@dataclass(frozen=True)
class TrainSettings:
    """How the network is trained."""

    steps: int = 10_000
    """Steps in all."""
    batch: int = 64
    """Spectra in a step."""
    rate: float = 2e-3
    """Of AdamW, at its highest: it rises over the first twentieth and falls like a cosine."""
    decay: float = 0.01
    """Weight decay."""
    every: int = 500
    """Steps between two validations, each of which keeps the state."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the convolutions."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be trained."""
        if min(self.steps, self.batch, self.every) < 1:
            raise ValueError("steps, batch and every must be at least 1")
        if not self.rate > 0 or not self.decay >= 0:
            raise ValueError("rate must be > 0, and decay at least 0")


@dataclass(frozen=True)
class Recipe:
    """All of it."""

    data: DataSettings
    seed: int = 1
    """Decides mocks, start, order and augmentation; stored in the checkpoint."""
    grid: GridSettings = field(default_factory=GridSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


def parse(table: Mapping[str, Any]) -> Recipe:
    """The table ``proposal`` of a recipe, strictly. Raises ConfigError for an unknown key."""
    return build(Recipe, table, "proposal")
