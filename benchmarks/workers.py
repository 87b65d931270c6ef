"""Two workers against one process, one thread each, on the same spectra: speed, and the same rows.

    OMP_NUM_THREADS=1 python benchmarks/workers.py -o benchmarks/results/workers.md

Simulated DESI spectra in several files, predicted by the likelihood with one process, with
``--workers 2``, with two Dask workers, and with two Dask workers of which one is killed half way.
Then what two workers do with `zspec` and `zspec --fast`.
Times are of the clock, with the workers started already; they mean something on a machine that is
idle otherwise, and the load before the runs is told.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release import make_coadd

from zspec import records, schedulers
from zspec.cluster import Cluster, Job
from zspec.engine import Engine, Here
from zspec.prediction import Result, Task
from zspec.sources import Source
from zspec.work import Unit
from zspec.workers import Loader, Pool

FILES, ROWS = 8, 64
WARM = 2
"""Units that start the workers, and are not counted."""


@dataclass
class Timed:
    """What one engine took."""

    name: str
    seconds: float
    rows: dict[str, bytes]
    """REDSHIFTS of each unit, as bytes."""


def carry_out(name: str, engine: Engine, units: list[Unit], killed: list[int]) -> Timed:
    """Predict all units; a worker of ``killed`` is killed half way."""
    with engine:
        for _ in engine.run(units[:WARM], lambda report: None):
            pass
        start = time.monotonic()
        done = []
        for result in engine.run(units[WARM:], lambda report: None):
            done.append(result)
            if killed and len(done) == len(units) // 2:
                os.kill(killed.pop(), signal.SIGKILL)
        return Timed(name, time.monotonic() - start, dict(map(row_bytes, done)))


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


def others(units: list[Unit]) -> Iterator[Timed]:
    """The joint estimator with two workers."""
    for name, task in (("zspec", Task()), ("zspec --fast", Task(want=frozenset({"fast"})))):
        yield carry_out(name, Pool(Loader("zspec"), task, 2), units, [])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        files = [make_coadd(Path(name) / f"coadd-{i}.fits", ROWS) for i in range(FILES + WARM)]
        units = [Unit(Source(file, "desi", {"lsf": "none"})) for file in files]
        found, joint = list(measure(units)), list(others(units))
    one = found[0]
    lines = [
        f"| {it.name} | {it.seconds:.1f} s | {FILES * ROWS / it.seconds:.1f} | "
        f"{one.seconds / it.seconds:.2f} | {'yes' if it.rows == one.rows else 'NO'} |"
        for it in found
    ]
    head = "| engine | time | spectra/s | times one process | same rows, bit for bit |"
    table = "\n".join([head, "|---|---|---|---|---|", *lines])
    joined = "; ".join(f"{it.name} {FILES * ROWS / it.seconds:.1f} spectra/s" for it in joint)
    text = f"""# Two workers against one process

`OMP_NUM_THREADS=1 python benchmarks/workers.py -o benchmarks/results/workers.md`

{FILES} files of {ROWS} simulated DESI spectra, likelihood, one thread a worker; {os.cpu_count()}
cores, Python {platform.python_version()}; load before the runs {load:.1f}.

{table}

With `--workers 2`: {joined}.
"""
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
