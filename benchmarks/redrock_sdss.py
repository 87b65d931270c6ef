"""redrock's redshifts of the labelled SDSS spectra and sky fibres, as a table to compare with.

    cd benchmarks
    python redrock_sdss.py ../../shared --redrock PYTHON -o results/redrock_sdss.csv

PYTHON is an interpreter that has redrock 0.21. The pixels, masks and LSF are what zspec's adapter
reads, cut to where redrock's templates reach (3550 Å at the blue end). ``--rows 0:195`` fits some
of the rows only; rows that the table has already are kept. 1.5 s of a core per spectrum.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from redrock_cpu import FIRST, LAST

from zspec.likelihood.basis import STEP
from zspec.likelihood.labelled import listed
from zspec.survey import Spectra

FIELDS = ("file", "row", "spectype", "z", "zerr", "zwarn", "deltachi2", "version")
"""Columns of the table."""


def on_run(one: Spectra) -> tuple[Any, Any, Any]:
    """Flux, ivar and LSF (sigma in pixels) of one spectrum on the common run of pixels."""
    flux, ivar, sigma = (np.zeros(LAST - FIRST) for _ in range(3))
    arm = one.arms[0]
    k = np.round(np.log10(arm.wave) / STEP).astype(int) - FIRST
    inside = (k >= 0) & (k < LAST - FIRST)
    flux[k[inside]], ivar[k[inside]] = arm.flux[0, inside], arm.ivar[0, inside]
    if arm.resolution is not None:
        width = np.broadcast_to(arm.resolution, arm.flux.shape)[0] / (arm.wave * np.log(10) * STEP)
        sigma[k[inside]] = width[inside]
    return flux, ivar, sigma


def fitted(rows: Sequence[Spectra], python: Path, templates: Path) -> list[dict[str, Any]]:
    """Redrock's best fit of each."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pixels.npz"
        flux, ivar, sigma = map(np.array, zip(*map(on_run, rows), strict=True))
        np.savez(path, flux=flux, ivar=ivar, sigma=sigma)
        script = Path(__file__).with_name("redrock_fit.py")
        command = [str(python), str(script), str(templates), str(path)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(said)
    return [{**row, "version": found["version"]} for row in found["rows"]]


def read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The table by file and row; empty where there is none yet."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as handle:
        return {(line["file"], line["row"]): line for line in csv.DictReader(handle)}


def write(path: Path, table: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The table in the order of its keys."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[key] for key in sorted(table))


def main() -> None:
    """Fit what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--redrock", type=Path, required=True, help="a Python that has redrock")
    parser.add_argument("-o", "--out", type=Path, required=True, help="CSV to write or add to")
    parser.add_argument("--rows", default=":", help="first:last of the wanted lines")
    args = parser.parse_args()
    first, last = (int(end) if end else None for end in args.rows.split(":"))
    data = args.shared / "data"
    wanted = [
        (line, one)
        for line, one in listed(data / "sdss" / "manifest.csv")
        if line["label_ok"] == "1" or line["is_sky"] == "1"
    ][first:last]
    table: dict[tuple[str, str], dict[str, Any]] = dict(read(args.out))
    lacking = [(line, one) for line, one in wanted if (line["file"], line["row"]) not in table]
    if lacking:
        found = fitted([one for _, one in lacking], args.redrock, data / "templates")
        for (line, _), row in zip(lacking, found, strict=True):
            table[line["file"], line["row"]] = {"file": line["file"], "row": line["row"], **row}
        write(args.out, table)


if __name__ == "__main__":
    main()
