"""``slitless-bnn``: a residual network on flux and error, and Bayesian layers on its features.

For spectra so noisy that lines drown. Z is the mean of 200 passes; ZERR is calibrated and holds two
parts in quadrature, Z_ALEATORIC (the data's noise) and Z_EPISTEMIC (the network's ignorance). The
network knows one class: it does not say whether a spectrum is of it, but OUT_OF_DISTRIBUTION is set
where its features are unlike those of nearly all spectra in training.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint, flags, plugins
from zspec import device as devices
from zspec.calibration.maps import Calibration, covariate
from zspec.errors import ConfigError
from zspec.estimator import NCANDIDATES, Candidates, Chunk, Estimator, ExtraColumn, Prediction, Want
from zspec.flags import ZWarn
from zspec.grid import WaveGrid
from zspec.slitless.density import densities
from zspec.slitless.inputs import scale, signal_to_noise
from zspec.slitless.model import Model, Passes
from zspec.slitless.recipe import Recipe, parse
from zspec.slitless.training import NAME, Trained

log = logging.getLogger("zspec")

Floats = NDArray[np.float64]


class SlitlessBNN(Estimator):
    """Mean and sigma of one Gaussian from many passes, calibrated."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "residual network on flux and error, with calibrated Bayesian layers"
    needs: ClassVar[frozenset[str]] = frozenset({"grid"})
    stage: ClassVar[str] = "network"
    offers: ClassVar[frozenset[Want]] = frozenset({"zpdf"})
    extra: ClassVar[tuple[ExtraColumn, ...]] = (
        ExtraColumn("Z_EPISTEMIC", "f8", "", "Part of ZERR that is the network's ignorance."),
        ExtraColumn("Z_ALEATORIC", "f8", "", "Part of ZERR that is the noise of the data."),
        ExtraColumn("Z_POINT", "f8", "", "Redshift of the network without Bayesian layers."),
    )

    def __init__(
        self,
        recipe: Recipe,
        grid: WaveGrid,
        trained: Trained,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """``meta`` is what the checkpoint tells beyond the network, as surveys."""
        self.recipe, self.grid, self.trained = recipe, grid, trained
        self.meta = dict(meta or {})
        self.classes = (recipe.label.spec(),)
        self.calibrated = trained.calibration.method != "none"
        self.model = trained.model
        self.weights = self.model.draw(recipe.seed)

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Redshift and uncertainty of every row; NaN in a row without a good pixel."""
        flux, error = torch.from_numpy(chunk.batch.flux), torch.from_numpy(chunk.batch.error)
        seen: NDArray[np.bool_] = np.any(chunk.batch.good, axis=1)
        if not len(seen):
            return self._prediction(seen, [np.zeros(0)] * 5, np.zeros(0), want)
        said = self.model.run(scale(flux, error), self.weights)
        x = covariate(signal_to_noise(flux, error).double().numpy())
        return self._prediction(seen, _arrays(said), x, want)

    def _prediction(
        self,
        seen: NDArray[np.bool_],
        said: Sequence[Floats],
        x: Floats,
        want: frozenset[Want],
    ) -> Prediction:
        """What passes said of n spectra, calibrated; ``x`` is the covariate of the calibration."""
        z, aleatoric, epistemic, point, distance = said
        spec, (low, high) = self.classes[0], self.recipe.label.z_range
        calibration = self.trained.calibration
        inside = np.clip(z, low, high)
        beyond = inside != z
        raw = np.hypot(aleatoric, epistemic)
        wider = calibration.widening(x)
        good = calibration.within(spec.good_dz * (1 + inside) / raw, x)
        z, sigma, zconf = (np.where(seen, v, np.nan) for v in (inside, raw * wider, good))
        parts = {"Z_EPISTEMIC": epistemic * wider, "Z_ALEATORIC": aleatoric * wider}
        parts["Z_POINT"] = np.clip(point, low, high)
        known = self.trained.figures
        zwarn = flags.where(seen & beyond, ZWarn.Z_FITLIMIT)
        zwarn |= flags.where(seen & (distance > known["far"]), ZWarn.OUT_OF_DISTRIBUTION)
        zwarn |= flags.where(seen & (sigma > known["mae"]), ZWarn.UNSTABLE)
        prob = np.where(seen, 1, np.nan).astype(np.float32)
        return Prediction(
            classes=self.classes,
            prob=prob[:, None],
            z=z[:, None],
            sigma=sigma[:, None],
            best=np.zeros(len(z), np.int16),
            candidates=only(z, sigma, prob),
            zwarn=zwarn,
            zconf=zconf.astype(np.float32) if self.calibrated else None,
            zpdf=densities(inside, raw, x, calibration, seen) if "zpdf" in want else None,
            extra={name: np.where(seen, v, np.nan) for name, v in parts.items()},
        )

    @classmethod
    def train(cls, recipe: Mapping[str, Any], data: Path, output: Path) -> None:
        """Train what a recipe says (:mod:`zspec.slitless.recipe`), from files below ``data``.

        A training that was stopped goes on where it was. Raises ConfigError for a recipe, and
        InputError for data, that make no sense.
        """
        from zspec.slitless import samples, training

        said = parse(recipe)
        grid = plugins.survey(said.data.survey).grid
        train, valid = samples.load(said.data, data, grid, said.seed, said.label.spectype)
        counts = (len(train), len(valid), len(grid), said.seed)
        log.info("%d spectra to train on, %d to validate, %d pixels, seed %d", *counts)
        kept = output.with_name(f"{output.stem}.resume.safetensors")
        where = devices.resolve(said.device)
        start = cls.load(Path(said.network.start), where).model if said.network.start else None
        trained = training.fit(said, grid, train, valid, where, kept, start=start)
        meta: dict[str, Any] = {"surveys": [said.data.survey]}
        meta |= {"default_for": list(said.default_for)}
        meta |= {"counts": {"train": len(train), "valid": len(valid)}}
        cls(said, grid, trained, meta).save(output)

    def save(self, path: Path) -> None:
        """Write one safetensors file; matrices and kernels in 16 bits, which hold them exactly."""
        tensors = {
            name: value.half() if value.ndim > 1 and _stored_in_half(name) else value
            for name, value in self.model.state_dict().items()
        }
        assert self.grid is not None
        config = {
            "recipe": dataclasses.asdict(self.recipe),
            "grid": self.grid.to_dict(),
            "calibration": self.trained.calibration.stored(),
            "history": self.trained.history,
        }
        meta = {**self.meta, "estimator": self.name, "config": config, "seed": self.recipe.seed}
        meta |= {"classes": [spec.name for spec in self.classes], "figures": self.trained.figures}
        checkpoint.save(path, tensors, meta)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> SlitlessBNN:
        """Read what ``save`` wrote; it will compute on ``device``.

        Raises ConfigError for another's file or a damaged one.
        """
        tensors, meta = checkpoint.load_own(path, cls.name)
        try:
            config = meta["config"]
            recipe, grid = parse(config["recipe"]), WaveGrid.from_dict(config["grid"])
            wave = torch.from_numpy(np.array(grid.wave))
            model = Model(wave, recipe)
            model.load_state_dict({name: value.float() for name, value in tensors.items()})
            calibration = Calibration.restore(config["calibration"])
            trained = Trained(model.to(device), calibration, meta["figures"], config["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{path}: is no {cls.name} that can be used ({reason})") from None
        own = {"estimator", "config", "classes", "figures", "format", "zspec", "seed"}
        made = cls(recipe, grid, trained, {k: v for k, v in meta.items() if k not in own})
        made.device = device
        return made


def only(z: Floats, sigma: Floats, prob: NDArray[np.float32]) -> Candidates:
    """The one candidate of each spectrum; none in a row without data."""
    shape = (len(z), NCANDIDATES)
    label = np.full(shape, -1, np.int16)
    label[np.isfinite(z), 0] = 0

    def first(values: NDArray[Any]) -> NDArray[Any]:
        wide = np.full(shape, np.nan, values.dtype)
        wide[:, 0] = values
        return wide

    return Candidates(label, first(z), first(sigma), first(prob), np.full(shape, np.nan))


def _arrays(said: Passes) -> list[Floats]:
    """The fields as float64 arrays."""
    return [field.double().numpy() for field in said]


def _stored_in_half(name: str) -> bool:
    """Whether a tensor was rounded to 16 bits: parameters were, buffers were not."""
    return not name.endswith("whiten")
