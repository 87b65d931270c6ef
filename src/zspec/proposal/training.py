"""From mock spectra to a proposal: ``train``, the first step of ``zspec train zspec``.

Everything random in a step follows from the seed and the step's number, so that a training that was
stopped goes on to the same weights, bit for bit on one machine's CPU. Beside the state lie the mock
spectra, the sources that they are drawn from, and ``history.csv``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zspec import device as devices
from zspec import history
from zspec.errors import ConfigError, OutputError
from zspec.proposal import state
from zspec.proposal.augment import AugmentSettings, augment
from zspec.proposal.inputs import channels
from zspec.proposal.model import ProposalModel
from zspec.proposal.recipe import Recipe
from zspec.proposal.samples import LARGEST, Samples, prepare
from zspec.proposal.targets import loss, shares
from zspec.proposal.validate import validate
from zspec.simulate.seeds import generator

log = logging.getLogger("zspec")

WARM = 0.05
"""Share of the steps in which the rate rises."""
FLOOR = 0.01
"""Share of the rate at which it ends."""
VALIDATION = 2**32
"""Stands for a step in the seed of what is done to the validation set, once and for all."""
CLIP = 1.0
"""Largest norm of the gradient."""
REACH = 8192
"""Spectra of the training set whose features make ``ProposalModel.distance``."""


@dataclass
class Progress:
    """All that changes in a training."""

    model: ProposalModel
    optimiser: torch.optim.AdamW
    step: int = 0
    """Steps that are done."""
    seconds: float = 0.0
    """That they took, CPU time of the process."""
    history: list[state.Line] = field(default_factory=list)


def train(
    recipe: Recipe,
    data: Path,
    kept: Path,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> ProposalModel:
    """Train the network of a recipe; go on where the folder ``kept`` says that it stood.

    data: what the recipe's sources are learned from. ``tell`` is called after each validation.
    Raises ConfigError where ``kept`` holds another training or the loss is no longer finite, and
    OutputError where it cannot be written.
    """
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{kept}: no folder can be made ({error.strerror or error})") from None
    log.info("proposal: seed %d, state in %s", recipe.seed, kept)
    known, unseen = prepare(recipe, data, kept)
    return fit(recipe, known, unseen, kept, tell)


def fit(
    recipe: Recipe,
    known: Samples,
    unseen: Samples,
    kept: Path,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> ProposalModel:
    """Train on ``known`` and judge by ``unseen``; see :func:`train`."""
    progress = begin(recipe)
    unseen = harder(unseen, recipe)
    path = kept / "state.safetensors"
    state.resume(path, progress, recipe)
    while progress.step < recipe.train.steps:
        last = min(progress.step + recipe.train.every, recipe.train.steps)
        learned = _advance(progress, recipe, known, last)
        _judge(progress, recipe, unseen, learned)
        state.save(path, progress, recipe)
        history.write(kept / "history.csv", progress.history)
        tell(progress)
    _finish(progress.model, known, recipe)
    return progress.model


def tune(model: ProposalModel, known: Samples, recipe: Recipe) -> ProposalModel:
    """A copy of ``model`` after the recipe's steps on ``known``; it is left as it was.

    The distance of features is learned anew, from the same spectra.
    """
    progress = begin(recipe)
    progress.model.network.load_state_dict(model.network.state_dict())
    learned = _advance(progress, recipe, known, recipe.train.steps)
    text = "proposal: %d steps on %d spectra: loss %.3f, %.0f s of CPU"
    log.info(text, progress.step, len(known), learned, progress.seconds)
    _finish(progress.model, known, recipe)
    return progress.model


def harder(samples: Samples, recipe: Recipe) -> Samples:
    """The samples as a step of the training would see them: noise added, and all else done."""
    rng = generator([recipe.seed, VALIDATION], "cpu")
    flux, error = augment(samples.flux.float(), samples.error.float(), recipe.augment, rng)
    fits = (error < LARGEST) & (flux.abs() < LARGEST)
    return replace(samples, flux=(flux * fits).half(), error=(error * fits).half())


def begin(recipe: Recipe) -> Progress:
    """A network at its start. The caller's generator is left as it was."""
    device = devices.resolve(recipe.train.device)
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        model = ProposalModel(recipe.grid.grid(), recipe.network, "cpu").to(device)
    kind = torch.optim.AdamW
    optimiser = kind(
        model.network.parameters(), lr=recipe.train.rate, weight_decay=recipe.train.decay
    )
    return Progress(model, optimiser)


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step, counted from 0."""
    done = step / recipe.train.steps
    if done < WARM:
        part = done / WARM
    else:
        part = 0.5 * (1 + math.cos(math.pi * (done - WARM) / (1 - WARM)))
    return recipe.train.rate * (FLOOR + (1 - FLOOR) * part)


def rows_of(recipe: Recipe, count: int, step: int) -> Tensor:
    """(batch,) rows of a step: passes over all spectra, each in an order of its own."""
    size = min(recipe.train.batch, count)
    many = count // size  # those that fill no batch wait for the next pass
    order = np.random.default_rng([recipe.seed, step // many]).permutation(count)
    return torch.from_numpy(order[step % many * size :][:size])


def _advance(progress: Progress, recipe: Recipe, known: Samples, last: int) -> float:
    """Run until ``last`` steps are done; mean loss of them."""
    progress.model.network.train()
    started, losses = time.process_time(), []
    while progress.step < last:
        for group in progress.optimiser.param_groups:
            group["lr"] = rate(recipe, progress.step)
        losses.append(_step(progress, recipe, known))
        progress.step += 1
    progress.seconds += time.process_time() - started
    return float(torch.stack(losses).mean())


def _step(progress: Progress, recipe: Recipe, known: Samples) -> Tensor:
    """One step; its loss."""
    model, settings = progress.model, recipe.train
    rows = rows_of(recipe, len(known), progress.step)
    x = _batch(known, rows, recipe.augment, recipe.seed, progress.step, model.device)
    label = known.label[rows].to(model.device)
    target = shares(known.label[rows], known.ln_z[rows], model.bins).to(model.device)
    progress.optimiser.zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        logits, nothing, _ = model.network(x)
    made = loss(model.masked(logits), nothing, label, target).mean()
    made.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.network.parameters(), CLIP)
    progress.optimiser.step()
    return made.detach()


def _batch(
    known: Samples, rows: Tensor, settings: AugmentSettings, seed: int, step: int, device: str
) -> Tensor:
    """Channels (batch, channel, wave) of some spectra, as seen this time."""
    rng = generator([seed, step], device)
    flux, error = (values[rows].to(device).float() for values in (known.flux, known.error))
    return channels(*augment(flux, error, settings, rng))


def _judge(progress: Progress, recipe: Recipe, unseen: Samples, learned: float) -> None:
    """Validate, and add a line to the history."""
    names = [entry.name for entry in recipe.data.survey]
    found = validate(progress.model, unseen, names)
    if not math.isfinite(found.loss):
        text = f"the loss is {found.loss} after step {progress.step}; lower proposal.train.rate"
        raise ConfigError(f"proposal: {text}")
    now = rate(recipe, progress.step - 1)
    line = state.Line(
        progress.step, now, progress.seconds, learned, found.loss, found.right, found.near
    )
    progress.history.append(line)
    text = (
        "proposal: step %d of %d: loss %.3f, validation %.3f, class %.3f, near %.3f, %.1f ms each"
    )
    done = progress.step * recipe.train.batch
    numbers = (progress.step, recipe.train.steps, learned, found.loss, found.right, found.near)
    log.info(text, *numbers, 1e3 * progress.seconds / done)
    for name, each in found.by_survey.items():
        log.info("  %s: %s", name, each)


def _finish(model: ProposalModel, known: Samples, recipe: Recipe) -> None:
    """Learn how far the training set reaches, from spectra as a step would see them."""
    some = Samples(**{name: values[:REACH] for name, values in known.tensors().items()})
    seen = harder(some, recipe)
    parts = zip(torch.split(seen.flux, 256), torch.split(seen.error, 256), strict=True)
    model.learn_distance(torch.cat([model.features(*part) for part in parts]), seen.label)
