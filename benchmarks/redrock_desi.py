"""redrock's redshifts of the labelled real DESI spectra, as a table to compare with.

    cd benchmarks
    python redrock_desi.py ../../shared --redrock PYTHON -o results/redrock_desi.csv

PYTHON is an interpreter that has redrock 0.21. Arms, masks and LSF are what zspec's adapter reads;
where a file has no LSF it is one pixel, sigma, as DESI's is to a fifth. Rows that the table has
already are kept. 3 s of a core per spectrum. Of the labels one is redrock's own, seven are of
DESI's catalogue of quasars (redrock, QuasarNET and Mg II together), and fourteen were made by eye.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redrock_mocks import pixels
from redrock_sdss import read, write

from zspec import sources
from zspec.survey import Spectra

Line = tuple[dict[str, str], Spectra]
"""A line of the manifest and its spectrum."""


def labelled(shared: Path) -> Iterator[Line]:
    """The single spectra with class and redshift: of catalogues, and by eye."""
    folder = shared / "data" / "desi"
    wanted: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            if line["class"] and line["z"] and not line["subclass"].endswith("stack"):
                wanted[line["file"]][int(line["row"])] = line
    for name, lines in wanted.items():
        for chunk in sources.read(sources.Source(folder / name, "desi"))[1]:
            for i, row in enumerate(chunk.rows.tolist()):
                if row in lines:
                    yield lines[row], chunk[i : i + 1]


def fitted(lines: Sequence[Line], python: Path, templates: Path) -> list[dict[str, Any]]:
    """Redrock's best fit of each; those of one file share its templates."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, (line, _) in enumerate(lines):
        groups[line["file"]].append(i)
    found: list[dict[str, Any]] = [{} for _ in lines]
    script = Path(__file__).with_name("redrock_arms.py")
    for mine in groups.values():
        with tempfile.TemporaryDirectory() as scratch:
            for i in mine:
                asked: dict[str, Any] = dict(pixels(with_lsf(lines[i][1])))
                np.savez(Path(scratch) / f"{i:03d}.npz", **asked)
            command = [str(python), str(script), str(templates), scratch]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            for i in mine:
                told = json.loads((Path(scratch) / f"{i:03d}.json").read_text(encoding="utf-8"))
                found[i] = {**told["rows"][0], "version": told["version"]}
    return found


def with_lsf(one: Spectra) -> Spectra:
    """The spectrum with an LSF of one pixel where it has none."""
    arms = (
        arm if arm.resolution is not None else dataclasses.replace(arm, resolution=step(arm.wave))
        for arm in one.arms
    )
    return dataclasses.replace(one, arms=tuple(arms))


def step(wave: NDArray[np.float64]) -> NDArray[np.float32]:
    """(pixel,) width of pixels, Å."""
    return np.gradient(wave).astype(np.float32)


def main() -> None:
    """Fit what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--redrock", type=Path, required=True, help="a Python that has redrock")
    parser.add_argument("-o", "--out", type=Path, required=True, help="CSV to write or add to")
    args = parser.parse_args()
    table: dict[tuple[str, str], dict[str, Any]] = dict(read(args.out))
    lacking = [
        (line, one)
        for line, one in labelled(args.shared)
        if (line["file"], line["row"]) not in table
    ]
    if lacking:
        templates = args.shared / "data" / "templates"
        found = fitted(lacking, args.redrock, templates)
        for (line, _), row in zip(lacking, found, strict=True):
            table[line["file"], line["row"]] = {"file": line["file"], "row": line["row"], **row}
        write(args.out, table)


if __name__ == "__main__":
    main()
