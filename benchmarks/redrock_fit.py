"""redrock's redshifts of pixels that `redrock_sdss.py` wrote, in any Python that has redrock.

    python redrock_fit.py TEMPLATES PIXELS.npz

Prints JSON: redrock's version, and class, redshift and flags of each spectrum in order. The pixels
and templates are those of `redrock_cpu.py`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from redrock_cpu import FIRST, LAST, galaxies, resolution

COLUMNS = {"z": float, "zerr": float, "zwarn": int, "deltachi2": float, "spectype": str}
"""What is kept of redrock's table, and as what."""


def target(number: int, flux: Any, ivar: Any, sigma: Any) -> Any:
    """One spectrum on the common run of pixels."""
    from redrock.targets import Spectrum, Target

    matrix = resolution(np.where(sigma < 0.1, 1.0, sigma))
    wave = 10 ** (np.arange(FIRST, LAST) * 1e-4)
    return Target(number, [Spectrum(wave, flux, ivar, matrix, matrix.tocsr())], coadd=False)


def main(folder: Path, pixels: Path) -> dict[str, Any]:
    """The best fit of each spectrum."""
    from redrock.targets import DistTargetsCopy
    from redrock.templates import load_dist_templates
    from redrock.zfind import zfind

    data = np.load(pixels, allow_pickle=False)
    rows = zip(data["flux"], data["ivar"], data["sigma"], strict=True)
    targets = DistTargetsCopy([target(i, *row) for i, row in enumerate(rows)])
    with tempfile.TemporaryDirectory() as scratch:
        own = sorted(map(str, folder.glob("rrtemplate-[QS]*.fits")))
        own.append(str(galaxies(folder / "spEigenGal-56436.fits", Path(scratch))))
        templates = load_dist_templates(targets.wavegrids(), templates=own, mp_procs=1)
        zfit = zfind(targets, templates, mp_procs=1)[1]
    best = {int(one["targetid"]): one for one in zfit[zfit["znum"] == 0]}
    found = [{k: kind(best[i][k]) for k, kind in COLUMNS.items()} for i in range(len(best))]
    return {"version": version("redrock"), "rows": found}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(found))
