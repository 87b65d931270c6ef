"""Where a training stands: networks, optimisers, generators, best weights and history.

One safetensors file with JSON beside the tensors; nothing is pickled.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zspec import checkpoint
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.gasnet2.training import Progress, Task

KIND = "gasnet2-state"
"""What stands for the estimator's name, so that no state is taken for a model."""
ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of every parameter."""


def save(path: Path, progress: Progress, task: Task) -> None:
    """Write the state, in one piece or not at all. Raises OutputError where that fails."""
    tensors: dict[str, Tensor] = {}
    pairs = zip(progress.networks, progress.optimisers, progress.best, strict=True)
    for number, (network, adam, best) in enumerate(pairs):
        tensors[f"{number}.generator"] = network.dropout.generator.get_state()
        for name, value in network.state_dict().items():
            tensors[f"{number}.network.{name}"] = value
        for name, value in best.items():
            tensors[f"{number}.best.{name}"] = value
        for index, kept in adam.state_dict()["state"].items():
            for name in ADAM:
                tensors[f"{number}.adam.{index}.{name}"] = kept[name]
    meta = {
        "estimator": KIND,
        "task": task.name,
        "data": task.data,
        "epoch": progress.epoch,
        "score": progress.score,
        "history": [dataclasses.asdict(line) for line in progress.history],
    }
    checkpoint.save(path, tensors, meta)


def resume(path: Path, progress: Progress, task: Task) -> None:
    """Bring ``progress``, at its start, to where the state at ``path`` stands, if there is one.

    Raises ConfigError for the state of another training.
    """
    from zspec.gasnet2.training import Line

    if not path.exists():
        return
    tensors, meta = checkpoint.load(path)
    if meta.get("estimator") != KIND or meta.get("task") != task.name:
        raise ConfigError(f"{path}: is no state of {task.name!r}")
    if meta.get("data") != task.data:
        raise ConfigError(f"{path}: is of a training on other data; delete it, or name them again")
    try:
        for number in range(len(progress.networks)):
            _restore(progress, number, _below(tensors, f"{number}."))
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{path}: is a state of other networks ({error})") from None
    progress.epoch, progress.score = int(meta["epoch"]), list(meta["score"])
    progress.history = [Line(**line) for line in meta["history"]]


def _restore(progress: Progress, number: int, tensors: dict[str, Tensor]) -> None:
    """One network, its optimiser, its generator and its best weights."""
    network, adam = progress.networks[number], progress.optimisers[number]
    network.load_state_dict(_below(tensors, "network."))
    network.dropout.generator.set_state(tensors["generator"])
    progress.best[number] = _below(tensors, "best.")
    stored = adam.state_dict()
    kept: dict[int, dict[str, Any]] = {}
    parameters = [p for group in adam.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        own = _below(tensors, f"adam.{index}.")
        kept[index] = {"step": own["step"]}
        for name in ADAM[1:]:  # in the parameter's memory format, which the fused step goes by
            kept[index][name] = torch.empty_like(parameter).copy_(own[name])
    adam.load_state_dict({"state": kept, "param_groups": stored["param_groups"]})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those tensors whose names start so, without the start."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
