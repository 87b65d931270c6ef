"""How far a training is, in words for the log: loss, score, rate, and the time that is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from zspec.gasnet2.training import Line, Progress, Task

log = logging.getLogger("zspec")

SCORES = {"class": "accuracy", "redshift": "MAE"}


@dataclass
class Course:
    """The tasks of a training, and how many spectra each of them shows to its networks."""

    sizes: Sequence[int]
    """Of each task: spectra times networks times epochs."""
    number: int = 0
    """Task at hand, from 1."""
    seen: int = 0
    """Spectra that networks learned from since the start of this process."""
    began: float = field(default_factory=time.monotonic)

    def begin(self, task: Task) -> None:
        """Say which task comes next."""
        self.number += 1
        log.info(
            "%s: task %d of %d, %d network(s), %d spectra to train on, %d to validate",
            *(task.name, self.number, len(self.sizes)),
            *(len(task.seeds), len(task.train), len(task.valid)),
        )

    def tell(self, task: Task, progress: Progress, epochs: int) -> None:
        """Say how an epoch went: means over the networks of the task."""
        self.seen += self.sizes[self.number - 1] // epochs
        last = progress.last
        log.info(
            "%s, epoch %d of %d: loss %.4g, validation %.4g, %s %.4f, rate %.2g, %s left",
            *(task.name, progress.epoch, epochs),
            *(_mean(last, name) for name in ("train_loss", "valid_loss")),
            *(SCORES[task.kind], _mean(last, "valid_score"), last[0].rate),
            minutes(self._left(progress.epoch / epochs)),
        )

    def _left(self, share: float) -> float:
        """Seconds to the end at the rate until now; ``share`` of the task at hand is done."""
        done = sum(self.sizes[: self.number - 1]) + share * self.sizes[self.number - 1]
        return (sum(self.sizes) - done) * (time.monotonic() - self.began) / self.seen


def _mean(lines: Sequence[Line], name: str) -> float:
    return sum(float(getattr(line, name)) for line in lines) / len(lines)


def minutes(seconds: float) -> str:
    """A time in words.

    >>> minutes(40), minutes(600), minutes(9000)
    ('under a minute', '10 min', '2.5 h')
    """
    if seconds < 60:
        return "under a minute"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
