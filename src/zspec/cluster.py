"""Units of work on a Dask cluster: of this machine, of Slurm, or wherever a scheduler answers.

Dask places the units, does those of a worker that dies again elsewhere, and gives one up that
killed several workers (its setting ``distributed.scheduler.allowed-failures``). What is ours: which
units there are, that all workers hold the very same model and versions, and the shards. Workers
read the inputs themselves, by the same names, and so need the same file system.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any, Self

from zspec import plugins
from zspec.engine import Progress, keep_busy, told
from zspec.errors import ConfigError, ZspecError
from zspec.estimator import Estimator
from zspec.prediction import Result, Task, predict_unit
from zspec.schedulers import connect
from zspec.work import Unit
from zspec.workers import AHEAD, Loader


def versions() -> dict[str, str]:
    """What must be the same wherever rows of one catalogue are made, adapters included."""
    names = ("zspec-redshift", "torch", "numpy")
    adapters = {f"adapter {name}": brings for name, (_, brings) in plugins.surveys().found.items()}
    here = {"Python": platform.python_version(), **{name: version(name) for name in names}}
    return {**here, **adapters}


@dataclass(frozen=True)
class Job:
    """What every worker is told with every unit."""

    loader: Loader
    task: Task
    sha256: str
    """Of the model."""
    folder: str = field(default_factory=os.getcwd)
    """Where names of inputs begin."""
    versions: Mapping[str, str] = field(default_factory=versions)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The same in all units of a run."""


_loaded: dict[str, Estimator] = {}
"""The model of this worker, by its job's token; one at a time."""
_alone = threading.Lock()
"""One unit at a time, whatever number of threads a worker has."""


def perform(job: Job, unit: Unit) -> Result:
    """One unit, in a worker of a cluster. Raises ConfigError where the worker is not like us."""
    import torch

    with _alone, _within(job.folder):
        if job.token not in _loaded:
            _loaded.clear()
            _loaded[job.token] = _load(job)
        torch.set_num_threads(job.loader.threads)  # of this thread, which need not be the loader's
        return predict_unit(unit, _loaded[job.token], job.task)


@contextlib.contextmanager
def _within(folder: str) -> Iterator[None]:
    """In the folder where names of inputs begin. Raises ConfigError where it is not there."""
    before = os.getcwd()
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(
            f"worker on {socket.gethostname()}: {folder}: {error.strerror}; workers need the file "
            "system of this run"
        ) from None
    try:
        yield
    finally:
        os.chdir(before)


def _load(job: Job) -> Estimator:
    """The model that the job names, on the GPU of this worker where it is to be on one."""
    here, mine = socket.gethostname(), versions()
    for name, wanted in job.versions.items():
        if (there := mine.get(name, "none")) != wanted:
            raise ConfigError(
                f"worker on {here}: has {name} {there}, but this run {wanted}; "
                "start workers in the environment of this run"
            )
    made = replace(job.loader, device=_device(job.loader.device)).load()
    if made.sha256 != job.sha256:
        raise ConfigError(f"worker on {here}: {job.loader.model} is another file than here")
    return made


def _device(name: str) -> str:
    """A device of this worker: workers that one cluster numbers on one machine share its GPUs."""
    from distributed import get_worker

    from zspec.device import resolve

    device, number = resolve(name), str(get_worker().name)
    if device != "cuda" or not number.isdigit():
        return device
    import torch

    return f"cuda:{int(number) % torch.cuda.device_count()}"


class Cluster:
    """An engine of Dask's workers."""

    def __init__(self, place: str, job: Job, limit: int | None = None) -> None:
        """``place`` and ``limit``, bytes of memory in all, as :func:`connect` takes them."""
        self._place = place
        self._job = job
        self._limit = limit
        self._stack = contextlib.ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        """Connected. Raises ConfigError where that cannot be."""
        with contextlib.ExitStack() as stack:
            self._client = connect(self._place, stack, self._limit)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what is under way, and end a cluster that was started here."""
        self._stack.close()

    def run(self, units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """See :class:`~zspec.engine.Engine`; a unit that killed several workers is a failed one.

        Raises ConfigError where a worker has another environment, and ZspecError where the
        scheduler was lost.
        """
        submit = partial(self._submit, uuid.uuid4().hex[:8])
        pairs = keep_busy(units, submit, self._wait, self._room)
        try:
            yield from told((self._taken(unit, future) for unit, future in pairs), progress)
        except (OSError, CancelledError) as error:  # Dask's CommClosedError is an OSError
            raise ZspecError(
                f"--cluster {self._place}: its scheduler was lost ({error}); go on with --resume"
            ) from None

    def _submit(self, run: str, unit: Unit) -> Any:
        key = f"zspec-{run}-{unit.name}"
        return self._client.submit(perform, self._job, unit, key=key, pure=False)

    def _wait(self, futures: list[Any]) -> Any:
        """Until any is done."""
        from distributed import wait

        with self._client.as_current():
            return wait(futures, return_when="FIRST_COMPLETED")

    def _taken(self, unit: Unit, future: Any) -> Result:
        """What became of a unit, wherever it is."""
        from distributed.scheduler import KilledWorker

        try:
            result: Result = future.result()
        except KilledWorker:
            error = f"{unit.file}: each worker that read it was killed (out of memory?)"
            return Result(unit, unit.source.survey or "", error=error)
        finally:
            future.release()
        return result

    def _room(self) -> int:
        """How many units may be under way; workers may come and go."""
        return AHEAD * max(1, len(self._client.nthreads()))
