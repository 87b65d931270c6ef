"""``gasnet2``: GaSNet-II (Zhong et al. 2024), one classifier and an ensemble for each class.

z is the mean and sigma the population standard deviation of the members (Eqs. 7, 8). Where sigma
exceeds the validation MAE of the class, UNSTABLE is set. Ensembles run for classes that matter
(``threshold``), and for all of them where ``want`` holds ``classes``; elsewhere z is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zspec import checkpoint, flags
from zspec.device import move
from zspec.errors import ConfigError
from zspec.estimator import (
    NCANDIDATES,
    Candidates,
    Chunk,
    ClassSpec,
    Estimator,
    ExtraColumn,
    Prediction,
    Want,
)
from zspec.flags import ZWarn
from zspec.gasnet2.forward import run_all
from zspec.gasnet2.heads import combine
from zspec.gasnet2.model import Config, Networks
from zspec.gasnet2.samples import GRID, inputs
from zspec.grid import WaveGrid


class GasNet2(Estimator):
    """One ResNet classifier and, for each class with a redshift, an ensemble of ResNets."""

    name: ClassVar[str] = "gasnet2"
    title: ClassVar[str] = "GaSNet-II: a ResNet classifier, and an ensemble of ResNets per class"
    needs: ClassVar[frozenset[str]] = frozenset({"grid"})
    stage: ClassVar[str] = "network"
    extra: ClassVar[tuple[ExtraColumn, ...]] = (
        ExtraColumn("Z_POINT", "f8", "", "Redshift by the one network for point estimates.", True),
    )
    offers: ClassVar[frozenset[Want]] = frozenset({"classes"})
    grid: WaveGrid | None = GRID

    def __init__(
        self,
        classes: tuple[ClassSpec, ...],
        networks: Networks,
        config: Config,
        meta: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        """``meta`` is what a checkpoint tells beside: recipe, seed, surveys, figures."""
        self.classes = classes
        self.networks = networks
        self.config = config
        self.meta = dict(meta or {})
        self.device = device
        self.placed = networks.placed(device, config.precision)

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Class of every row, and redshifts by the ensembles that matter; NaN without data."""
        batch = chunk.batch
        out = _Out(len(batch.ids), self.classes)
        rows = np.flatnonzero(batch.good.any(axis=1))
        if len(rows):
            with torch.inference_mode():
                x = move(inputs(batch, self.config.scale)[torch.from_numpy(rows)], self.device)
                out.fill_classes(rows, self.probabilities(x).cpu().numpy())
                threshold = 0.0 if "classes" in want else self.config.threshold
                for number in self.placed.members:
                    matters = out.prob[rows, number] >= threshold
                    mine = np.flatnonzero(matters | (out.best[rows] == number))
                    if len(mine):
                        part = x[torch.from_numpy(mine).to(self.device)]
                        out.fill_redshifts(rows[mine], number, *self.redshifts(number, part))
        return out.prediction(self.config.mae)

    def probabilities(self, x: Tensor) -> Tensor:
        """(n, class) for (n, wave) normalised flux."""
        logits = [run_all([net], x)[0] for net in self.placed.classifiers]
        return combine(self.config.heads, logits, len(self.classes))

    def redshifts(
        self, number: int, x: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """(member, n) redshifts of a class's ensemble, and (n,) of its point network or None."""
        nets = list(self.placed.members[number])
        point = self.placed.point.get(number)
        z = run_all(nets if point is None else [*nets, point], x)[:, :, 0]
        values = z.double().cpu().numpy() / self.config.z_scale
        return (values, None) if point is None else (values[:-1], values[-1])

    @classmethod
    def train(cls, recipe: Mapping[str, Any], data: Path, output: Path) -> None:
        """Train the networks of a recipe: :func:`zspec.gasnet2.pipeline.train`."""
        from zspec.gasnet2.pipeline import train

        train(recipe, data, output)

    def save(self, path: Path) -> None:
        """Write one safetensors file, in 16 bits where ``config.store`` says so."""
        tensors = self.networks.tensors()
        if self.config.store == "float16":
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
        meta = {
            **self.meta,
            "estimator": self.name,
            "classes": [spec.name for spec in self.classes],
            "specs": [asdict(spec) for spec in self.classes],
            "config": self.config.stored(),
            "grid": GRID.to_dict(),
            "channels": ["flux"],
        }
        checkpoint.save(path, tensors, meta)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> GasNet2:
        """Read what ``save`` wrote. Raises ConfigError for another's file."""
        tensors, meta = checkpoint.load_own(path, cls.name)
        try:
            config = Config.restore(meta["config"])
            classes = tuple(_spec(stored) for stored in meta["specs"])
            networks = Networks.restore(tensors)
            stored_grid = WaveGrid.from_dict(meta["grid"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: its networks are incomplete ({error})") from None
        if stored_grid != GRID:
            raise ConfigError(f"{path}: is for another wavelength grid than this zspec's gasnet2")
        own = {"estimator", "classes", "specs", "config", "grid", "channels", "format", "zspec"}
        beside = {k: v for k, v in meta.items() if k not in own}
        return cls(classes, networks, config, beside, device)


def _spec(stored: Mapping[str, Any]) -> ClassSpec:
    """What ``save`` stored of a class."""
    limits = stored["z_range"]
    return ClassSpec(**{**stored, "z_range": None if limits is None else tuple(limits)})


class _Out:
    """The arrays of a prediction, empty at first."""

    def __init__(self, n: int, classes: tuple[ClassSpec, ...]) -> None:
        """``n`` rows without data."""
        self.classes = classes
        wide = (n, len(classes))
        self.prob = np.full(wide, np.nan, np.float32)
        self.z, self.sigma = np.full(wide, np.nan), np.full(wide, np.nan)
        self.point = np.full(wide, np.nan)
        self.cut = np.zeros(wide, bool)
        self.best = np.zeros(n, np.int16)

    def fill_classes(self, rows: NDArray[np.intp], prob: NDArray[np.float32]) -> None:
        """Probabilities (row, class) of some rows."""
        self.prob[rows] = prob
        self.best[rows] = prob.argmax(axis=1)

    def fill_redshifts(
        self,
        rows: NDArray[np.intp],
        number: int,
        members: NDArray[np.float64],
        point: NDArray[np.float64] | None,
    ) -> None:
        """Mean and population sigma of (member, row) redshifts of a class (Eqs. 7, 8).

        One member has no sigma. A mean beyond the range of the class is cut to it.
        """
        limits = self.classes[number].z_range
        assert limits is not None  # else it had no ensemble
        mean = members.mean(axis=0)
        self.z[rows, number] = mean.clip(*limits)
        self.cut[rows, number] = (mean < limits[0]) | (mean > limits[1])
        if len(members) > 1:
            self.sigma[rows, number] = members.std(axis=0)
        if point is not None:
            self.point[rows, number] = point

    def prediction(self, mae: Mapping[int, float]) -> Prediction:
        """What was filled in, with the flags that only the networks know."""
        row = np.arange(len(self.best))
        limit = np.array([mae.get(i, np.inf) for i in range(len(self.classes))])
        bits = flags.where(self.sigma[row, self.best] > limit[self.best], ZWarn.UNSTABLE)
        bits |= flags.where(self.cut[row, self.best], ZWarn.Z_FITLIMIT)
        return Prediction(
            classes=self.classes,
            prob=self.prob,
            z=self.z,
            sigma=self.sigma,
            best=self.best,
            candidates=self._candidates(),
            zwarn=bits,
            extra={"Z_POINT": self.point},
        )

    def _candidates(self) -> Candidates:
        """The classes by probability: those with a redshift that was computed, and z = 0 ones."""
        still = np.array([spec.z_range is None for spec in self.classes])
        z = np.where(still & np.isfinite(self.prob), 0.0, self.z)
        ranked = np.where(np.isfinite(z), self.prob, -1.0)
        label = np.argsort(-ranked, axis=1, kind="stable")[:, :NCANDIDATES]
        used = np.take_along_axis(ranked, label, axis=1) >= 0
        long = (len(z), NCANDIDATES)
        made = {name: np.full(long, np.nan) for name in ("z", "sigma", "prob", "chi2")}
        width = label.shape[1]
        for name, wide in (("z", z), ("sigma", self.sigma), ("prob", self.prob)):
            picked = np.take_along_axis(wide, label, axis=1)
            made[name][:, :width] = np.where(used, picked, np.nan)
        labels = np.full(long, -1, np.int16)
        labels[:, :width] = np.where(used, label, -1)
        prob = made["prob"].astype(np.float32)
        return Candidates(labels, made["z"], made["sigma"], prob, made["chi2"])
