"""redrock's redshifts of the pixels that `redrock_mocks.py` wrote, in any Python that has redrock.

    python redrock_arms.py TEMPLATES FOLDER

Each ``*.npz`` of the folder holds the arms of a few spectra, as ``wave0``, ``flux0``, ``ivar0``,
``sigma0`` (of the LSF, in pixels), ``wave1``, ...; all files have the same pixels. Beside each a
``.json`` is written with redrock's version, its best fit of each spectrum, and the CPU seconds per
spectrum. Those that are there already are left alone, so that a run that was stopped goes on.

Templates: redrock's own stars and quasars; for galaxies both redrock's file of 2016, with the
coefficients of which mocks are drawn, and SDSS's eigengalaxies, which do better on real spectra.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from redrock_cpu import galaxies, resolution
from redrock_fit import COLUMNS


def target(number: int, data: Any) -> Any:
    """Spectrum ``number`` of a file, a redrock spectrum for each arm."""
    from redrock.targets import Spectrum, Target

    arms = []
    for k in range(len([name for name in data if name.startswith("wave")])):
        wave, sigma = data[f"wave{k}"], data[f"sigma{k}"]
        flux, ivar = (data[f"{name}{k}"][number].astype(float) for name in ("flux", "ivar"))
        matrix = resolution(sigma.astype(float))
        arms.append(Spectrum(wave, flux, ivar, matrix, matrix.tocsr()))
    return Target(number, arms, coadd=False)


def templates_in(folder: Path, scratch: Path) -> list[str]:
    """Files of templates; two of one class must differ in their subtype."""
    own = sorted(folder.glob("rrtemplate-[QS]*.fits"))
    sdss = galaxies(folder / "spEigenGal-56436.fits", scratch)
    with fits.open(sdss, mode="update") as hdus:
        hdus[0].header["RRSUBTYP"] = "SDSS"
    old = scratch / "rrtemplate-galaxy-old.fits"
    with fits.open(folder / old.name) as hdus:
        hdus["BASIS_VECTORS"].header["RRIGM"] = "None"  # it ends at z = 1.7, without a forest
        hdus.writeto(old)
    return [str(path) for path in (*own, sdss, old)]


def lacking(folder: Path) -> list[Path]:
    """Files without an answer, in order."""
    return [p for p in sorted(folder.glob("*.npz")) if not p.with_suffix(".json").exists()]


def fitted(path: Path, templates: Any) -> dict[str, Any]:
    """The best fits of one file; ``templates`` are set up for its pixels."""
    from redrock.targets import DistTargetsCopy
    from redrock.zfind import zfind

    with np.load(path, allow_pickle=False) as data:
        held = dict(data)
    start = time.process_time()
    targets = [target(i, held) for i in range(len(held["flux0"]))]
    found = zfind(DistTargetsCopy(targets), templates, mp_procs=1)[1]
    seconds = (time.process_time() - start) / len(targets)
    best = {int(one["targetid"]): one for one in found[found["znum"] == 0]}
    rows = [{k: kind(best[i][k]) for k, kind in COLUMNS.items()} for i in range(len(targets))]
    return {"version": version("redrock"), "seconds": seconds, "rows": rows}


def answers(folder: Path, templates: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each file that lacks an answer, and that answer."""
    from redrock.targets import DistTargetsCopy
    from redrock.templates import load_dist_templates

    waiting = lacking(folder)
    if not waiting:
        return
    with np.load(waiting[0], allow_pickle=False) as data:
        first = DistTargetsCopy([target(0, dict(data))])
    with tempfile.TemporaryDirectory() as scratch:
        own = templates_in(templates, Path(scratch))
        ready = load_dist_templates(first.wavegrids(), templates=own, mp_procs=1)
    for path in waiting:
        yield path, fitted(path, ready)


if __name__ == "__main__":
    for path, answer in answers(Path(sys.argv[2]), Path(sys.argv[1])):
        path.with_suffix(".part").write_text(json.dumps(answer), encoding="utf-8")
        path.with_suffix(".part").replace(path.with_suffix(".json"))
