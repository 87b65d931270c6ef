"""Time and memory of ``zspec evaluate`` with all metrics on a million rows.

python benchmarks/evaluate.py [ROWS]: writes a catalogue of zspec's shape with made-up columns, runs
the command in a process of its own, and prints its wall-clock time and its largest memory. Threads
are those of the environment (OMP_NUM_THREADS=2 for two cores).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from zspec import write_fits


def write_catalogue(path: Path, rows: int) -> None:
    """Galaxies, quasars and stars with honest and dishonest uncertainties and 2 % failures."""
    rng = np.random.default_rng(0)
    true = np.array(["GALAXY", "QSO", "STAR"])[rng.choice(3, rows, p=[0.6, 0.3, 0.1])]
    z_true = np.where(true == "STAR", 0.0, rng.uniform(0, 3, rows))
    sigma = rng.uniform(1e-4, 1e-3, rows)
    z = rng.normal(z_true, 1.3 * sigma)
    bad = rng.uniform(size=rows) < 0.015
    z[bad] = rng.uniform(0, 3, int(bad.sum()))
    columns = {
        "TARGETID": np.arange(rows),
        "FILE": np.full(rows, "spectra/spec-0000-00000-0000.fits"),
        "ROW": np.zeros(rows, np.int32),
        "SPECTYPE": np.where(rng.uniform(size=rows) < 0.03, "QSO", true),
        "PROB": rng.uniform(0.9, 1, rows).astype(np.float32),
        "Z": z,
        "ZERR": sigma,
        "ZCONF": rng.uniform(0.9, 1, rows).astype(np.float32),
        "ZWARN": np.where(rng.uniform(size=rows) < 0.1, 4, 0),
        "SNR": rng.lognormal(1, 1, rows).astype(np.float32),
        "ZCRB": sigma,
        "Z_TRUE": z_true,
        "CLASS_TRUE": true,
    }
    write_fits(path, [("", np.zeros(0), {}), ("REDSHIFTS", columns, {})])


def main(rows: int) -> None:
    """Write, run, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zcat.fits"
        write_catalogue(path, rows)
        for more in ([], ["--by", "class,snr"]):
            started = time.monotonic()
            command = [
                "-c",
                "from zspec.cli import main; main()",
                "evaluate",
                str(path),
                "--metrics",
                "all",
                "--json",
            ]
            subprocess.run([sys.executable, *command, *more], check=True, capture_output=True)
            seconds = time.monotonic() - started
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            what = " ".join(["all metrics", *more])
            print(f"{rows} rows, {what}: {seconds:.1f} s, {memory:.2f} GiB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
