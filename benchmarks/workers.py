"""Two workers against one process, one thread each, on the same spectra: speed, and the same rows.

    OMP_NUM_THREADS=1 python benchmarks/workers.py -o benchmarks/results/workers.md

Simulated DESI spectra in several files, predicted by the likelihood with one process, with
``--workers 2``, with two Dask workers, with two Dask workers of which one is killed half way, and
with one process again. Then what two workers do with `zspec` and `zspec --fast`. Times are of the
clock, once workers are started; what the start takes is told apart. They mean something on a
machine that is idle otherwise, whose load before the runs is told; CPU is that of all processes,
and what it makes of two cores is what no waiting could better.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from release import links, make_coadd

from zspec import records, schedulers
from zspec.cluster import Cluster, Job
from zspec.engine import Engine, Here
from zspec.prediction import Result, Task
from zspec.sources import Source
from zspec.work import Unit
from zspec.workers import Loader, Pool

FILES, ROWS = 32, 32
WARM = 4
"""Units that start the workers, and are not counted."""


@dataclass
class Timed:
    """What one engine took."""

    name: str
    start: float
    """Seconds until each worker has done a unit."""
    seconds: float
    """Of the rest."""
    cpu: float
    """Of all processes meanwhile."""
    rows: dict[str, bytes]
    """REDSHIFTS of each unit, as bytes."""


def used() -> dict[int, float]:
    """CPU seconds of this process and of all that it started and that live."""
    here, found = psutil.Process(), {}
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def carry_out(name: str, engine: Engine, units: list[Unit], killed: list[int]) -> Timed:
    """Predict all units; a worker of ``killed`` is killed half way."""
    begun = time.monotonic()
    with engine:
        for _ in engine.run(units[:WARM], lambda report: None):
            pass
        start, before, done = time.monotonic(), used(), []
        for result in engine.run(units[WARM:], lambda report: None):
            done.append(result)
            if killed and len(done) == len(units) // 2:
                os.kill(killed.pop(), signal.SIGKILL)
        took = time.monotonic() - start
        cpu = sum(spent - before.get(pid, 0.0) for pid, spent in used().items())
        return Timed(name, start - begun, took, cpu, dict(map(row_bytes, done)))


def row_bytes(result: Result) -> tuple[str, bytes]:
    """A unit's id and its rows."""
    return result.unit.name, records.record(result).tables["REDSHIFTS"].tobytes()


def measure(units: list[Unit]) -> Iterator[Timed]:
    """Each engine in turn."""
    from distributed import Client

    loader, task = Loader("likelihood"), Task()
    estimator = loader.load()
    job = Job(loader, task, estimator.sha256)
    yield carry_out("one process", Here(estimator, task), units, [])
    yield carry_out("--workers 2", Pool(loader, task, 2), units, [])
    with schedulers.start_local(2, None) as local:
        place = local.scheduler_address
        yield carry_out("--cluster local:2", Cluster(place, job), units, [])
        with Client(place, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
        name = "the same, one worker killed half way"
        yield carry_out(name, Cluster(place, job), units, pids[:1])
    yield carry_out("one process again", Here(estimator, task), units, [])


def others(units: list[Unit]) -> Iterator[Timed]:
    """The joint estimator with two workers."""
    for name, task in (("zspec", Task()), ("zspec --fast", Task(want=frozenset({"fast"})))):
        yield carry_out(name, Pool(Loader("zspec"), task, 2), units, [])


def line(it: Timed, one: float, cpu: float, rows: dict[str, bytes]) -> str:
    """Of the table; ``one`` and ``cpu`` are seconds of one process, and ``rows`` what it gives."""
    same = "yes" if it.rows == rows else "NO"
    spent = f"{it.cpu:.1f} s | {2 * cpu / it.cpu:.2f}"
    if "process" in it.name:
        spent = f"{it.cpu:.1f} s | "
    elif "killed" in it.name:  # nobody says what the dead one took
        spent = " | "
    return (
        f"| {it.name} | {it.start:.1f} s | {it.seconds:.1f} s | {FILES * ROWS / it.seconds:.1f} | "
        f"{one / it.seconds:.2f} | {spent} | {same} |"
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        coadd = make_coadd(Path(name) / "coadd.fits", ROWS)
        files = list(links(coadd, FILES + WARM))
        units = [Unit(Source(file, "desi", {"lsf": "none"})) for file in files]
        found, joint = list(measure(units)), list(others(units))
    alone = [it for it in found if "process" in it.name]
    one, cpu = sum(it.seconds for it in alone) / 2, sum(it.cpu for it in alone) / 2
    head = [
        "| engine | start | time | spectra/s | times one process | CPU of all | times by CPU | "
        "same rows, bit for bit |",
        "|---" * 8 + "|",
    ]
    table = "\n".join([*head, *(line(it, one, cpu, alone[0].rows) for it in found)])
    joined = "; ".join(f"{it.name} {FILES * ROWS / it.seconds:.1f} spectra/s" for it in joint)
    text = f"""# Two workers against one process

`OMP_NUM_THREADS=1 python benchmarks/workers.py -o benchmarks/results/workers.md`

{FILES} files of {ROWS} simulated DESI spectra, likelihood, one thread a worker; {os.cpu_count()}
cores, Python {platform.python_version()}; load before the runs {load:.1f}. Start: until each worker
has done a unit of {ROWS}, for one process that unit alone; a local cluster is up before. Times one
process: the mean of its two runs over the time. Times by CPU: what two cores make of the CPU
that all processes take, if none of them waits and cores are as fast together as alone.

{table}

With `--workers 2`: {joined}.
"""
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
