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
class JointRecipe:
    """All but the network's own table, which :mod:`zspec.proposal.recipe` reads."""

    estimator: str
    proposal: Mapping[str, Any]
    likelihood: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    surveys: tuple[str, ...] = ()
    """That it was made for, as the checkpoint says."""
    presets: Mapping[str, Any] = field(default_factory=dict)


def parse(recipe: Mapping[str, Any]) -> JointRecipe:
    """The whole recipe, strictly. Raises ConfigError for an unknown key."""
    return build(JointRecipe, recipe)
