"""Where a training stands: network, optimiser, step and history. Safetensors and JSON, no pickle.

The generators need no place in it: what is random in a step follows from seed and step.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zspec import checkpoint
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.proposal.recipe import Recipe
    from zspec.proposal.training import Progress

KIND = "proposal-state"
"""What the file holds, so that no state is taken for a model."""


@dataclass(frozen=True)
class Line:
    """A training as it stood after some steps."""

    step: int
    rate: float
    seconds: float
    """CPU time of all steps."""
    train: float
    """Mean loss of the steps since the line before, augmented."""
    valid: float
    """Loss on the validation set."""
    right: float
    """Share of validation objects with the true class."""
    near: float
    """Share of them whose highest bin is within three of the truth."""


def identity(recipe: Recipe) -> str:
    """What must be the same to go on: all but the number of steps, so that one may have fewer."""
    return repr(replace(recipe, train=replace(recipe.train, steps=1)))


def save(path: Path, progress: Progress, recipe: Recipe) -> None:
    """Write the state, in one piece or not at all. Raises OutputError."""
    tensors = {f"network.{k}": v for k, v in progress.model.network.state_dict().items()}
    for index, moments in progress.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    meta = {
        "holds": KIND,
        "of": identity(recipe),
        "step": progress.step,
        "seconds": progress.seconds,
        "history": [dataclasses.asdict(line) for line in progress.history],
    }
    checkpoint.save(path, tensors, meta)


def resume(path: Path, progress: Progress, recipe: Recipe) -> None:
    """Bring ``progress``, at its start, to where the file stands, if there is one.

    A training that goes on with another number of steps takes the rest of that schedule. Raises
    ConfigError for the state of another training.
    """
    if not path.exists():
        return
    tensors, meta = checkpoint.load(path)
    if meta.get("holds") != KIND or meta.get("of") != identity(recipe):
        raise ConfigError(f"{path}: is the state of another training; remove it first")
    progress.model.network.load_state_dict(_below(tensors, "network."))
    stored = progress.optimiser.state_dict()
    moments: dict[int, dict[str, Any]] = {}
    for key, value in _below(tensors, "adam.").items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = value
    progress.optimiser.load_state_dict({**stored, "state": moments})
    progress.step, progress.seconds = int(meta["step"]), float(meta["seconds"])
    progress.history = [Line(**line) for line in meta["history"]]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those tensors whose names start so, without the start."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
