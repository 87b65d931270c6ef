"""What one core takes with redrock: run by `speed.py`, in any Python that has redrock.

    python redrock_cpu.py TEMPLATES FILE...

Reads SDSS spec files on one run of pixels, as redrock's own reader does for a plate, and prints
JSON: CPU seconds of setting up the templates, and of reading and fitting all spectra. For galaxies
SDSS's eigenspectra are used: redrock's own are not on the index.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import sparse

FIRST, LAST = 35_502, 40_000
"""Pixels k of log10 λ = k · 1e-4: from 3549.8 Å, since redrock's QSO templates start at 3547."""


def galaxies(source: Path, folder: Path) -> Path:
    """SDSS's eigengalaxies as a template of redrock."""
    data, header = fits.getdata(source, header=True)
    hdu = fits.PrimaryHDU(data)
    cards = {"CRVAL1": header["COEFF0"], "CDELT1": header["COEFF1"], "LOGLAM": 1}
    cards |= {"RRTYPE": "GALAXY", "RRSUBTYP": "", "RRIGM": "None", "EXTNAME": "BASIS_VECTORS"}
    hdu.header.update(cards)
    path = folder / "rrtemplate-galaxy.fits"
    hdu.writeto(path)
    return path


def resolution(sigma: NDArray[np.float64]) -> sparse.dia_matrix:
    """Gaussians of ``sigma`` pixels as redrock's reader of BOSS makes them."""
    reach = int(2 * np.ceil(sigma.max()))
    offsets = np.arange(reach, -reach - 1, -1)
    data = np.exp(-0.5 * (offsets[:, None] / sigma) ** 2)
    return sparse.dia_matrix((data / data.sum(0), offsets), (len(sigma), len(sigma)))


def target(path: Path) -> Any:
    """One spectrum, filled up with pixels without data to the common run."""
    from redrock.targets import Spectrum, Target

    coadd = fits.getdata(path, 1)
    k = np.round(coadd["loglam"].astype(float) * 1e4).astype(int) - FIRST
    inside = (k >= 0) & (k < LAST - FIRST)
    flux, ivar, sigma = (np.zeros(LAST - FIRST) for _ in range(3))
    for out, name in ((flux, "flux"), (ivar, "ivar"), (sigma, "wdisp")):
        out[k[inside]] = coadd[name][inside]
    matrix = resolution(np.where(sigma < 0.1, 1.0, sigma))
    wave = 10 ** (np.arange(FIRST, LAST) * 1e-4)
    return Target(path.stem, [Spectrum(wave, flux, ivar, matrix, matrix.tocsr())], coadd=False)


def main(folder: Path, files: list[Path]) -> dict[str, Any]:
    """The figures, and redrock's redshifts."""
    from redrock.targets import DistTargetsCopy
    from redrock.templates import load_dist_templates
    from redrock.zfind import zfind

    start = time.process_time()
    targets = DistTargetsCopy([target(path) for path in files])
    read = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        own = sorted(map(str, folder.glob("rrtemplate-[QS]*.fits")))
        own.append(str(galaxies(folder / "spEigenGal-56436.fits", Path(scratch))))
        templates = load_dist_templates(targets.wavegrids(), templates=own, mp_procs=1)
        ready = time.process_time()
        zfit = zfind(targets, templates, mp_procs=1)[1]
    done = time.process_time()
    best = zfit[zfit["znum"] == 0]
    return {
        "version": version("redrock"),
        "setup": ready - read,
        "spectra": done - ready + read - start,
        "z": dict(zip(map(str, best["targetid"]), map(float, best["z"]), strict=True)),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    print(json.dumps(found))
