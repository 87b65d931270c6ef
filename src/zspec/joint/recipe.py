"""A recipe's tables as frozen dataclasses: fields are keys, defaults what may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zspec.settings import build


@dataclass(frozen=True)
class LikelihoodSettings:
    """Where the likelihood comes from."""

    model: str = "likelihood"
    """Shipped name or file below the data folder: bases, and what ZERR lacks."""
    recipe: str = "likelihood"
    """How its bases are learned once more without each fold of the real spectra."""


@dataclass(frozen=True)
class ValidationSettings:
    """What weights and calibration are learned from."""

    surveys: tuple[str, ...] = ()
    """Whose mocks; their sources are those that are kept for validation."""
    mocks: int = 500
    """Of each survey."""
    ladder: tuple[int, ...] = (1, 4, 16)
    """SNR of real spectra is divided by these."""
    seed: int = 1
    """Decides the mocks."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no sense."""
        if self.mocks < 0 or not self.ladder or min(self.ladder) < 1:
            raise ValueError("mocks must be at least 0, and steps of the ladder at least 1")


@dataclass(frozen=True)
class TuneSettings:
    """How a joint estimator that is there is fitted to labelled spectra of a user's own."""

    spectra: tuple[str, ...] = (".",)
    """Files or folders below the data folder, whose headers or neighbours know class and z."""
    survey: str = ""
    """Which adapter reads them; empty: the one that recognises them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its options."""
    manifest: str = ""
    """In place of ``spectra``: a CSV table of labelled spectra below the data folder."""
    ladder: tuple[int, ...] = (1, 4, 16)
    """SNR of the spectra is divided by these, so that few bright ones teach something."""
    parts: int = 2
    """Each part of the objects is predicted by what the others taught."""
    scatter: float = 0.2
    """Sigma by which logarithms of the joint posterior's weights may differ from the start's."""
    steps: int = 100
    """Of the network's training; 0 leaves the network alone."""
    rate: float = 2e-4
    """Learning rate, at its highest."""
    mocks: int = 200
    """Mock spectra of each survey of the network's recipe that are mixed in."""
    share: float = 0.5
    """Share of the labelled spectra in what the network sees."""

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no sense."""
        if not self.ladder or min(self.ladder) < 1 or self.parts < 2:
            raise ValueError("steps of the ladder must be at least 1, and parts at least 2")
        if not 0 < self.share < 1 or min(self.scatter, self.rate, self.mocks) <= 0:
            raise ValueError("share must lie between 0 and 1; scatter, rate and mocks above 0")

    def places(self) -> dict[str, Any]:
        """As :func:`zspec.likelihood.labelled.spectra` wants it."""
        if self.manifest:
            return {"manifest": self.manifest}
        named = {"survey": self.survey} if self.survey else {}
        return {"spectra": list(self.spectra), "options": self.options, **named}


@dataclass(frozen=True)
class JointRecipe:
    """All but the network's own table, which :mod:`zspec.proposal.recipe` reads."""

    estimator: str
    proposal: Mapping[str, Any]
    likelihood: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    surveys: tuple[str, ...] = ()
    """That it was made for, as the checkpoint says."""
    init: str = ""
    """Fine-tune this checkpoint: a file, a shipped name, or ``default``; empty: start from none."""
    finetune: TuneSettings = field(default_factory=TuneSettings)
    presets: Mapping[str, Any] = field(default_factory=dict)


def parse(recipe: Mapping[str, Any]) -> JointRecipe:
    """The whole recipe, strictly. Raises ConfigError for an unknown key."""
    return build(JointRecipe, recipe)
