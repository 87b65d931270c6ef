"""From a recipe to a checkpoint: all tasks of GaSNet-II, one after the other.

Beside the checkpoint ``NAME.safetensors`` lies the folder ``NAME.training`` with the history and,
while the training lasts, the state of each task. The same command again goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zspec import device as devices
from zspec import history
from zspec.errors import ConfigError, OutputError
from zspec.gasnet2 import picture
from zspec.gasnet2.course import Course
from zspec.gasnet2.forward import fold
from zspec.gasnet2.heads import Head, heads, targets
from zspec.gasnet2.labelled import Sets, collect, write_sets
from zspec.gasnet2.model import Config, Networks
from zspec.gasnet2.network import ResNet
from zspec.gasnet2.parallel import Crew, crew
from zspec.gasnet2.recipe import ClassEntry, Recipe, TrainSettings, parse
from zspec.gasnet2.samples import Samples
from zspec.gasnet2.training import (
    STATE_SECONDS,
    Line,
    Progress,
    Set,
    Task,
    figures,
    fit,
    seeds,
)

log = logging.getLogger("zspec")

ORDER = 10_000
"""Added to a task's number, so that the order of batches and the starts have other seeds."""


@dataclass(frozen=True)
class Trained:
    """The networks of a task with their best weights, folded."""

    networks: tuple[dict[str, torch.Tensor], ...]
    figures: Mapping[str, Any]
    lines: Sequence[Line]


def train(given: Mapping[str, Any], data: Path, output: Path, every: float = STATE_SECONDS) -> None:
    """Train the networks of a recipe from files below ``data``, and write ``output``.

    Goes on where an interrupted training of the same recipe stood. ``every``: seconds between two
    states. Raises ConfigError, InputError or OutputError where recipe, data or output are wrong.
    """
    recipe = parse(given)
    with crew(devices.resolve(recipe.train.device)) as mates:
        folder = _folder(output, given, mates)
        sets = collect(recipe, data)
        if mates.leads and recipe.data.source == "files":
            write_sets(folder, sets, recipe)
        log.info("seed %d, %s, %d process(es)", recipe.seed, mates.device, mates.size)
        trained = run(recipe, sets, mates, folder, every)
        if mates.leads:
            _assemble(recipe, given, sets, trained, mates.device).save(output)
            for left in folder.glob("*.safetensors"):
                left.unlink()
        mates.wait()


def _folder(output: Path, given: Mapping[str, Any], mates: Crew) -> Path:
    """Where states and history go. Raises ConfigError where those of another recipe are."""
    folder = output.with_suffix(".training")
    text = json.dumps(given, sort_keys=True, indent=1, default=str)
    note = folder / "recipe.json"
    if not mates.leads:
        return folder
    try:
        folder.mkdir(exist_ok=True)
        states = any(folder.glob("*.safetensors"))
        if states and note.is_file() and note.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{folder}: holds an unfinished training of another recipe; delete the folder, or "
                "name another output"
            )
        note.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    if states:
        log.info("going on with the training in %s", folder)
    return folder


def run(
    recipe: Recipe, sets: Sets, mates: Crew, folder: Path, every: float = STATE_SECONDS
) -> dict[str, Trained]:
    """Train all tasks, in order; those that are finished in ``folder`` are only read."""
    lines: list[Line] = []
    done = {}
    course = Course(sizes(recipe, sets))
    for number, task in enumerate(tasks(recipe, sets)):
        saved = folder / f"task-{number}.safetensors"
        course.begin(task)
        settings = settings_of(recipe, task)
        tell = partial(_tell, course, task, settings.epochs, folder, tuple(lines))
        progress = fit(task, recipe.network, settings, mates, saved, tell, every)
        if mates.leads:
            lines += progress.history
            done[task.name] = _trained(progress, recipe, task)
    if mates.leads:
        history.write(folder / "history.csv", lines)
        picture.draw(folder, lines)
        log.info("history in %s", folder)
    return done


def _tell(
    course: Course,
    task: Task,
    epochs: int,
    folder: Path,
    before: Sequence[Line],
    progress: Progress,
) -> None:
    """After an epoch: a line for the log, and the history until now."""
    course.tell(task, progress, epochs)
    history.write(folder / "history.csv", [*before, *progress.history])


def settings_of(recipe: Recipe, task: Task) -> TrainSettings:
    """How a task is trained."""
    return recipe.train if task.kind == "class" else recipe.train.of_redshifts()


def sizes(recipe: Recipe, sets: Sets) -> list[int]:
    """Spectra times networks times epochs of each of :func:`tasks`, in their order."""
    label = sets.train.label
    found = [int((targets(head, label) >= 0).sum()) * recipe.train.epochs for head in heads(recipe)]
    each = ensemble(recipe) * recipe.train.of_redshifts().epochs
    with_z = [number for number, entry in enumerate(recipe.classes) if entry.redshift]
    known = sets.train.z.isfinite()
    return [*found, *(int(((label == i) & known).sum()) * each for i in with_z)]


def ensemble(recipe: Recipe) -> int:
    """Networks of a class with a redshift: the members, and the one for the point estimate."""
    return recipe.train.members + recipe.train.point


def _trained(progress: Progress, recipe: Recipe, task: Task) -> Trained:
    """The best weights of each network."""
    folded = []
    for best in progress.best:
        network = ResNet(task.outputs, recipe.network, seed=0)
        network.load_state_dict(best)
        folded.append(fold(network.eval()))
    return Trained(tuple(folded), figures(progress, task.kind), progress.history)


def tasks(recipe: Recipe, sets: Sets) -> Iterator[Task]:
    """The classifiers, then the ensemble of each class with a redshift, its point network last."""
    for number, head in enumerate(heads(recipe)):
        yield _classifier(recipe, sets, number, head)
    for number, entry in enumerate(recipe.classes):
        if entry.redshift:
            at = len(recipe.classes) + number
            parts = [_redshifts(s.of(number)) for s in (sets.train, sets.valid)]
            own = seeds(recipe.seed, at, ensemble(recipe))
            name = redshift_task(entry)
            yield Task(name, "redshift", 1, own, recipe.seed + ORDER + at, parts[0], parts[1])


def redshift_task(entry: ClassEntry) -> str:
    """Name of the task of a class."""
    return f"z {entry.name}"


def _classifier(recipe: Recipe, sets: Sets, number: int, head: Head) -> Task:
    """One head's task, with the spectra of its classes."""
    parts = []
    for samples in (sets.train, sets.valid):
        target = targets(head, samples.label)
        known = target >= 0
        flux = samples.flux if known.all() else samples.flux[known]  # a copy may have gigabytes
        parts.append(Set(flux, target[known]))
    own = seeds(recipe.seed, number, 1)
    order = recipe.seed + ORDER + number
    return Task(f"class {number}", "class", len(head), own, order, parts[0], parts[1])


def _redshifts(samples: Samples) -> Set:
    return Set(samples.flux, samples.z)


def _assemble(
    recipe: Recipe,
    given: Mapping[str, Any],
    sets: Sets,
    trained: Mapping[str, Trained],
    device: str,
) -> Any:
    """The estimator, with its figures on the validation set."""
    from zspec.estimators.gasnet2 import GasNet2

    every = heads(recipe)
    with_z = [i for i, entry in enumerate(recipe.classes) if entry.redshift]
    found = {i: trained[redshift_task(recipe.classes[i])].networks for i in with_z}
    members = {i: nets[: recipe.train.members] for i, nets in found.items()}
    point = {i: nets[-1] for i, nets in found.items() if recipe.train.point}
    classifiers = tuple(trained[f"class {i}"].networks[0] for i in range(len(every)))
    networks = Networks(classifiers, members, point)
    if recipe.predict.store == "float16":
        rounded = {name: tensor.half() for name, tensor in networks.tensors().items()}
        networks = Networks.restore(rounded)
    config = Config(
        heads=every,
        scale=recipe.network.scale,
        z_scale=recipe.train.z_scale,
        mae={},
        threshold=recipe.predict.threshold,
        precision=recipe.predict.precision,
        store=recipe.predict.store,
    )
    meta = {
        "recipe": dict(given),
        "seed": recipe.seed,
        "surveys": [recipe.data.survey] if recipe.data.survey else [],
        "training": {name: dict(one.figures) for name, one in trained.items()},
    }
    made = GasNet2(recipe.specs, networks, config, meta, device)
    measured = validate(made, sets.valid)
    made.meta["figures"] = {"split": sets.counts(), **measured}
    limits = {i: measured["mae"][recipe.classes[i].name] for i in with_z}
    made.config = dataclasses.replace(config, mae=limits)
    return made


@torch.inference_mode()
def validate(model: Any, valid: Samples) -> dict[str, Any]:
    """Accuracy, and for each class with a redshift the MAE in z of its point network.

    With point networks ``mae_ensemble`` is that of the ensemble's mean, without them ``mae`` is.
    The true class is given, as in the paper's Table 4.
    """
    parts = torch.split(valid.flux, 1024)
    prob = torch.cat([model.probabilities(x.to(model.device)).cpu() for x in parts])
    right = (prob.argmax(1) == valid.label).double().mean()
    mae, ensemble = {}, {}
    for number in model.placed.members:
        own = valid.of(number)
        members, point = model.redshifts(number, own.flux.to(model.device))
        truth, name = own.z.double().numpy(), model.classes[number].name
        mae[name] = ensemble[name] = float(abs(members.mean(axis=0) - truth).mean())
        if point is not None:
            mae[name] = float(abs(point - truth).mean())
    figures = {"accuracy": float(right), "mae": mae}
    return figures | {"mae_ensemble": ensemble} if model.placed.point else figures
