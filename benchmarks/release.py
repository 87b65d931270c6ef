"""A release in small: what the frame takes of any number of spectra, and what 40 million would.

    OMP_NUM_THREADS=1 python benchmarks/release.py -o benchmarks/results/release.md

A coadd of 2,000 simulated DESI spectra without resolution matrices is linked as often as it takes,
and predicted by an estimator that does next to nothing: what is measured is reading, tables, shards
and the catalogue. Each size runs in a process of its own, whose peak memory is told. The likelihood
and `zspec`, the default, are measured on a part of one such file. CPU seconds, since other programs
may be at work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zspec import Candidates, Chunk, ClassSpec, Estimator, Prediction, catalog, memory, plugins
from zspec.engine import Here
from zspec.estimator import NCANDIDATES, Want
from zspec.prediction import Task, provenance
from zspec.running import STAGES, Run, carry_out
from zspec.shards import Shards
from zspec.sources import Source
from zspec.workers import Loader

ROWS = 2000
SIZES = (20_000, 200_000)
PART = 256
"""Rows that models are measured on."""
MODELS = ("likelihood", "zspec")
RELEASE = 40_000_000
SEED = 1


class Trivial(Estimator):
    """The mean flux as the redshift: an estimator that costs nothing."""

    name = "trivial"
    title = "The mean of the flux"
    needs = frozenset({"arms"})
    classes = tuple(ClassSpec(name, name, "", (0.0, 1.0)) for name in ("GALAXY", "QSO", "STAR"))

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Five candidates for each row, as a real one has."""
        mean = np.abs(chunk.spectra.arms[0].flux.mean(axis=1, dtype=np.float64)) % 1
        n, spread = len(mean), np.linspace(0, 0.1, NCANDIDATES)
        z = np.repeat(mean[:, None], 3, axis=1)
        label = np.zeros((n, NCANDIDATES), np.int16)
        ranked = mean[:, None] + spread
        return Prediction(
            classes=self.classes,
            prob=np.full((n, 3), 1 / 3, np.float32),
            z=z,
            sigma=z * 1e-3,
            best=np.zeros(n, np.int16),
            candidates=Candidates(label, ranked, ranked, ranked.astype(np.float32), ranked),
        )


@dataclass(frozen=True)
class TrivialLoader(Loader):
    """Makes the trivial estimator, in any process."""

    def load(self) -> Estimator:
        """The estimator."""
        return Trivial()


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    model: str
    rows: int
    cpu: float
    wall: float
    peak: float
    """GB."""
    size: float
    """Bytes of the catalogue for each row."""
    stages: dict[str, float]


def make_coadd(path: Path, rows: int) -> Path:
    """Simulated spectra in DESI's layout, without resolution matrices."""
    survey = plugins.survey("desi")
    spectra = survey.demo(rows, SEED)
    arms = tuple(replace(arm, resolution=None) for arm in spectra.arms)
    survey.write(path, replace(spectra, arms=arms, truth=None))
    return path


def links(path: Path, count: int) -> Iterator[Path]:
    """The same file by so many names."""
    for number in range(count):
        other = path.with_name(f"coadd-{number:05d}.fits")
        other.unlink(missing_ok=True)
        os.link(path, other)
        yield other


def measure(loader: Loader, files: list[Path]) -> Measured:
    """Predict files into a catalogue, as ``zspec predict`` does."""
    output = files[0].with_name("release.zspec.fits")
    estimator, task = loader.load(), Task()
    names = [str(file) for file in files]
    cards = provenance(estimator, task, "benchmarks/release.py", names, {}, "desi")
    inputs = [Source(file, "desi", {"lsf": "none"}) for file in files]
    begun, started = time.process_time(), time.monotonic()
    with Shards(output, names, cards, catalog.declared(estimator.extra)) as shards:
        shards.begin(resume=False, retry=False, overwrite=True)
        run = Run(shards, inputs, task, Here(estimator, task))
        rows = [0]
        seconds = carry_out(run, lambda report: None, lambda seen: rows.append(len(seen)))
    if run.failures:
        raise SystemExit(str(run.failures[0]))
    return Measured(
        estimator.name,
        sum(rows),
        time.process_time() - begun,
        time.monotonic() - started,
        memory.peak() / 1e9,
        output.stat().st_size / sum(rows),
        seconds,
    )


def apart(loader: Loader, files: list[Path]) -> Measured:
    """The same in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (loader, files))


def table(found: list[Measured]) -> str:
    """One line for each run."""
    lines = [
        "| model | spectra | peak memory | CPU per spectrum | spectra/s of CPU | "
        + " | ".join(f"{stage}, s" for stage in STAGES)
        + " | bytes/row |",
        "|---" * (6 + len(STAGES)) + "|",
    ]
    for one in found:
        each = one.cpu / one.rows
        stages = " | ".join(f"{one.stages[stage]:.1f}" for stage in STAGES)
        lines.append(
            f"| {one.model} | {one.rows:,} | {one.peak:.2f} GB | {1e3 * each:.3f} ms | "
            f"{1 / each:,.0f} | {stages} | {one.size:.0f} |"
        )
    return "\n".join(lines)


def page(found: list[Measured], fits: list[Measured]) -> str:
    """What was measured, and what it means for a release."""
    frame = found[-1]
    rest = frame.cpu / frame.rows
    sizes = " ".join(str(one.rows) for one in found)
    hours = RELEASE * rest / 3600
    days = "\n".join(map(effort, fits))
    return f"""# A release in small

`OMP_NUM_THREADS=1 python benchmarks/release.py --sizes {sizes} -o benchmarks/results/release.md`

A coadd of {ROWS:,} simulated DESI spectra (three arms, no resolution matrices, masks compressed),
linked as often as it takes; one process, one thread, chunks of 64; Python
{platform.python_version()}, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, seed {SEED}.
`trivial` is an estimator that does next to nothing: its rows are what the frame costs. Seconds by
stage are of the clock, and so grow with the load; the rest is CPU.

{table([*found, *fits])}

## {RELEASE // 10**6} million spectra, on paper

Assumed: a spectrum costs there what it costs here; files of hundreds to thousands of rows; and a
file system that keeps up, as the page cache does here.

- The frame alone (reading, tables, shards, catalogue): {hours:.1f} hours of one core.
{days}
"""


def effort(fit: Measured) -> str:
    """What a release takes with a model."""
    days = RELEASE * fit.cpu / fit.rows / 86400
    return (
        f"- With {fit.model}: {days:.0f} days of one core, or {days * 24 / 128:.1f} hours of 128; "
        f"a catalogue of {RELEASE * fit.size / 1e9:.0f} GB."
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        coadd = make_coadd(Path(name) / "coadd-release.fits", ROWS)
        found = []
        for size in given.sizes:
            found.append(apart(TrivialLoader("trivial"), list(links(coadd, size // ROWS))))
            print(json.dumps(found[-1].__dict__), flush=True)
        part = make_coadd(Path(name) / "coadd-part.fits", PART)
        fits = [apart(Loader(model), [part]) for model in MODELS]
    text = page(found, fits)
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
