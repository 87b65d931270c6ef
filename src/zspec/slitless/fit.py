"""One training: epochs over rows, the best state kept, and all of it resumable bit for bit.

What a training state is: the network, the best network so far, Adam's moments, the generators and
a few numbers. It is stored as a checkpoint of zspec (safetensors and JSON), never pickled.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zspec.errors import ConfigError
from zspec.slitless.recipe import FitSettings

log = logging.getLogger("zspec")

Tensors = dict[str, Tensor]

FLOOR = 0.01
"""Share of the rate at which the cosine schedule ends."""
WARM = 0.05
"""Share of the steps in which that schedule rises."""


@dataclass
class Fit:
    """A network in training. ``loss`` takes rows and the share of the training that is done."""

    name: str
    network: nn.Module
    settings: FitSettings
    rows: int
    """Of the training set."""
    loss: Callable[[Tensor, float], Tensor]
    validate: Callable[[], float]
    epoch: int = 0
    """Epochs that are done."""
    best: float = math.inf
    best_state: Tensors = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the optimiser."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, self.settings.rate)

    def run(self, after: Callable[[Fit], None] = lambda fit: None) -> None:
        """Train to the end, and leave the best state in the network. ``after`` each epoch.

        Raises ConfigError where the validation loss is no longer finite.
        """
        while self.epoch < self.settings.epochs:
            started = time.monotonic()
            train = self._one_epoch()
            self.network.eval()
            with torch.no_grad():
                valid = self.validate()
            self.epoch += 1
            if not math.isfinite(valid):
                text = f"{self.name}: the loss is {valid} after epoch {self.epoch}; lower its rate"
                raise ConfigError(text)
            if valid < self.best:
                self.best = valid
                self.best_state = {k: v.clone() for k, v in self.network.state_dict().items()}
            seconds = time.monotonic() - started
            self.history.append({"epoch": self.epoch, "train": train, "valid": valid})
            line = "%s: epoch %d of %d: loss %.5g, validation %.5g, %.0f spectra/s"
            speed = self.rows / max(seconds, 1e-9)
            log.info(line, self.name, self.epoch, self.settings.epochs, train, valid, speed)
            after(self)
        self.network.load_state_dict(self.best_state)
        self.network.eval()

    def _one_epoch(self) -> float:
        """Mean loss of an epoch; rows in a new order, the last ones that fill no batch left out."""
        self.network.train()
        order = torch.randperm(self.rows)
        size = min(self.settings.batch, self.rows)
        count = self.rows // size
        losses = []
        for number in range(count):
            done = (self.epoch + number / count) / self.settings.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.rate * factor(self.settings.schedule, done)
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.loss(order[number * size : (number + 1) * size], done)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Tensors and JSON values of the training as it stands, but for the network itself."""
        tensors = {f"best.{k}": v for k, v in self.best_state.items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v for k, v in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return tensors, {"epoch": self.epoch, "best": self.best, "history": self.history}

    def restore(self, tensors: Tensors, numbers: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave; the network must be as it was then."""
        parts = {p: select(tensors, f"{p}.") for p in ("best", "adam", "random")}
        self.best_state = parts["best"]
        stored = self.optimiser.state_dict()
        moments: dict[int, Tensors] = {}
        for key, value in parts["adam"].items():
            number, _, name = key.partition(".")
            moments.setdefault(int(number), {})[name] = value
        self.optimiser.load_state_dict({**stored, "state": moments})
        self.epoch, self.history = int(numbers["epoch"]), list(numbers["history"])
        self.best = float(numbers["best"])
        torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(parts["random"]["cuda"])


def select(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose name starts with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def factor(schedule: str, done: float) -> float:
    """What the rate is multiplied by when a share ``done`` of the training is over."""
    if schedule == "constant":
        return 1.0
    if done < WARM:
        return FLOOR + (1 - FLOOR) * done / WARM
    fall = (done - WARM) / (1 - WARM)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * fall))
