"""Where a Dask cluster is: ``local:2``, ``slurm``, ``slurm:gpus.toml``, an address, a file.

Dask listens on loopback where the cluster is local. For Slurm it listens on the network, and
whoever reaches its port can run code: set ``distributed.comm`` to TLS where others can.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli

from zspec.errors import ConfigError, unknown

log = logging.getLogger("zspec")

ANSWER = "30s"
"""How long a scheduler may take to answer."""
ENVIRONMENT = {f"{name}_NUM_THREADS": 1 for name in ("OMP", "MKL", "OPENBLAS")}
SETTINGS: dict[str, Any] = {
    # unset: Dask's own value makes every large array a system call, and a fit takes twice as long
    "distributed.nanny.pre-spawn-environ": {**ENVIRONMENT, "MALLOC_TRIM_THRESHOLD_": None},
    "distributed.worker.profile.enabled": False,  # a look at the stack every 10 ms
    "distributed.admin.tick.interval": "1s",  # 20 ms in each process: 4 % of a core of two workers
    "distributed.admin.system-monitor.interval": "10s",  # with the next: 2 % of a core
    "distributed.worker.memory.monitor-interval": "1s",  # 100 ms, in nannies and workers
    "distributed.scheduler.active-memory-manager.start": False,  # units leave nothing to move
}
"""Of workers that are started here, by this process or by jobs: units take seconds, not more."""
EXPECTED = (
    "local:2 (processes of this machine), slurm, slurm:FILE.toml, tcp://HOST:PORT or a scheduler's "
    "JSON file"
)


def connect(place: str, stack: contextlib.ExitStack, limit: int | None = None) -> Any:
    """A Dask client of the cluster at ``place``, whose parts ``stack`` ends.

    ``limit``: bytes of memory of all workers of a local cluster. Raises ConfigError where ``place``
    makes no sense, Dask is not installed, or nothing answers.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise ConfigError(
            f"--cluster {place}: needs Dask; pip install 'zspec-redshift[dask]'"
        ) from None
    stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": ANSWER}))
    kind, _, rest = place.partition(":")
    if limit is not None and kind != "local":
        raise ConfigError("--max-memory is for local clusters; others have limits of their own")
    if kind == "local":
        client = distributed.Client(
            stack.enter_context(_local(place, rest, limit)), set_as_default=False
        )
    elif kind == "slurm":
        client = distributed.Client(stack.enter_context(_slurm(place, rest)), set_as_default=False)
    else:
        client = _found(place)
    stack.enter_context(client)
    if not client.nthreads():
        log.warning("--cluster %s: waiting for a first worker", place)
        client.wait_for_workers(1)
    if max(client.nthreads().values()) > 1:
        log.warning(
            "--cluster %s: a worker does one unit at a time, whatever its threads; give it "
            "--nthreads 1, and start more of them",
            place,
        )
    return client


def _local(place: str, count: str, limit: int | None) -> Any:
    """As many processes as said, or as there are cores."""
    if count and not (count.isdecimal() and int(count) > 0):
        raise ConfigError(f"--cluster {place}: expected {EXPECTED}")
    return start_local(int(count or os.cpu_count() or 1), limit)


@contextlib.contextmanager
def start_local(workers: int, limit: int | None) -> Iterator[Any]:
    """Processes of this machine, of one thread each, that listen on loopback alone.

    The settings hold as long as the cluster: a worker that takes a dead one's place reads them.
    """
    import dask
    import distributed

    with (
        dask.config.set(SETTINGS),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=limit // workers if limit else "auto",
            silence_logs=logging.ERROR,
        ) as cluster,
    ):
        yield cluster


def _slurm(place: str, file: str) -> Any:
    """Jobs of Slurm, one worker in each unless the file says otherwise."""
    try:
        import dask_jobqueue
    except ImportError:
        raise ConfigError(
            f"--cluster {place}: needs dask-jobqueue; pip install 'zspec-redshift[dask]'"
        ) from None
    keywords = {"cores": 1, "processes": 1, **(_read(place, Path(file)) if file else {})}
    keywords["job_script_prologue"] = _prologue(file, keywords)
    jobs = keywords.pop("jobs", 1)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ConfigError(f"{file}: jobs = {jobs!r}; expected a whole number from 1")
    for key in set(keywords) - _known(dask_jobqueue.SLURMCluster):
        known = _known(dask_jobqueue.SLURMCluster)
        raise ConfigError(f"{file}: " + unknown("keyword of SLURMCluster", key, known))
    try:
        cluster = dask_jobqueue.SLURMCluster(**keywords)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--cluster {place}: {_line(error)}") from None
    cluster.scale(jobs=jobs)
    return cluster


def _prologue(file: str, keywords: dict[str, Any]) -> list[str]:
    """Lines of a job before its worker: our settings, then what the file or Dask's own says.

    ``env_extra``, as it was called, is taken from the keywords. Raises ConfigError for no list.
    """
    import dask

    given = keywords.pop("env_extra", None) or []
    given = keywords.get("job_script_prologue", given)
    if not isinstance(given, list):
        raise ConfigError(f"{file}: job_script_prologue = {given!r}; expected a list of lines")
    for name in ("job-script-prologue", "env-extra"):
        given = given or dask.config.get(f"jobqueue.slurm.{name}", None) or []
    ours = []
    for key, value in SETTINGS.items():
        name = key.replace(".", "__").replace("-", "_").upper()
        ours.append(f"export DASK_{name}={shlex.quote(str(value))}")
    return [*ours, *given]


def _known(kind: Any) -> set[str]:
    """Keywords that a cluster of dask-jobqueue takes, by itself or for its jobs."""
    makers = [*kind.__mro__, *kind.job_cls.__mro__]
    words = {name for maker in makers for name in inspect.signature(maker.__init__).parameters}
    return words - {"self", "args", "kwargs", "scheduler", "name"}


def _read(place: str, path: Path) -> dict[str, Any]:
    """Keywords of dask_jobqueue.SLURMCluster, and ``jobs``."""
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--cluster {place}: {path}: {error.strerror}") from None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--cluster {place}: {path}: is no TOML ({error})") from None


def _found(place: str) -> Any:
    """A client of a scheduler that runs already."""
    import distributed

    if "://" not in place and not Path(place).is_file():
        raise ConfigError(f"--cluster {place}: expected {EXPECTED}")
    try:
        if "://" in place:
            return distributed.Client(place, timeout=ANSWER, set_as_default=False)
        return distributed.Client(scheduler_file=place, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"--cluster {place}: no scheduler answers ({_line(error)})") from None


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
