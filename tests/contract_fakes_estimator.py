"""An estimator that looks at one number, whole and with one promise broken at a time.

``test_contract_itself.py`` runs the contract suites on these in a process of their own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from zspec import Candidates, Chunk, ClassSpec, Estimator, ExtraColumn, Prediction, checkpoint
from zspec.estimator import NCANDIDATES, Want
from zspec.testing import EstimatorContract


class FakeEstimator(Estimator):
    """The share of light in the first arm stands for the redshift, and for the class."""

    name = "fake"
    title = "A fake"
    needs = frozenset({"arms"})
    extra = (
        ExtraColumn("BLUE", "f4", "", "Share of the light in the first arm."),
        ExtraColumn("Z_RAW", "f8", "", "What was not scaled.", by_class=True),
    )
    classes = (ClassSpec("GALAXY", "GALAXY", z_range=(0, 2)), ClassSpec("STAR", "STAR"))

    def __init__(self, scale: float = 1.0) -> None:
        """``scale`` is all that it learned."""
        self.scale = scale

    def share(self, chunk: Chunk) -> np.ndarray:
        """(n,) between 0 and 1; NaN in a row without data."""
        light = np.stack([np.abs(a.flux).sum(axis=1, dtype=float) for a in chunk.spectra.arms])
        total = light.sum(axis=0)
        return np.divide(light[0], total, out=np.full(len(total), np.nan), where=total > 0)

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """See the class."""
        share = self.share(chunk)
        none = np.full(len(share), np.nan)
        unused = np.full((len(share), NCANDIDATES), np.nan)
        z = unused.copy()
        z[:, 0] = self.scale * share
        label = np.where(np.isfinite(z), 0, -1).astype(np.int16)
        return Prediction(
            classes=self.classes,
            prob=np.stack([share, 1 - share], axis=1).astype(np.float32),
            z=np.stack([self.scale * share, none], axis=1),
            sigma=np.stack([0.1 * share, none], axis=1),
            best=np.where(share < 0.5, 1, 0).astype(np.int16),
            candidates=Candidates(label, z, z, unused.astype(np.float32), unused),
            extra={"BLUE": share, "Z_RAW": np.stack([share, none], axis=1)},
        )

    def save(self, path: Path) -> None:
        """One number."""
        checkpoint.save(path, {"scale": torch.tensor(self.scale)}, {"estimator": self.name})

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> FakeEstimator:
        """One number."""
        return cls(float(checkpoint.load(path)[0]["scale"]))


class Neighbours(FakeEstimator):
    """Looks at the other rows."""

    def share(self, chunk: Chunk) -> np.ndarray:
        """Relative to the chunk's mean."""
        share = super().share(chunk)
        return share * 0.5 / np.nanmean(share) if len(share) else share


class Unnormalised(FakeEstimator):
    """Its probabilities are none."""

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Twice too probable."""
        said = super().predict(chunk, want)
        return dataclasses.replace(said, prob=2 * said.prob)


class Forgetful(FakeEstimator):
    """Does not save what it learned, and not deliver what it declared."""

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Without the extra column."""
        return dataclasses.replace(super().predict(chunk, want), extra={})

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> FakeEstimator:
        """A new one."""
        checkpoint.load(path)
        return cls()


class Narrow(FakeEstimator):
    """Gives one value where it declared one for each class."""

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Of the first class."""
        said = super().predict(chunk, want)
        return dataclasses.replace(said, extra={**said.extra, "Z_RAW": said.extra["BLUE"]})


class TestFakeEstimator(EstimatorContract):
    """All pass."""

    def make(self) -> Estimator:
        """The fake."""
        return FakeEstimator(1.5)


class TestNeighbours(EstimatorContract):
    """See the estimator."""

    def make(self) -> Estimator:
        """The fake."""
        return Neighbours()


class TestUnnormalised(EstimatorContract):
    """See the estimator."""

    def make(self) -> Estimator:
        """The fake."""
        return Unnormalised()


class TestForgetful(EstimatorContract):
    """See the estimator."""

    def make(self) -> Estimator:
        """The fake."""
        return Forgetful(1.5)


class TestNarrow(EstimatorContract):
    """See the estimator."""

    def make(self) -> Estimator:
        """The fake."""
        return Narrow()
