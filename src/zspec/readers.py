"""Processes that read ahead of this one, which has the model: decode, resample, measure the SNR.

Where a device takes 0.2 ms a spectrum, reading is what it would wait for. Units come in their order
and as the same chunks as without readers, so that rows are the same bit for bit.

Each reader has a pipe of its own. A pool of processes has one for all of them, with a lock: one
that is killed while it writes tens of MB would leave the lock held, and this process reading for
ever.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

from zspec import memory, prediction
from zspec.engine import Progress
from zspec.errors import ZspecError
from zspec.estimator import Estimator
from zspec.pixels import Form, Ready
from zspec.prediction import Report, Result, Task
from zspec.work import Unit
from zspec.workers import WorkerKilled

log = logging.getLogger("zspec")

AHEAD = 2
"""Units that each reader is given: one that it reads or that waits to be taken, and the next."""
MOST = 4
"""Readers of a device where no number is given: one decodes some 1000 spectra a second."""
LARGE = 1 << 28
"""Bytes of a unit beyond which it is not read ahead, since memory has to hold it whole: that of a
large file without a count of its rows. 512 spectra of DESI take 46 MB."""


@dataclass(frozen=True)
class Decoded:
    """What a reader made of a unit: plain arrays."""

    result: Result
    """Its survey, its error, and what it took."""
    chunks: tuple[Ready, ...] | None
    """None where the unit is too large."""


def decode(unit: Unit, form: Form) -> Decoded:
    """Read one unit."""
    chunks = list[Ready]()
    size = 0

    def fill(result: Result) -> None:
        nonlocal size
        for ready in prediction.decode(result, form):
            chunks.append(ready)
            size += ready.nbytes
            if size > LARGE:
                return

    result = prediction.attempt(prediction.begin(unit), fill)
    return Decoded(result, None if size > LARGE and not result.error else tuple(chunks))


def _serve(pipe: Connection, form: Form) -> None:
    """Be a reader, until the other end of the pipe is closed: by its process, or by its death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it tells it to stop
    with contextlib.suppress(EOFError, OSError):
        while True:
            unit = pipe.recv()
            try:
                made: Decoded | ZspecError = decode(unit, form)
            except ZspecError as error:
                made = error
            pipe.send(made)


class Reader:
    """One of these processes."""

    def __init__(self, form: Form) -> None:
        """Start it, afresh (spawn)."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, form), daemon=True)
        self._process.start()
        theirs.close()  # and so its end is seen here
        self.given = 0
        """Units that were not taken yet."""

    def give(self, unit: Unit) -> None:
        """A unit to read, after those that it has. Raises OSError where it is no more."""
        self.given += 1
        self._pipe.send(unit)

    def take(self) -> Decoded:
        """The next unit that it was given, once it is read.

        Raises EOFError or OSError where it is no more, and ConfigError as
        :func:`~zspec.prediction.attempt` does.
        """
        made: Decoded | ZspecError = self._pipe.recv()
        self.given -= 1
        if isinstance(made, ZspecError):
            raise made
        return made

    @property
    def peak(self) -> int:
        """Most bytes of memory that it took."""
        return memory.peak(self._process.pid or 0)

    def end(self) -> None:
        """Stop it; what it has at work is not waited for."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


class ReadAhead:
    """An engine of this process, and of others that read for it."""

    def __init__(
        self, estimator: Estimator, task: Task, readers: int, limit: int | None = None
    ) -> None:
        """``readers`` at most; fewer where they would not fit into ``limit`` bytes of memory."""
        self._estimator = estimator
        self._task = task
        self._most = readers
        self._limit = limit
        self._readers: list[Reader] = []
        self._taken = 0
        self._warned = False

    def __enter__(self) -> Self:
        """Itself; readers are started as units come."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the readers."""
        self._taken = 0
        while self._readers:
            self._readers.pop().end()

    def run(self, units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """What became of each unit, in order. Raises WorkerKilled where a reader was."""
        given: deque[tuple[Unit, Reader]] = deque()
        try:
            for unit in units:
                given.append((unit, self._give(unit)))
                while given and len(given) >= AHEAD * self._room():
                    yield self._take(*given[0], progress)
                    progress(Report(0, given.popleft()[0].ends))
            while given:
                yield self._take(*given[0], progress)
                progress(Report(0, given.popleft()[0].ends))
        finally:
            if given:  # what they were given is of this run, and nobody takes it
                self.__exit__()

    def _give(self, unit: Unit) -> Reader:
        """The reader that has the fewest units, with one more."""
        idle = any(reader.given == 0 for reader in self._readers)
        if not idle and len(self._readers) < self._room():
            self._readers.append(Reader(self._task.form(self._estimator)))
        reader = min(self._readers, key=lambda one: one.given)
        with self._telling(unit):
            reader.give(unit)
        return reader

    def _take(self, unit: Unit, reader: Reader, progress: Progress) -> Result:
        """What becomes of a unit that was read; one that is too large is read here."""
        with self._telling(unit):
            decoded = reader.take()
        self._taken += 1
        chunks = decoded.chunks
        if chunks is None:
            return prediction.predict_unit(unit, self._estimator, self._task, progress)

        def fill(result: Result) -> None:
            prediction.fill_in(result, chunks, self._estimator, self._task, progress)

        return prediction.attempt(decoded.result, fill)

    @contextlib.contextmanager
    def _telling(self, unit: Unit) -> Iterator[None]:
        """Say in one line that a reader is no more."""
        try:
            yield
        except (EOFError, OSError):
            raise WorkerKilled(
                f"{unit.file}: the process that read this was killed, or could not start (out of "
                "memory?); go on with --resume, and fewer --readers"
            ) from None

    def _room(self) -> int:
        """How many readers there may be: with a limit, what the first took says how many.

        Decoded units are as many, and one more that is here.
        """
        if self._limit is None:
            return self._most
        peak = max((reader.peak for reader in self._readers), default=0)
        if not self._taken or not peak:
            return 1
        fitting = (self._limit - memory.resident()) // peak
        if fitting < 1 and not self._warned:
            self._warned = True
            needed = (memory.resident() + peak) / (1 << 30)
            log.warning("one reader and this process take %.2f GB, above the limit", needed)
        return max(1, min(self._most, fitting))


def fitting(device: str) -> int:
    """How many readers a device wants: none on a CPU, whose cores have better to do.

    Otherwise as many as there are cores beside this process's, ``MOST`` at most.
    """
    if device == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST, (cores or 1) - 1))
