"""Reading ahead of a device: what one process does with readers beside it, and without.

    OMP_NUM_THREADS=1 python benchmarks/ahead.py -o benchmarks/results/ahead.md

The device is one that takes 0.2 ms a spectrum, as a GPU does with a network, and leaves the
processor alone meanwhile: a sleep. A coadd of 2,000 simulated DESI spectra without resolution
matrices is linked as often as it takes; spectra are read, resampled to a grid and written to a
catalogue. Each row is a run in a process of its own. A thread that reads ahead is measured too, and
how many processors two threads use that decode at once: one, if they hold the interpreter's lock.
Times are of the clock, and so grow with the load, which is told; CPU is that of this process and of
its readers, and what it makes is the rate where neither waits for a processor.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from release import ROWS, Trivial, links, make_coadd

from zspec import Chunk, Prediction, WaveGrid, catalog, memory
from zspec.engine import Engine, Here
from zspec.estimator import Want
from zspec.pixels import Form
from zspec.prediction import Task, provenance
from zspec.readers import Decoded, ReadAhead, decode
from zspec.running import Run, carry_out
from zspec.shards import Shards
from zspec.sources import Source
from zspec.work import Unit

FILES = 4
EACH = 2e-4
"""Seconds of the device for a spectrum."""


class Device(Trivial):
    """The trivial estimator, after as long as a device would take."""

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """See Trivial."""
        time.sleep(EACH * len(chunk.spectra))
        return super().predict(chunk, want)


class GridDevice(Device):
    """The same of a network that wants spectra on a grid."""

    needs = frozenset({"arms", "grid"})
    grid = WaveGrid.log(3600, 9824, 1e-4)


class Thread:
    """A reader that is a thread of this process."""

    given, peak = 0, 0

    def __init__(self, form: Form) -> None:
        """Start it."""
        self._pool = ThreadPoolExecutor(1)
        self._form = form
        self._read: deque[Future[Decoded]] = deque()

    def give(self, unit: Unit) -> None:
        """See Reader."""
        self.given += 1
        self._read.append(self._pool.submit(decode, unit, self._form))

    def take(self) -> Decoded:
        """See Reader."""
        self.given -= 1
        return self._read.popleft().result()

    def end(self) -> None:
        """See Reader."""
        self._pool.shutdown()


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    seconds: float
    cpu: float
    """Of this process."""
    helping: float
    """CPU of the readers, their start included."""
    peak: float
    """GB of this process."""
    rows: int


NONE, ONE, TWO, THREAD = "none", "1 process", "2 processes", "a thread"
ENGINES = {NONE: 0, ONE: 1, TWO: 2, THREAD: None}


def engine_of(number: int | None, estimator: Device, task: Task) -> Engine:
    """An engine with so many readers; None: a thread."""
    if number == 0:
        return Here(estimator, task)
    engine = ReadAhead(estimator, task, number or 1)
    if number is None:
        engine._readers.append(Thread(task.form(estimator)))  # type: ignore[arg-type]
    return engine


def measure(number: int | None, estimator: Device, files: list[Path]) -> Measured:
    """Predict files into a catalogue."""
    output, task = files[0].with_name("ahead.zspec.fits"), Task()
    names = [str(file) for file in files]
    cards = provenance(estimator, task, "benchmarks/ahead.py", names, {}, "desi")
    inputs = [Source(file, "desi", {"lsf": "none"}) for file in files]
    rows = [0]
    begun, started = time.process_time(), time.monotonic()
    with Shards(output, names, cards, catalog.declared(estimator.extra)) as shards:
        shards.begin(resume=False, retry=False, overwrite=True)
        with engine_of(number, estimator, task) as engine:
            run = Run(shards, inputs, task, engine)
            carry_out(run, lambda report: None, lambda seen: rows.append(len(seen)))
    took, cpu = time.monotonic() - started, time.process_time() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measured(took, cpu, used.ru_utime + used.ru_stime, memory.peak() / 1e9, sum(rows))


def apart(number: int | None, estimator: Device, files: list[Path]) -> Measured:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, number, estimator, files).result()


def line(what: str, estimator: Device, name: str, files: list[Path]) -> str:
    """A line of the table."""
    it = apart(ENGINES[name], estimator, files)
    here, there = it.cpu / it.rows, it.helping / it.rows
    made = (
        f"| {what} | {name} | {it.rows / it.seconds:,.0f} | {1e3 * here:.2f} ms | "
        f"{1e3 * there:.2f} ms | {1 / (EACH + here):,.0f} | {it.peak:.2f} GB |"
    )
    print(made, flush=True)
    return made


def processors(coadd: Path) -> float:
    """How many two threads use that decode at once, at best of three times."""
    unit = Unit(Source(coadd, "desi", {"lsf": "none"}), range(512))
    form = Task().form(Device())
    best = 0.0
    for _ in range(3):
        begun, started = time.process_time(), time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(decode, [unit, unit], [form, form]))
        best = max(best, (time.process_time() - begun) / (time.monotonic() - started))
    return best


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        coadd = make_coadd(Path(name) / "coadd-ahead.fits", ROWS)
        files = list(links(coadd, FILES))
        used = processors(coadd)
        found = [line("arms", Device(), name, files) for name in ENGINES]
        found += [line("arms and grid", GridDevice(), name, files) for name in (NONE, TWO)]
    head = [
        "| model takes | readers | spectra/s | CPU here, a spectrum | CPU of readers, a spectrum | "
        "spectra/s by CPU here and device | peak memory here |",
        "|---" * 7 + "|",
    ]
    table = "\n".join([*head, *found])
    text = f"""# Reading ahead of a device

`OMP_NUM_THREADS=1 python benchmarks/ahead.py -o benchmarks/results/ahead.md`

{FILES * ROWS:,} simulated DESI spectra (a coadd of {ROWS:,} linked {FILES} times; three arms, no
resolution matrices, masks compressed), from files to a catalogue. The device sleeps {EACH * 1e3} ms
a spectrum, which makes {1 / EACH:,.0f} spectra/s at most; the grid is one of
{len(GridDevice.grid):,} pixels. {os.cpu_count()} cores, Python {platform.python_version()}, load
{load:.1f}. CPU of readers has their start in it. Two threads that decode at once use {used:.2f}
processors.

{table}
"""
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
