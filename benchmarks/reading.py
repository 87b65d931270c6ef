"""Reading alone: how many spectra of a DESI coadd a second of one core gives.

    OMP_NUM_THREADS=1 python benchmarks/reading.py -o benchmarks/results/reading.md

A coadd of simulated spectra without resolution matrices, in the page cache, as three files: nothing
compressed, masks compressed (as DESI's releases are), and all of it gzipped. Beside the adapter,
astropy reads flux, ivar and mask of each arm into native arrays and does no more; the adapter takes
bad pixels out, reads FIBERMAP and makes chunks. Where desispec is installed (pip install desispec),
its own reader gives what it gives: all arms and FIBERMAP as one object, in single precision and
without resolution, which is the fastest that it offers. CPU seconds: other programs may be at work.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from release import make_coadd

from zspec import open_fits, plugins, write_fits
from zspec.survey import make_options

ROWS = 1024
ARMS = ("B", "R", "Z")
KINDS = ("FLUX", "IVAR", "MASK")
TIMES = 3
"""Runs, of which the fastest counts."""


def uncompressed(path: Path) -> Path:
    """The same coadd with nothing compressed."""
    other = path.with_name("coadd-plain.fits")
    with open_fits(path) as file:
        hdus: list[Any] = [("", np.zeros(0), {})]
        columns = {name: file.column("FIBERMAP", name) for name in file.columns("FIBERMAP")}
        texts = {k: v.astype("S") if v.dtype.kind == "U" else v for k, v in columns.items()}
        hdus.append(("FIBERMAP", texts, {}))
        for arm in ARMS:
            for kind in ("WAVELENGTH", *KINDS):
                hdus.append((f"{arm}_{kind}", file.image(f"{arm}_{kind}"), {}))
    write_fits(other, hdus)
    return other


def gzipped(path: Path) -> Path:
    """The same file, gzipped."""
    other = path.with_name("coadd-packed.fits.gz")
    other.write_bytes(gzip.compress(path.read_bytes(), 4))
    return other


def by_zspec(path: Path) -> int:
    """Read all rows with the adapter; returns how many."""
    survey = plugins.survey("desi")
    chunks = survey.read(path, None, make_options(survey, {"lsf": "none"}))
    return sum([len(spectra) for spectra in chunks])


def by_astropy(path: Path) -> int:
    """Read flux, ivar and mask of each arm; returns the number of rows."""
    with fits.open(path, memmap=False) as hdus:
        for arm in ARMS:
            for kind in KINDS:
                data = hdus[f"{arm}_{kind}"].data
                data = data.astype(data.dtype.newbyteorder("="))
        return len(data)


def by_desispec(path: Path) -> int:
    """Read all rows with DESI's own reader; returns how many."""
    os.environ["DESI_LOGLEVEL"] = "error"
    from desispec.io import read_spectra

    skipped = {"EXP_FIBERMAP", "SCORES", "EXTRA_CATALOG", "RESOLUTION"}
    return len(read_spectra(str(path), single=True, skip_hdus=skipped).fibermap)


def readers() -> dict[str, Callable[[Path], int]]:
    """All readers that are installed, by what the table calls them."""
    found: dict[str, Callable[[Path], int]] = {"zspec": by_zspec, "astropy": by_astropy}
    if importlib.util.find_spec("desispec"):
        found["desispec " + importlib.metadata.version("desispec")] = by_desispec
    return found


def rate(read: Callable[[Path], int], path: Path) -> float:
    """Spectra a second of CPU, of the fastest run."""
    best = np.inf
    for _ in range(TIMES):
        start = time.process_time()
        rows = read(path)
        best = min(best, time.process_time() - start)
    return rows / best


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        packed = make_coadd(Path(name) / "coadd-masks.fits", ROWS)
        plain = uncompressed(packed)
        files = {"nothing compressed": plain, "masks compressed": packed, "gzip": gzipped(plain)}
        lines = []
        for kind, path in files.items():
            cells = [f"{rate(read, path):,.0f}" for read in readers().values()]
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            lines.append(f"| {' | '.join([kind, size, *cells])} |")
    head = [
        "| " + " | ".join(["file", "size", *readers()]) + " |",
        "|---" * (2 + len(readers())) + "|",
    ]
    table = "\n".join([*head, *lines])
    text = f"""# Reading DESI's coadds

`OMP_NUM_THREADS=1 python benchmarks/reading.py -o benchmarks/results/reading.md`

Spectra of three arms a second of CPU on one core, {ROWS:,} of them in a file, in the page cache, no
resolution matrices; the fastest of {TIMES} runs; Python {platform.python_version()}, load
{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores. zspec: the adapter, with bad pixels taken out,
FIBERMAP and chunks; astropy: flux, ivar and mask into native arrays, and nothing else; desispec,
where it is installed: `read_spectra` with all arms and FIBERMAP, in single precision.

{table}
"""
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
