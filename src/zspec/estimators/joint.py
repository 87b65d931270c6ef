"""``zspec``: the network proposes, the likelihood decides, one calibrated posterior.

The likelihood of :mod:`zspec.likelihood` and a network that has seen what real spectra look like,
artefacts included, are multiplied: :mod:`zspec.joint.posterior`. CHI2 is that of the likelihood's
fit on native pixels, and so are Z and ZERR where it is sharper than the network; PROB, the order of
candidates and DELTACHI2 are those of the joint posterior. MODELS_DISAGREE says where each alone is
sure of another answer. ``fast``, on request, evaluates the likelihood in the network's windows
alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.estimator import Chunk, Estimator, Prediction, Want
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.joint.calibration import JointCalibration
from zspec.joint.guide import guide
from zspec.joint.judging import judge
from zspec.joint.proposed import Proposer, ask
from zspec.likelihood import limits
from zspec.likelihood.basis import Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.output import Output
from zspec.likelihood.solve import Guide
from zspec.proposal.model import ProposalModel

PREFIX = "proposal."
"""Of the network's tensors in a checkpoint."""


class Joint(Estimator):
    """Ranks the likelihood's solutions by what both the likelihood and the network say."""

    name: ClassVar[str] = "zspec"
    title: ClassVar[str] = "the network proposes, the likelihood decides, one posterior"
    needs: ClassVar[frozenset[str]] = frozenset({"arms", "grid"})
    stage: ClassVar[str] = "likelihood"
    limitable: ClassVar[bool] = True
    offers: ClassVar[frozenset[Want]] = frozenset({"model", "zpdf", "bound", "interval", "fast"})

    def __init__(
        self,
        likelihood: Likelihood,
        proposal: Proposer,
        calibration: JointCalibration | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """``meta`` is what a checkpoint tells beyond its parts: recipe, seed, surveys, figures.

        Of the calibration of ``likelihood`` nothing is used: ``calibration.fit`` takes its place.
        """
        self.calibration = calibration or JointCalibration()
        self.likelihood = likelihood.calibrated_by(self.calibration.fit)
        self.proposal = proposal
        self.meta = dict(meta or {})
        self.classes, self.grid = likelihood.classes, proposal.grid
        self.calibrated = bool(self.calibration.confidence)
        self.device = likelihood.device
        self._limited: dict[object, Joint] = {}

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Class, redshift and uncertainty of every row; NaN in a row without a good pixel.

        Raises ConfigError for p(z) where ``fast`` left most redshifts out.
        """
        if {"fast", "zpdf"} <= want:
            raise ConfigError("p(z) needs the likelihood at every redshift: leave out --fast")
        arms, bases = chunk.spectra.arms, self.likelihood.bases
        began = time.perf_counter()
        proposed = ask(self.proposal, chunk.batch).between(bases)
        spent = {"network": time.perf_counter() - began}
        n = len(chunk.spectra)
        out = Output(n, self.classes, arms, want)
        widths = resolution(arms) if "bound" in want else np.zeros(n)  # nothing else asks for them

        def guiding(rows: NDArray[np.intp]) -> Guide:
            by = self.calibration
            return guide(proposed[rows], bases, by.weights, by.fit, "fast" in want)

        for rows, pixels, found in self.likelihood.solutions(arms, want, guiding):
            judged = judge(pixels, found, proposed[rows], bases, self.calibration)
            out.fill(rows, judged, bases, float(widths[rows[0]]))
        said = replace(out.prediction(), seconds=spent)
        if "interval" not in want:
            return said
        self.likelihood.level = self.level
        return replace(said, interval=self.likelihood.interval(said, arms))

    def limited(self, z_range: Mapping[str, tuple[float, float]]) -> Joint:
        """The same between limits by class or spectype, as :meth:`Likelihood.limited`."""
        key = tuple(sorted(z_range.items()))
        if key not in self._limited:
            cut = Likelihood(limits.limited(self.likelihood.bases, z_range))
            cut.device = self.device
            made = Joint(cut, self.proposal, self.calibration, self.meta)
            made.sha256 = self.sha256
            self._limited[key] = made
        self._limited[key].level = self.level
        return self._limited[key]

    @classmethod
    def train(cls, recipe: Mapping[str, Any], data: Path, output: Path) -> None:
        """Make all parts as a recipe says: :func:`zspec.joint.train.train`."""
        from zspec.joint.train import train

        train(recipe, data, output)

    def save(self, path: Path) -> None:
        """Write one safetensors file: arrays of bases and network, and the rest as JSON text."""
        assert isinstance(self.proposal, ProposalModel)
        tensors = {
            name: torch.from_numpy(array)
            for basis in self.likelihood.bases
            for name, array in basis.tensors().items()
        }
        tensors |= {PREFIX + name: one for name, one in self.proposal.tensors().items()}
        config = {
            "bases": [basis.header() for basis in self.likelihood.bases],
            "proposal": self.proposal.header(),
            "calibration": self.calibration.stored(),
        }
        meta = {**self.meta, "estimator": self.name, "config": config}
        checkpoint.save(path, tensors, {**meta, "classes": [c.name for c in self.classes]})

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Joint:
        """Read what ``save`` wrote; it will compute on ``device``.

        Raises ConfigError for another's file, and for a device without float64.
        """
        if device.startswith("mps"):
            raise ConfigError(f"device {device!r} has no float64, which zspec needs; try cpu")
        tensors, meta = checkpoint.load_own(path, cls.name)
        theirs = {k.removeprefix(PREFIX): t for k, t in tensors.items() if k.startswith(PREFIX)}
        arrays = {k: t.numpy() for k, t in tensors.items() if not k.startswith(PREFIX)}
        try:
            config = meta["config"]
            bases = [Basis.restore(header, arrays) for header in config["bases"]]
            calibration = JointCalibration.restore(config["calibration"])
            proposal = ProposalModel.restore(config["proposal"], theirs, device)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: its parts are incomplete ({error})") from None
        own = {"estimator", "config", "classes", "format", "zspec"}
        likelihood = Likelihood(bases, calibration=Calibration())
        likelihood.device = device
        return cls(likelihood, proposal, calibration, {k: meta[k] for k in meta if k not in own})
