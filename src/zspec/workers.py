"""Several processes that predict units of work, each with a model of its own.

They are started afresh (spawn), read their own files, and end with the process that started them.
Results come in the order of the units: nothing of them depends on the number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from zspec.errors import ConfigError, ZspecError
from zspec.estimator import Estimator
from zspec.prediction import Result, Task, predict_unit
from zspec.work import Unit

AHEAD = 3
"""Units for each worker that are given out at once: at work, waiting, or finished early."""


@dataclass(frozen=True)
class Loader:
    """How to get a model, in any process."""

    model: str
    templates: Path | None = None
    """Folder of templates that likelihood fits instead of a checkpoint's bases."""
    device: str = "cpu"
    level: float | None = None
    """Probability of intervals; None: the model's."""
    threads: int = 1

    def load(self) -> Estimator:
        """The model. Raises ConfigError and InputError."""
        import torch

        torch.set_num_threads(self.threads)
        made = self._load()
        if self.level is not None:
            made.level = self.level
        return made

    def _load(self) -> Estimator:
        from zspec import checkpoint

        if self.templates is None:
            return checkpoint.load_estimator(self.model, self.device)
        if self.model != "likelihood":
            raise ConfigError(
                f"--templates are fitted by likelihood: they do not go with {self.model}"
            )
        from zspec.estimators.likelihood import Likelihood

        return Likelihood.of_templates(self.templates, self.device)


_mine: tuple[Estimator, Task] | None = None
"""Model and task of this worker."""


def _start(loader: Loader, task: Task) -> None:
    """Make this process a worker."""
    global _mine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it tells it to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _mine = (loader.load(), task)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _predict(unit: Unit) -> Result:
    """One unit, in a worker."""
    assert _mine is not None  # set by _start
    return predict_unit(unit, *_mine)


def run(units: Iterable[Unit], loader: Loader, task: Task, workers: int) -> Iterator[Result]:
    """Results of units in their order. Raises ZspecError where a worker was killed."""
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(workers, context, _start, (loader, task))
    try:
        for unit in units:  # a pool that is broken takes none
            waiting.append(pool.submit(_predict, unit))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ZspecError(
            "a worker was killed, or could not start (out of memory?); go on with --resume, and "
            "fewer --workers"
        ) from None
    finally:
        if waiting:  # stopped half way: nothing more is wanted of them
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError):
                    child.terminate()
        pool.shutdown(cancel_futures=True)
