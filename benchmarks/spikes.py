"""Spikes of at most three pixels in real SDSS spectra and in mocks: what cosmic rays are left.

    OMP_NUM_THREADS=1 python benchmarks/spikes.py ../shared/data

Stars, quasars and blank fibres; galaxies have narrow lines of their own. Bluewards of 7200 Å and
off the brightest sky lines. A spike is a peak above ``LEAST`` errors over the running median (and
over the local scatter, where that is larger) whose neighbours three pixels away are no part of it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from zspec import InputError, Spectra, plugins
from zspec.simulate.simulator import simulator

LEAST = 6.0
EDGES = (LEAST, 8.0, 12.0, 20.0, np.inf)
RED = 7200.0
"""Å; beyond it OH lines leave spikes of their own."""
SKY = ((5570, 5590), (5885, 5900), (6298, 6306), (6363, 6370))
"""Å of bright lines of the sky."""
BLOCKS = 16
KINDS = ("STAR", "QSO")


def main(folder: Path) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print("| | spectra | 6–8 errors | 8–12 | 12–20 | above |\n|---|---|---|---|---|---|")
    for name, several in (("real", real(folder / "sdss")), ("mock", mocks())):
        found = [heights(one) for one in several]
        counts, _ = np.histogram(np.concatenate(found), EDGES)
        print(f"| {name} | {len(found)} | " + " | ".join(map(str, counts)) + " |")


def real(folder: Path) -> Iterator[Spectra]:
    """Stars and quasars with a label to trust, and blank fibres, one spectrum each."""
    survey = plugins.survey("sdss")
    for line in csv.DictReader((folder / "manifest.csv").open(encoding="utf-8")):
        known = line["label_ok"] == "1" and line["class"] in KINDS
        if line["is_sky"] != "1" and not known:
            continue
        if not line["file"].startswith("spectra/"):
            continue
        try:
            yield from survey.read(folder / line["file"])
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)


def mocks() -> Iterator[Spectra]:
    """Stars and quasars of the population, one spectrum each."""
    source = simulator(plugins.survey("sdss"), 5)
    for number in range(BLOCKS):
        block = source.block(number)
        for row in np.flatnonzero(np.isin(block.truth["SPECTYPE"], KINDS)):
            yield block.spectra[int(row) : int(row) + 1]


def heights(spectra: Spectra) -> NDArray[np.float64]:
    """Heights in errors of all spikes of one spectrum."""
    arm = spectra.arms[0]
    seen = arm.usable[0] & (arm.wave < RED)
    for low, high in SKY:
        seen &= (arm.wave < low) | (arm.wave > high)
    if seen.sum() < 500:
        return np.zeros(0)
    flux, error = arm.flux[0][seen].astype(np.float64), arm.ivar[0][seen] ** -0.5
    above = (flux - median_filter(flux, 31)) / error
    scatter = np.maximum(1.4826 * median_filter(np.abs(above), 101), 1)
    q = above / scatter
    at = np.arange(3, len(q) - 3)
    peak = (q[at] > LEAST) & (q[at] >= q[at - 1]) & (q[at] > q[at + 1])
    narrow = np.maximum(q[at - 2], q[at + 2]) < 0.35 * q[at]
    alone = np.maximum(np.abs(q[at - 3]), np.abs(q[at + 3])) < 0.25 * q[at]
    return np.asarray(q[at][peak & narrow & alone], np.float64)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
