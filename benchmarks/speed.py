"""CPU time of `zspec predict` and of redrock on the same real spectra, one thread each.

    OMP_NUM_THREADS=1 python benchmarks/speed.py ../shared -o benchmarks/results/speed.md

Both read SDSS spec files and fit every class at every redshift; zspec also writes its catalogue.
redrock 0.21 (extra `bench`) may live in another environment: --redrock /path/to/its/python. Its
templates' set-up is counted apart, and so is zspec's, of a first pass over a few files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zspec import catalog, checkpoint, prediction
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


def report(timed: list[Timed], count: int) -> str:
    """A page of Markdown."""
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
        off = np.array([abs(ours.z[k] - z) / (1 + z) for k, z in theirs.z.items()])
        lines += [
            "",
            f"Ratio: {theirs.each / ours.each:.0f}. The redshifts of {np.mean(off < GOOD):.0%} of "
            f"the spectra agree within {GOOD} (1 + z).",
        ]
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
    text = report(timed, len(files))
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
