"""What a recipe of the slitless network can say, with its defaults: those of the paper.

``recipes/slitless-bnn.toml`` is an example with every table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from zspec.calibration.maps import Method
from zspec.estimator import ClassSpec
from zspec.settings import build
from zspec.slitless.filters import FilterSettings
from zspec.slitless.heads import HeadSettings


@dataclass(frozen=True)
class LabelSettings:
    """The one class of the model, and what is said of it."""

    name: str = "GALAXY"
    """Column CLASS."""
    spectype: str = "GALAXY"
    """Column SPECTYPE."""
    z_range: tuple[float, float] = (0.0, 1.5)
    """Redshifts that can be given: those of training."""
    good_dz: float = 0.002
    """|dz|/(1+z) that counts as good: the threshold of ZCONF."""

    def spec(self) -> ClassSpec:
        """As the catalogue wants it."""
        return ClassSpec(self.name, self.spectype, "", self.z_range, self.good_dz)


@dataclass(frozen=True)
class DataSettings:
    """Where spectra come from."""

    survey: str
    """Survey whose simulator makes the spectra, or that reads ``files``."""
    files: tuple[str, ...] = ()
    """Labelled spectra, as patterns below the data folder; empty: they are simulated."""
    train: int = 480_000
    """Spectra to train on, at most (P2: eight tenths of 600,000)."""
    valid: int = 60_000
    """Spectra to choose the best state by, and to calibrate on, at most."""
    noise: Literal["clean", "noisy"] = "clean"
    """``clean``: fresh noise on the noise-free spectrum, where the simulator gives it; ``noisy``:
    on the noisy one (P2), whose noise is then √2 of what its error says."""
    flat: bool = True
    """Whether the simulator draws redshifts and magnitudes evenly for training."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no data."""
        if self.files and self.noise == "clean":
            raise ValueError('files hold noisy spectra: noise must be "noisy"')
        if min(self.train, self.valid) < 1:
            raise ValueError("train and valid must be at least 1")


@dataclass(frozen=True)
class NetworkSettings:
    """The network that makes features."""

    kind: Literal["residual", "filters"] = "residual"
    """``residual``: P2's; ``filters``: matched filters, which learn from far fewer spectra
    (:mod:`zspec.slitless.filters`) and take none of the next four keys."""
    channels: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 256, 256)
    """Of the eight blocks; a block with more than the one before halves the length."""
    stem: int = 32
    """Kernels of the first convolution (P2)."""
    dropout: float = 0.2
    """Before the one output (P2)."""
    position: bool = False
    """Whether ln λ is a third channel; P2 has none."""
    members: int = 1
    """Networks from different starts: more than 1 is a deep ensemble."""
    start: str = ""
    """Checkpoint whose networks are taken as they are, so that heads can be compared."""
    filters: FilterSettings = field(default_factory=FilterSettings)
    """Size of a network of kind ``filters``."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no network."""
        if len(self.channels) != 8 or min(*self.channels, self.stem, self.members) < 1:
            raise ValueError("channels must be eight numbers, and all of them at least 1")
        if list(self.channels) != sorted(self.channels) or self.channels[0] < self.stem:
            raise ValueError("channels must not fall from block to block, nor below stem")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


@dataclass(frozen=True)
class FitSettings:
    """How something is trained."""

    epochs: int = 100
    """Passes through the training set, with fresh noise in each (P2)."""
    batch: int = 1024
    """Spectra in a step (P2)."""
    rate: float = 1e-3
    """Of Adam, at its highest."""
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` warms up over the first twentieth, and falls to a hundredth of the rate."""
    scale: float = 1.0
    """What redshifts are multiplied by before log-cosh, which is a square below 1 and a modulus
    above: 1 as in P2. Residual networks only."""
    realisations: int = 50
    """Noise realisations of the training set whose features are computed (P2). Heads only."""
    warmup: float = 0.2
    """Share of the steps in which the weight of the KL term grows from 0 to 1. Heads only."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be trained."""
        if min(self.epochs, self.batch, self.realisations) < 1:
            raise ValueError("epochs, batch and realisations must be at least 1")
        if not self.rate > 0 or not self.scale > 0 or not 0 <= self.warmup <= 1:
            raise ValueError("rate and scale must be > 0, and warmup lie in [0, 1]")


@dataclass(frozen=True)
class CalibrationSettings:
    """The last step: see :mod:`zspec.calibrate`."""

    method: Method = "beta"
    """``beta``, ``temperature``, ``isotonic`` or ``none``."""
    knots: int = 0
    """0: one map for all (P2); more: its coefficients depend on SNR."""


@dataclass(frozen=True)
class Recipe:
    """All of it."""

    estimator: str
    data: DataSettings
    seed: int = 1
    """Decides starts, noise, order and passes; stored in the checkpoint."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda or mps."""
    default_for: tuple[str, ...] = ()
    """Surveys that this model predicts where a user names none."""
    label: LabelSettings = field(default_factory=LabelSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    point: FitSettings = field(default_factory=FitSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    bayes: FitSettings = field(default_factory=FitSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)


def parse(recipe: Mapping[str, Any]) -> Recipe:
    """A recipe, strictly. Raises ConfigError for an unknown key and for a wrong value."""
    return build(Recipe, {k: v for k, v in recipe.items() if k != "presets"})
