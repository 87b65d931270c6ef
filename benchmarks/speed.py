"""CPU time of `zspec predict` and of redrock on the same real spectra, one thread each.

    OMP_NUM_THREADS=1 python benchmarks/speed.py ../shared -o benchmarks/results/speed.md

Both read SDSS spec files and fit every class at every redshift; zspec also writes its catalogue.
redrock 0.21 (extra `bench`) may live in another environment: --redrock /path/to/its/python. Its
templates' set-up is counted apart, and so is zspec's, of a first pass over a few files.

What many rows of one file take is measured on coadds of DESI: the rows of all real ones, one below
the other, as often as it takes, in a file of their layout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zspec import Arm, Spectra, catalog, checkpoint, plugins, prediction, sources
from zspec.estimators.likelihood import resolution
from zspec.likelihood import scan
from zspec.likelihood.noise import with_model_error
from zspec.likelihood.nuisance import nuisance
from zspec.likelihood.pixels import gather, native, trimmed
from zspec.likelihood.solve import broadening
from zspec.sources import Source

WARM = 8
"""Files of the first pass."""
GOOD = 0.005
"""|Δz| / (1 + z) within which the two agree."""
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA")


@dataclass(frozen=True)
class Timed:
    """CPU seconds, and what was found."""

    name: str
    setup: float
    spectra: float
    z: dict[str, float]
    """By the file's stem."""

    @property
    def each(self) -> float:
        """Seconds per spectrum."""
        return self.spectra / len(self.z)


def zspec(files: list[Path]) -> Timed:
    """Time `zspec predict`, from files to a written catalogue."""
    start = time.process_time()
    estimator = checkpoint.load_estimator("likelihood", "cpu")
    inputs = [Source(path, "sdss") for path in files]
    prediction.predict(inputs[:: max(1, len(inputs) // WARM)], estimator)
    ready = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = prediction.predict(inputs, estimator)
        catalog.write(found, Path(folder) / "speed.zspec.fits")
    done = time.process_time()
    rows = found.redshifts
    z = {Path(str(row["FILE"])).stem: float(row["Z"]) for row in rows}
    return Timed(f"zspec, {estimator.name}", ready - start, done - ready, z)


def scans(files: list[Path]) -> float:
    """CPU seconds per spectrum of all classes at all redshifts, one at a time, and no more."""
    estimator = checkpoint.load_estimator("likelihood", "cpu")
    spectra = [next(sources.read(Source(path, "sdss"))[1]) for path in files]
    for _ in range(2):  # the first fills the tables
        start = time.process_time()
        for one in spectra:
            scan_all(estimator, one)
    return (time.process_time() - start) / len(files)


def scan_all(estimator: Any, spectra: Spectra) -> None:
    """Evidence of every class at every redshift."""
    with torch.inference_mode():
        pixels, _ = trimmed(native(spectra.arms))
        pixels = with_model_error(pixels, estimator.calibration.model_error)
        width = float(resolution(spectra.arms)[0])
        widths = [broadening(basis, width) for basis in estimator.bases]
        for _ in scan.scan_all(gather(pixels), nuisance(pixels), estimator.bases, widths):
            pass


def rows_of_one_file(shared: Path, counts: tuple[int, ...]) -> list[tuple[int, float, float]]:
    """(rows, CPU seconds per row, peak memory in MB so far) of files of so many rows."""
    estimator = checkpoint.load_estimator("likelihood", "cpu")
    adapter, found = plugins.survey("desi"), []
    with tempfile.TemporaryDirectory() as folder:
        for count in (counts[0], *counts):  # the first fills the tables
            path = Path(folder) / "coadd-stacked.fits"
            path.unlink(missing_ok=True)
            adapter.write(path, stacked(shared, count))
            start = time.process_time()
            made = prediction.predict([Source(path, "desi")], estimator)
            catalog.write(made, Path(folder) / "stacked.zspec.fits")
            each = (time.process_time() - start) / len(made.redshifts)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found.append((len(made.redshifts), each, peak))
    return found[1:]


def stacked(shared: Path, count: int) -> Spectra:
    """``count`` rows of real coadds with three arms, each as often as it takes."""
    rows = [
        one
        for path in sorted((shared / "data/desi").glob("coadd-*.fits"))
        for chunk in sources.read(Source(path, "desi"))[1]
        for one in chunk.split(1)
        if len(one.arms) == 3
    ]
    chosen = [rows[i % len(rows)] for i in range(count)]
    arms = [
        Arm(
            arm.name,
            arm.wave,
            np.concatenate([one.arms[i].flux for one in chosen]),
            np.concatenate([one.arms[i].ivar for one in chosen]),
            resolution=arm.resolution,
        )
        for i, arm in enumerate(rows[0].arms)
    ]
    return Spectra(tuple(arms), np.arange(1, count + 1), np.arange(count, dtype=np.int32))


def redrock(python: str, templates: Path, files: list[Path]) -> Timed | None:
    """Time redrock on the same files; None where it is not installed."""
    if subprocess.run([python, "-c", "import redrock"], capture_output=True).returncode:
        return None
    script = Path(__file__).with_name("redrock_cpu.py")
    env = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in THREADS}}
    command = [python, str(script), str(templates), *map(str, files)]
    text = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(text)
    name = f"redrock {found['version']}"
    return Timed(name, found["setup"], found["spectra"], found["z"])


def report(timed: list[Timed], count: int, scan: float) -> str:
    """Markdown of spectra one at a time."""
    lines = [
        "# CPU time per spectrum",
        "",
        "`OMP_NUM_THREADS=1 python benchmarks/speed.py ../shared -o benchmarks/results/speed.md`",
        "",
        f"{count} real SDSS and BOSS spectra, one file each; {machine()}. One thread each, in one "
        "run. zspec: native files to a written catalogue; redrock: reading and fitting.",
        "",
        "| code | CPU per spectrum | spectra/s on one core | set-up, once |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {t.name} | {1e3 * t.each:.1f} ms | {1 / t.each:.1f} | {t.setup:.1f} s |" for t in timed
    ]
    if len(timed) == 2:
        ours, theirs = timed
        times = theirs.each / scan
        off = np.array([abs(ours.z[k] - z) / (1 + z) for k, z in theirs.z.items()])
        lines += [
            "",
            f"Ratio: {theirs.each / ours.each:.0f}. The redshifts of {np.mean(off < GOOD):.0%} of "
            f"the spectra agree within {GOOD} (1 + z). zspec's scan alone, all classes at all "
            f"redshifts: {1e3 * scan:.1f} ms, a ratio of {times:.0f}.",
        ]
    return "\n".join(lines) + "\n"


def many(found: list[tuple[int, float, float]]) -> str:
    """Markdown of many rows of one file."""
    lines = [
        "",
        "Rows of one file, in the layout of DESI's coadds, of three arms, one thread:",
        "",
        "| rows | CPU per spectrum | spectra/s on one core | peak memory |",
        "|---|---|---|---|",
    ]
    lines += [f"| {n} | {1e3 * t:.1f} ms | {1 / t:.1f} | {mb:.0f} MB |" for n, t, mb in found]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """CPU, number of cores and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} cores, {cpu}; {versions}"


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="folder of reference data")
    parser.add_argument("-n", type=int, default=40, help="number of spectra")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 64, 512], help="of one file")
    parser.add_argument("--redrock", default=sys.executable, help="a Python that has redrock")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = sorted((options.shared / "data/sdss/spectra").glob("spec-*.fits"))
    files = every[:: max(1, len(every) // options.n)][: options.n]
    timed = [zspec(files)]
    other = redrock(options.redrock, options.shared / "data/templates", files)
    if other is None:
        print(f"redrock: not installed in {options.redrock}; skipped", file=sys.stderr)
    timed += [other] if other else []
    text = report(timed, len(files), scans(files))
    if options.rows:
        text += many(rows_of_one_file(options.shared, tuple(options.rows)))
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
