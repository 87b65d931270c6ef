"""What a recipe of GaSNet-II may say: frozen dataclasses, which are schema, default and manual.

    estimator = "gasnet2"
    seed = 1
    [network]   width, dropout, scale, ...          :class:`~zspec.gasnet2.network.NetworkSettings`
    [train]     epochs, members, split, ...         :class:`TrainSettings`
    [data]      source, files or survey, ...        :class:`DataSettings`
    [predict]   threshold, precision, store         :class:`PredictSettings`
    [[class]]   name, spectype, labels, redshift    :class:`ClassEntry`

An unknown key is a ConfigError that names the nearest one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from zspec.errors import ConfigError, unknown
from zspec.estimator import ClassSpec
from zspec.gasnet2.network import NetworkSettings
from zspec.settings import build

Z_MARGIN = 0.05
"""How far beyond the labels' range a prediction may lie before it is cut and Z_FITLIMIT set."""


@dataclass(frozen=True)
class ClassEntry:
    """One class of the classifier."""

    name: str
    """The model's own label: column CLASS."""
    spectype: str
    """GALAXY, QSO or STAR."""
    subtype: str = ""
    """Column SUBTYPE."""
    labels: tuple[str, ...] = ()
    """Shell patterns of the survey's labels that are this class; empty: the name itself."""
    redshift: bool = True
    """Whether it has networks for redshifts. Without, its redshift is 0."""
    good_dz: float = 0.0015
    """What |dz|/(1+z) counts as good (P1: 0.0015 galaxies, 0.015 quasars)."""

    def takes(self, label: str, spectype: str) -> bool:
        """Whether a spectrum of this label, or else of this spectype, is one of the class."""
        patterns = self.labels or (self.name,)
        return any(fnmatchcase(text, p) for p in patterns for text in (label, spectype))

    def spec(self, z_clip: tuple[float, float]) -> ClassSpec:
        """What the catalogue needs to know of it."""
        limits = (z_clip[0] - Z_MARGIN, z_clip[1] + Z_MARGIN) if self.redshift else None
        return ClassSpec(self.name, self.spectype, self.subtype, limits, self.good_dz)


@dataclass(frozen=True)
class TrainSettings:
    """How the networks are trained."""

    epochs: int = 50
    """Passes over the training set (P1, section 3.3)."""
    batch: int = 128
    """Spectra a step; all members of an ensemble share them (authors' code)."""
    rate: float = 1e-3
    """First learning rate of Adam; the highest of a cycle."""
    schedule: Literal["halve", "cycle"] = "halve"
    """The rate is halved in steps (P1), or rises and falls once: better in a short training."""
    halve: int = 5
    """The rate is halved every so many epochs."""
    z_epochs: int = 0
    """Passes of the networks for redshifts; 0: as many as ``epochs``. ``halve`` grows with it."""
    members: int = 10
    """Networks of an ensemble."""
    point: bool = True
    """Whether each class has a network for the point estimate too."""
    huber: float = 0.1
    """Delta of the Huber loss (P1, Eq. 6), in units of the label."""
    z_scale: float = 1.0
    """Labels are z times this (authors' code: 10, so that its delta is 0.01 in z)."""
    centre: bool = False
    """Start redshifts at the median label instead of 0: short trainings need not learn it first."""
    z_clip: tuple[float, float] = (0.0, 5.0)
    """Training labels are clipped to this; the truth of an evaluation never is."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the convolutions; auto takes bfloat16 on a GPU."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    contamination: float = 0.0
    """Share of training and validation labels that are drawn from the other classes (App. A)."""
    two_step: bool = False
    """Classify the spectype first, then within it (P1, section 5)."""
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Shares of objects that train, validate and test (P1, section 2.1)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained. Raises ValueError."""
        if min(self.epochs, self.batch, self.halve, self.members) < 1 or self.z_epochs < 0:
            raise ValueError("epochs, batch, halve and members must be 1 or more")
        if not (self.rate > 0 and self.huber > 0 and self.z_scale > 0):
            raise ValueError("rate, huber and z_scale must be > 0")
        if not self.z_clip[0] < self.z_clip[1]:
            raise ValueError("z_clip must be two redshifts that increase")
        if not 0 <= self.contamination < 1:
            raise ValueError("contamination must be in [0, 1)")
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError("split must be three shares that sum to 1")

    def of_redshifts(self) -> TrainSettings:
        """The settings of the networks for redshifts: the same course, over their own epochs."""
        epochs = self.z_epochs or self.epochs
        halve = max(1, round(self.halve * epochs / self.epochs))
        return dataclasses.replace(self, epochs=epochs, halve=halve)


@dataclass(frozen=True)
class DataSettings:
    """Where labelled spectra come from."""

    source: Literal["files", "simulator"] = "files"
    """Labelled files of a survey (tables too), or the simulator."""
    survey: str = ""
    """Adapter that reads the files, or survey to simulate; files may leave it out."""
    files: tuple[str, ...] = (".",)
    """Files, or folders of them, relative to ``--data``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the adapter, or settings of the simulator, as ``artefacts.cosmics = "0.1"``."""
    population: str = ""
    """Population file of the simulator, relative to ``--data``; empty: the survey's own."""
    per_class: int = 20_000
    """Most spectra of a class, all three sets together (P1: 20,000)."""
    min_snr: float = 0.0
    """Spectra below this SNR are left out (P1: 2 for DESI)."""

    def __post_init__(self) -> None:
        """Refuse what names no data. Raises ValueError."""
        if self.source == "files" and not self.files:
            raise ValueError("files: name files or folders with labelled spectra")
        if self.source == "simulator" and not self.survey:
            raise ValueError("survey: name the survey to simulate")
        if self.per_class < 1:
            raise ValueError("per_class must be 1 or more")


@dataclass(frozen=True)
class PredictSettings:
    """What a trained model does unless it is asked otherwise."""

    threshold: float = 0.01
    """Ensembles run for classes with at least this probability, and for the best one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the convolutions; bfloat16 is faster where the processor has it, and costs accuracy."""
    store: Literal["float32", "float16"] = "float32"
    """Of the weights in the checkpoint."""

    def __post_init__(self) -> None:
        """Refuse what is no probability. Raises ValueError."""
        if not 0 <= self.threshold <= 1:
            raise ValueError("threshold must be in [0, 1]")


@dataclass(frozen=True)
class Recipe:
    """All of it."""

    classes: tuple[ClassEntry, ...]
    seed: int = 1
    """Decides the split, the starts, the order of batches and dropout."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    data: DataSettings = field(default_factory=DataSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)

    def __post_init__(self) -> None:
        """Refuse names that clash. Raises ValueError."""
        names = [entry.name for entry in self.classes]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("class: two or more, with different names, are needed")
        wrong = {e.spectype for e in self.classes} - {"GALAXY", "QSO", "STAR"}
        if wrong:
            raise ValueError(f"class: spectype {wrong.pop()!r} is none of GALAXY, QSO, STAR")

    @property
    def specs(self) -> tuple[ClassSpec, ...]:
        """The classes as a catalogue knows them."""
        return tuple(entry.spec(self.train.z_clip) for entry in self.classes)

    def classify(self, labels: Sequence[str], spectypes: Sequence[str]) -> list[int]:
        """Number of the first class that takes each spectrum; -1 where none does."""
        known: dict[tuple[str, str], int] = {}
        for key in set(zip(labels, spectypes, strict=True)):
            takers = (i for i, entry in enumerate(self.classes) if entry.takes(*key))
            known[key] = next(takers, -1)
        return [known[key] for key in zip(labels, spectypes, strict=True)]


TABLES: Mapping[str, type[Any]] = {
    "network": NetworkSettings,
    "train": TrainSettings,
    "data": DataSettings,
    "predict": PredictSettings,
}
KEYS = ("estimator", "seed", "class", "presets", *TABLES)
"""Keys of a recipe; ``presets`` are for :func:`zspec.training.find_recipe`."""


def parse(given: Mapping[str, Any]) -> Recipe:
    """The recipe that a TOML file holds. Raises ConfigError, with the key, for what is wrong."""
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"recipe: {unknown('key', key, KEYS)}")
    made = {name: build(kind, given.get(name, {}), name) for name, kind in TABLES.items()}
    entries = given.get("class", [])
    if not isinstance(entries, list):
        raise ConfigError("recipe: key 'class' must be a list of tables, [[class]]")
    classes = tuple(build(ClassEntry, entry, "class") for entry in entries)
    seed = given.get("seed", Recipe.seed)
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"recipe: seed {seed!r} must be a whole number, 0 or more")
    try:
        return Recipe(classes=classes, seed=seed, **made)
    except ValueError as error:
        raise ConfigError(f"recipe: {error}") from None
