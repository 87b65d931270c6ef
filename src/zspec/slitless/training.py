"""From samples to a calibrated estimator: the point network, its frozen features, the head.

Stages run one after the other; after each epoch the state is kept beside the output, so that a
training that was stopped goes on where it was, to the same weights bit for bit on one CPU.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zspec import calibrate, checkpoint
from zspec.calibration.maps import Calibration, covariate
from zspec.errors import ConfigError
from zspec.grid import WaveGrid
from zspec.slitless.fit import Fit, Tensors, select
from zspec.slitless.heads import negative_log_likelihood
from zspec.slitless.model import ROWS, Member, Model, Passes
from zspec.slitless.recipe import Recipe
from zspec.slitless.samples import Samples

log = logging.getLogger("zspec")

NAME = "slitless-bnn"
VALID_DRAWS = 20
"""Draws of the weights whose mean loss on the validation set decides which state is kept."""
FAR = 0.999
"""Quantile of the validation set's distance beyond which a spectrum is out of distribution."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves."""

    model: Model
    calibration: Calibration
    figures: dict[str, float]
    """On the validation set; ``far`` and ``mae`` are limits of flags."""
    history: dict[str, list[dict[str, float]]]


def fit(
    recipe: Recipe,
    grid: WaveGrid,
    train: Samples,
    valid: Samples,
    device: str,
    kept: Path | None = None,
    told: Callable[[Fit], None] = lambda fit: None,
    start: Model | None = None,
) -> Trained:
    """Train all stages of a recipe. ``kept`` is where the state is stored; None: nowhere.

    ``start`` gives its networks, and only heads are trained. The generators of the caller
    are left as they were. Raises ConfigError where ``kept`` holds the state of another training.
    """
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(recipe.seed)
        wave = torch.from_numpy(np.array(grid.wave))
        model = Model(wave, recipe).to(device)
        if start is not None:
            take_networks(model, start)
        z = train.z
        model.units.copy_(torch.stack([z.mean(), z.std()]))
        stages = Stages(recipe, model, train.to(device), valid.to(device), kept, told)
        history = stages.run(heads_only=start is not None)
    round_to_half(model)
    return _finish(recipe, model, valid, history)


class Stages:
    """The point network and the head of each member, in turn."""

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        train: Samples,
        valid: Samples,
        kept: Path | None,
        told: Callable[[Fit], None],
    ) -> None:
        """See :func:`fit`."""
        self.recipe, self.model, self.train, self.valid = recipe, model, train, valid
        self.kept, self.told = kept, told
        digest = hashlib.sha256()
        for labels in (train.z, valid.z):
            digest.update(labels.float().cpu().numpy().tobytes())
        self.identity = {"recipe": repr(recipe), "data": digest.hexdigest()}

    def run(self, heads_only: bool = False) -> dict[str, list[dict[str, float]]]:
        """Run what is left to do; the history of each stage by its name."""
        first, numbers, tensors, history = self._restore()
        members = [member for member in self.model.members if isinstance(member, Member)]
        makers = [make for member in members for make in self._makers(member)]
        for stage, make in enumerate(makers):
            if stage < first or (heads_only and stage % 2 == 0):
                continue
            torch.manual_seed(self.recipe.seed + 1 + stage)
            name = f"{('point', 'head')[stage % 2]} {stage // 2 + 1}"
            one = make(name)
            if stage == first and numbers is not None:
                one.restore(tensors, numbers)
            one.run(lambda done, at=stage: self._keep(done, at, history))  # type: ignore[misc]
            history[name] = one.history
        if self.kept is not None:
            self.kept.unlink(missing_ok=True)
        return history

    def _makers(self, member: Member) -> Iterator[Callable[[str], Fit]]:
        yield lambda name: self._point(name, member)
        yield lambda name: self._head(name, member)

    def _point(self, name: str, member: Member) -> Fit:
        """The training of a network of features on redshifts."""
        network, label, valid = member.point, self.train.z.float(), self.valid.z.float()

        def loss(rows: Tensor, done: float) -> Tensor:
            return network.loss(self.train.fresh(rows), label[rows.to(label.device)])

        def validate() -> float:
            pieces = zip(
                *(torch.split(t, ROWS) for t in (self.valid.observed(), valid)), strict=True
            )
            losses = [len(z) * float(network.loss(x, z)) for x, z in pieces]
            return sum(losses) / len(self.valid)

        return Fit(name, network, self.recipe.point, len(self.train), loss, validate)

    def _head(self, name: str, member: Member) -> Fit:
        """The training of a head on the features of a network that stays as it is."""
        settings, count = self.recipe.bayes, len(self.train)
        member.eval()
        features = self._features(member)
        member.learn_features(features)
        seen = forward(member.point.features, self.valid.observed())
        label = self.train.z.float().repeat(self.recipe.bayes.realisations)
        valid_label = self.valid.z.float()
        head, answer = member.head, partial(member.point.answer, units=self.model.units)

        def loss(rows: Tensor, done: float) -> Tensor:
            rows = rows.to(features.device)
            warm = min(1.0, done / settings.warmup) if settings.warmup else 1.0
            mean, sigma = answer(head(features[rows]), features[rows])
            return negative_log_likelihood(mean, sigma, label[rows]) + warm * head.penalty(count)

        def validate() -> float:
            generator = torch.Generator().manual_seed(self.recipe.seed)
            weights = head.draw(VALID_DRAWS, generator).to(str(seen.device))
            raw = forward(lambda x: weights.run(head.normal(x)).transpose(0, 1), seen)
            mean, sigma = answer(raw.transpose(0, 1), seen)
            return float(negative_log_likelihood(mean, sigma, valid_label))

        return Fit(name, head, settings, len(features), loss, validate)

    def _features(self, member: Member) -> Tensor:
        """(realisation · n, feature): computed once, as the network is frozen."""
        count = len(self.train)
        shape = (self.recipe.bayes.realisations, count, member.point.size)
        made = torch.empty(shape, device=self.train.flux.device)
        with torch.no_grad():
            for realisation in made:  # filled in place: at full size they are 25 GB
                for rows in torch.split(torch.arange(count), ROWS):
                    realisation[rows] = member.point.features(self.train.fresh(rows))
        return made.flatten(0, 1)

    def _keep(self, done: Fit, stage: int, history: Mapping[str, Any]) -> None:
        """Store the state after an epoch."""
        if self.kept is not None:
            tensors, numbers = done.state()
            tensors = {f"fit.{k}": v for k, v in tensors.items()}
            tensors |= {f"model.{k}": v for k, v in self.model.state_dict().items()}
            state = {"stage": stage, "fit": numbers, "history": history, "of": self.identity}
            checkpoint.save(self.kept, tensors, {"estimator": NAME, "state": state})
        self.told(done)

    def _restore(self) -> tuple[int, dict[str, Any] | None, Tensors, dict[str, Any]]:
        """Stage to begin with, its numbers and tensors, and the history of those before."""
        if self.kept is None or not self.kept.is_file():
            return 0, None, {}, {}
        tensors, meta = checkpoint.load(self.kept)
        state = meta.get("state", {})
        if state.get("of") != self.identity:
            text = "is the state of another training, or on other data; remove it first"
            raise ConfigError(f"{self.kept}: {text}")
        self.model.load_state_dict(select(tensors, "model."))
        log.info("%s: going on at epoch %d", self.kept, state["fit"]["epoch"])
        return int(state["stage"]), state["fit"], select(tensors, "fit."), dict(state["history"])


def take_networks(model: Model, start: Model) -> None:
    """Copy the networks of another model. Raises ConfigError where they differ."""
    try:
        for mine, other in zip(model.members, start.members, strict=True):
            assert isinstance(mine, Member)
            assert isinstance(other, Member)
            mine.point.load_state_dict(other.point.state_dict())
    except (RuntimeError, ValueError):
        raise ConfigError("recipe: network.start has networks of another shape") from None


def forward(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A network on all rows, in pieces."""
    return torch.cat([network(piece) for piece in torch.split(x, ROWS)])


def round_to_half(model: nn.Module) -> None:
    """Round matrices and kernels to 16 bits, as they are stored; vectors keep 32 bits."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.copy_(value.half().float())


def _finish(recipe: Recipe, model: Model, valid: Samples, history: dict[str, Any]) -> Trained:
    """Calibrate on the validation set, and say how well it is predicted."""
    said = model.run(valid.observed(), model.draw(recipe.seed))
    x = covariate(valid.snr().double().numpy())
    t = ((valid.z - said.z) / said.sigma).numpy()
    found = calibrate.learn(t, x, recipe.calibration.method, recipe.calibration.knots)
    numbers = figures(said, valid, found)
    log.info("validation: %s", ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
    return Trained(model, found, numbers, history)


def figures(said: Passes, valid: Samples, calibration: Calibration) -> dict[str, float]:
    """Metrics of the validation set, as docs/reference/metrics.md defines them.

    Coverage is none of them: on the spectra that the calibration was learned from it says nothing.
    """
    true = valid.z
    x = covariate(valid.snr().double().numpy())
    sigma = said.sigma * torch.from_numpy(calibration.widening(x))
    d = (said.z - true) / (1 + true)
    point = (said.point - true) / (1 + true)
    return {
        "n": float(len(true)),
        "nmad": float(1.48 * (d - d.median()).abs().median()),
        "eta": float((d.abs() > 0.02).double().mean()),
        "point_nmad": float(1.48 * (point - point.median()).abs().median()),
        "point_eta": float((point.abs() > 0.02).double().mean()),
        "ebar": float((sigma / (1 + true)).mean()),
        "mae": float((said.z - true).abs().mean()),
        "far": float(said.distance.double().quantile(FAR)),
    }
