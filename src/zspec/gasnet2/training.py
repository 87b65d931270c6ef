"""Training of networks that share their batches: one classifier, or a class's whole ensemble.

Loss, schedule and choice of the checkpoint are the paper's (section 3.3): cross-entropy or Huber,
Adam from 1e-3 halved every 5 epochs, the weights with the best accuracy or the smallest MAE on the
validation set, for each network by itself. After every epoch a state is written that resumes to
the same weights, bit for bit on one CPU process; see :mod:`zspec.gasnet2.state`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zspec.errors import ConfigError
from zspec.gasnet2 import state
from zspec.gasnet2.network import NetworkSettings, ResNet
from zspec.gasnet2.parallel import Crew
from zspec.gasnet2.recipe import TrainSettings

log = logging.getLogger("zspec")

STATE_SECONDS = 60.0
"""A state is written at most so often: those of a full ensemble have 700 MB."""
EVAL_BATCH = 256
"""Spectra that are validated at once."""
RISE = 0.2
"""Share of a cycle over which the learning rate rises."""


@dataclass(frozen=True)
class Set:
    """What a task learns from or is judged by."""

    flux: Tensor
    """(n, wave) float32, normalised."""
    target: Tensor
    """(n,) class int64, or redshift float32, not clipped."""

    def to(self, device: str) -> Set:
        """The same on another device."""
        return Set(self.flux.to(device), self.target.to(device))

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.target)


@dataclass(frozen=True)
class Task:
    """Networks that learn the same from the same batches."""

    name: str
    kind: Literal["class", "redshift"]
    outputs: int
    seeds: tuple[int, ...]
    """One for each network: start and dropout."""
    order: int
    """Seed of the order of batches."""
    train: Set
    valid: Set

    @property
    def data(self) -> str:
        """SHA-256 of the targets: a training that goes on must see the data that it began with."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid):
            digest.update(part.target.numpy().tobytes())
        return digest.hexdigest()


@dataclass
class Line:
    """One line of the history: one network after one epoch."""

    task: str
    network: int
    epoch: int
    rate: float
    train_loss: float
    train_score: float
    """Accuracy, or MAE in z; measured while training, dropout on, as in the paper's Fig. 11."""
    valid_loss: float
    valid_score: float


@dataclass
class Progress:
    """All that changes in a training."""

    networks: list[ResNet]
    optimisers: list[torch.optim.Adam]
    best: list[dict[str, Tensor]]
    """Weights of each network at its best epoch so far."""
    score: list[float]
    """Its accuracy, or -MAE: higher is better."""
    epoch: int = 0
    """Epochs that are done."""
    history: list[Line] = field(default_factory=list)

    @property
    def last(self) -> list[Line]:
        """The lines of the last epoch, one a network."""
        return self.history[-len(self.networks) :]


def seeds(seed: int, task: int, number: int) -> tuple[int, ...]:
    """``number`` independent seeds for the networks of a task."""
    return tuple(int(x) for x in np.random.SeedSequence([seed, task]).generate_state(number))


def begin(task: Task, network: NetworkSettings, settings: TrainSettings, crew: Crew) -> Progress:
    """Networks at their start."""
    shift = crew.rank << 32  # processes drop different units of their shares of a batch
    networks = [ResNet(task.outputs, network, seed, crew.device) for seed in task.seeds]
    for one, seed in zip(networks, task.seeds, strict=True):
        one.dropout.generator.manual_seed(seed + shift)
        if settings.centre and task.kind == "redshift":
            middle = task.train.target.clamp(*settings.z_clip).median() * settings.z_scale
            torch.nn.init.constant_(one.out.bias, float(middle))
    adam = [torch.optim.Adam(one.parameters(), settings.rate, fused=True) for one in networks]
    none: list[dict[str, Tensor]] = [{} for _ in networks]
    return Progress(networks, adam, none, [-math.inf] * len(networks))


def fit(
    task: Task,
    network: NetworkSettings,
    settings: TrainSettings,
    crew: Crew,
    saved: Path,
    tell: Callable[[Progress], None] = lambda progress: None,
    every: float = STATE_SECONDS,
) -> Progress:
    """Train all networks of a task, from the state ``saved`` where there is one.

    ``tell`` is called after each epoch. ``every``: seconds between two states. Raises ConfigError
    where ``saved`` is of another training, and where the loss is no longer finite.
    """
    progress = begin(task, network, settings, crew)
    state.resume(saved, progress, task)
    train, valid = task.train.to(crew.device), task.valid.to(crew.device)
    wrapped = [crew.wrap(one) for one in progress.networks]
    written = time.monotonic()
    while progress.epoch < settings.epochs:
        learned = _epoch(task, train, wrapped, progress, settings, crew)
        progress.epoch += 1
        last = progress.epoch == settings.epochs
        if crew.leads:
            _judge(task, valid, progress, settings, learned)
            tell(progress)
            if last or time.monotonic() - written >= every:
                state.save(saved, progress, task)
                written = time.monotonic()
        crew.wait()
    return progress


def rate(settings: TrainSettings, epoch: float) -> float:
    """Learning rate after so many epochs.

    Halved in steps, as the paper has it, or one cycle: up to ``rate`` over the first ``RISE`` of
    the course, and down along half a cosine (Smith & Topin 2019; Loshchilov & Hutter 2017).
    """
    if settings.schedule == "halve":
        return settings.rate * 0.5 ** (int(epoch) // settings.halve)
    done = epoch / settings.epochs
    if done < RISE:
        return settings.rate * done / RISE
    return settings.rate * 0.5 * (1 + math.cos(math.pi * (done - RISE) / (1 - RISE)))


def _epoch(
    task: Task,
    train: Set,
    wrapped: Sequence[torch.nn.Module],
    progress: Progress,
    settings: TrainSettings,
    crew: Crew,
) -> list[tuple[float, float]]:
    """One pass over the training set; mean loss and score of each network.

    A last batch that is not full is left out, unless it is the only one.
    """
    for one in wrapped:
        one.train()
    generator = np.random.default_rng([task.order, progress.epoch])
    order = torch.from_numpy(generator.permutation(len(train)))
    steps = max(1, len(train) // settings.batch)
    sums = torch.zeros(len(wrapped), 2, device=crew.device)
    for step in range(steps):
        for adam in progress.optimisers:
            adam.param_groups[0]["lr"] = rate(settings, progress.epoch + (step + 0.5) / steps)
        rows = crew.share(order[step * settings.batch : (step + 1) * settings.batch])
        rows = rows.to(crew.device)
        x, y = train.flux[rows], train.target[rows]
        for number, (one, adam) in enumerate(zip(wrapped, progress.optimisers, strict=True)):
            sums[number] += _step(task, one, adam, x, y, settings)
    return [(float(loss), float(score)) for loss, score in (sums / steps).tolist()]


def _step(
    task: Task,
    network: torch.nn.Module,
    adam: torch.optim.Adam,
    x: Tensor,
    y: Tensor,
    settings: TrainSettings,
) -> Tensor:
    """One step of one network: (2,) loss and score of the batch."""
    adam.zero_grad()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bfloat16(settings, x.device)):
        output = network(x)
    loss, score = losses(task, output.float(), y, settings)
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()
    return torch.stack([loss.detach(), score])


def in_bfloat16(settings: TrainSettings, device: torch.device) -> bool:
    """Whether the convolutions run in 16 bits."""
    wanted = settings.precision
    return device.type == "cuda" if wanted == "auto" else wanted == "bfloat16"


def losses(task: Task, output: Tensor, y: Tensor, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Loss, and accuracy or MAE in z, of (n, output) against (n,) targets.

    The loss clips redshifts to ``z_clip``; the MAE takes them as they are.
    """
    if task.kind == "class":
        return functional.cross_entropy(output, y), (output.argmax(1) == y).float().mean()
    z = output[:, 0] / settings.z_scale
    clipped = y.clamp(*settings.z_clip) * settings.z_scale
    loss = functional.huber_loss(output[:, 0], clipped, delta=settings.huber)
    return loss, (z.detach() - y).abs().mean()


def _judge(
    task: Task,
    valid: Set,
    progress: Progress,
    settings: TrainSettings,
    learned: Sequence[tuple[float, float]],
) -> None:
    """Validate all networks, and keep the weights of those that were never better."""
    for number, network in enumerate(progress.networks):
        loss, score = _validate(task, network, valid, settings)
        if not math.isfinite(loss):
            raise ConfigError(
                f"{task.name}: the loss is {loss} after epoch {progress.epoch}; lower train.rate"
            )
        goodness = score if task.kind == "class" else -score
        if goodness > progress.score[number]:
            progress.score[number] = goodness
            stored = network.state_dict()
            progress.best[number] = {k: v.detach().cpu().clone() for k, v in stored.items()}
        now = rate(settings, progress.epoch - 0.5)
        line = Line(task.name, number, progress.epoch, now, *learned[number], loss, score)
        progress.history.append(line)


@torch.no_grad()
def _validate(
    task: Task, network: ResNet, valid: Set, settings: TrainSettings
) -> tuple[float, float]:
    """Loss and score on the validation set, dropout off."""
    network.eval()
    parts = [network(x).float() for x in torch.split(valid.flux, EVAL_BATCH)]
    loss, score = losses(task, torch.cat(parts), valid.target, settings)
    return float(loss), float(score)


def figures(progress: Progress, kind: str) -> dict[str, Any]:
    """What a checkpoint tells of its networks: the best validation score of each, and its epoch."""
    sign = 1.0 if kind == "class" else -1.0
    name = "accuracy" if kind == "class" else "mae"
    epochs = []
    for number, best in enumerate(progress.score):
        own = [line for line in progress.history if line.network == number]
        epochs.append(next((x.epoch for x in own if x.valid_score == sign * best), 0))
    return {name: [sign * score for score in progress.score], "epoch": epochs}
