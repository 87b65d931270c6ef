"""The picture of a training: ``history.png`` (P1, Fig. 11)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zspec.errors import OutputError
from zspec.gasnet2.training import Line

log = logging.getLogger("zspec")


def draw(folder: Path, lines: Sequence[Line]) -> None:
    """Loss and score of every task against the epoch, where matplotlib is there; a column a task.

    Raises OutputError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no picture of the training: matplotlib is missing (extra 'plot')")
        return
    tasks = list(dict.fromkeys(line.task for line in lines))
    figure = Figure(figsize=(3.2 * len(tasks), 5), layout="constrained")
    axes = figure.subplots(2, len(tasks), squeeze=False, sharex=True)
    for column, task in enumerate(tasks):
        mine = [line for line in lines if line.task == task]
        top, bottom = axes[0, column], axes[1, column]
        _curves(top, mine, "loss")
        _curves(bottom, mine, "score")
        top.set_title(task, fontsize=9)
        top.set_yscale("log")
        if task.startswith("z "):
            bottom.set_yscale("log")
        bottom.set_xlabel("epoch")
        bottom.set_ylabel("MAE" if task.startswith("z ") else "accuracy")
    axes[0, 0].set_ylabel("loss")
    axes[0, 0].legend(["training", "validation"], fontsize=8)
    try:
        figure.savefig(folder / "history.png", dpi=110)
    except OSError as error:
        raise OutputError(f"{folder}: history cannot be drawn ({error})") from None


def _curves(axis: Any, lines: Sequence[Line], what: str) -> None:
    """One pair of curves a network: training dashed, validation solid."""
    for network in sorted({line.network for line in lines}):
        own = [line for line in lines if line.network == network]
        epochs = [line.epoch for line in own]
        for part, style in (("train", "--"), ("valid", "-")):
            values = [getattr(line, f"{part}_{what}") for line in own]
            axis.plot(epochs, values, style, color=f"C{network}", lw=1)
