"""Several processes that predict units of work, each with a model of its own.

They are started afresh (spawn), read their own files, and end with the process that started them.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

from zspec import memory
from zspec.engine import Progress, keep_busy, told
from zspec.errors import ZspecError
from zspec.estimator import Estimator
from zspec.prediction import Result, Task, predict_unit
from zspec.work import Unit

log = logging.getLogger("zspec")


class WorkerKilled(ZspecError):
    """A worker ended before its unit did; others can be started."""


AHEAD = 2
"""Units for each worker that are given out at once: one at work, and one that waits."""


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
        memory.reuse()
        made = self._load()
        if self.level is not None:
            made.level = self.level
        return made

    def _load(self) -> Estimator:
        from zspec import checkpoint

        if self.templates is None:
            return checkpoint.load_estimator(self.model, self.device)
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


class Pool:
    """An engine of processes on this machine."""

    def __init__(self, loader: Loader, task: Task, workers: int, limit: int | None = None) -> None:
        """``workers`` at most; fewer where they would not fit into ``limit`` bytes of memory."""
        self._loader = loader
        self._task = task
        self._workers = workers
        self._limit = limit
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[int | None] = set()
        self._finished = 0
        self._warned = False

    def __enter__(self) -> Self:
        """Itself; processes are started with the first unit."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers; what they have at work is not waited for."""
        if self._pool is None:
            return
        for child in self._children():
            with contextlib.suppress(OSError):
                child.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def run(self, units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """See :class:`~zspec.engine.Engine`. Raises WorkerKilled where one was."""
        first = partial(wait, return_when="FIRST_COMPLETED")
        pairs = keep_busy(units, self._submit, first, self._room)
        return told(map(self._taken, pairs), progress)

    def _submit(self, unit: Unit) -> Future[Result]:
        """Give a unit out; a pool that is broken gives a future that says so."""
        if self._pool is None:
            self._others = {child.pid for child in multiprocessing.active_children()}
            context = multiprocessing.get_context("spawn")
            arguments = (self._loader, self._task)
            self._pool = ProcessPoolExecutor(self._workers, context, _start, arguments)
        try:
            return self._pool.submit(_predict, unit)
        except BrokenProcessPool as error:
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return broken

    def _children(self) -> list[BaseProcess]:
        """The workers that live."""
        alive = multiprocessing.active_children()
        return [child for child in alive if child.pid not in self._others]

    def _taken(self, pair: tuple[Unit, Future[Result]]) -> Result:
        self._finished += 1
        try:
            return pair[1].result()
        except BrokenProcessPool:
            self.__exit__()  # what comes next has new workers
            raise WorkerKilled(
                f"{pair[0].file}: a worker that read this or a file nearby was killed, or could "
                "not start (out of memory?); go on with --resume, and fewer --workers"
            ) from None

    def _room(self) -> int:
        """How many units may be under way: with a limit, what the first one took says how many.

        The pool starts a process when a unit finds none idle, and so no more than are under way.
        """
        if self._limit is None:
            return AHEAD * self._workers
        children = [memory.peak(child.pid or 0) for child in self._children()]
        if not self._finished or not any(children):
            return 1
        fitting = (self._limit - memory.resident()) // max(children)
        if fitting < 1 and not self._warned:
            self._warned = True
            needed = (memory.resident() + max(children)) / (1 << 30)
            log.warning("one worker and this process take %.2f GB, above the limit", needed)
        return max(1, min(self._workers, fitting))
