"""Sources of `elsewhere.py` that are read from files: published templates, and real spectra."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import held_out
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from zspec.likelihood import forest
from zspec.likelihood.basis import STEP
from zspec.likelihood.labelled import listed

BRIGHT = 3.0
"""Median SNR of quasars whose coefficients are taken."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Rest-frame vectors, and how objects mix them."""

    name: str
    spectype: str
    wave: Array
    """(pixel,) Å, vacuum, increasing."""
    vectors: Array
    """(K, pixel) flux density."""
    mixtures: Array
    """(N, K)"""
    place: Array | None = None
    """(N,) ln(1 + z) about which each mixture is put; None: anywhere."""
    forest: str = ""
    """Model of the mean forest that the vectors lack."""
    noisy: bool = False
    """A real spectrum: it may be negative, and pixels that it does not reach have no data."""

    @property
    def reach(self) -> tuple[float, float]:
        """Å of the first and last pixel."""
        return float(self.wave[0]), float(self.wave[-1])

    def seen(self, number: int, z: float, wave: Array) -> Array:
        """(wave,) flux density of mixture ``number`` at observed wavelengths (Å)."""
        flux = self.mixtures[number] @ self.vectors
        rest = wave / (1 + z)
        made: Array = CubicSpline(np.log(self.wave), flux)(np.log(np.clip(rest, *self.reach)))
        return made * forest.transmission(self.forest, rest, z) if self.forest else made


def real(shared: Path) -> list[Source]:
    """Real spectra."""
    return [
        Source(o.name, o.spectype, o.wave, o.flux[None], np.eye(1), np.array([o.place]), noisy=True)
        for o in held_out.objects(shared)
    ]


def of_redrock(shared: Path) -> list[Source]:
    """Templates of redrock, with coefficients."""
    folder = shared / "data" / "templates"
    found = []
    for path in sorted(folder.glob("rrtemplate-*.fits")):
        with fits.open(path, memmap=False) as hdus:
            header, vectors = hdus["BASIS_VECTORS"].header, hdus["BASIS_VECTORS"].data
            wave = header["CRVAL1"] + header["CDELT1"] * np.arange(vectors.shape[1])
            listed_ = hdus["ARCHETYPE_COEFF"].data if "ARCHETYPE_COEFF" in hdus else None
        wave = 10**wave if header.get("LOGLAM") else wave
        base = Source(path.stem, header["RRTYPE"], wave, vectors.astype(float), np.zeros((0, 1)))
        if listed_ is not None:
            found.append(replace(base, mixtures=listed_.astype(float)))
        elif base.spectype == "QSO":
            found.append(quasars(replace(base, forest="Kamble20"), shared))
    return found


def quasars(source: Source, shared: Path) -> Source:
    """The source with the mixtures that fit real quasars."""
    mixtures, place = [], []
    for line, one in listed(shared / "data" / "sdss" / "manifest.csv"):
        bright = float(line["sn_median"] or 0) > BRIGHT
        if line["label_ok"] != "1" or line["class"] != "QSO" or not bright:
            continue
        z, arm = float(line["z"]), one.arms[0]
        good = arm.usable[0] & (arm.ivar[0] > 0)
        rest = arm.wave[good] / (1 + z)
        if rest[0] < source.reach[0] or rest[-1] > source.reach[1]:
            continue
        through = forest.transmission(source.forest, rest, z)
        spline = CubicSpline(np.log(source.wave), source.vectors, axis=1)
        design = (spline(np.log(rest)) * through).T * np.sqrt(arm.ivar[0, good])[:, None]
        data = arm.flux[0, good] * np.sqrt(arm.ivar[0, good])
        mixtures.append(np.linalg.lstsq(design, data, rcond=None)[0])
        place.append(math.log1p(z))
    return replace(source, mixtures=np.array(mixtures), place=np.array(place))


STACKS = {
    "ROSAT_AGNT2-stitched-stack-qmost-template.fits": (2350.0, 8050.0),
    "ROSAT_AGNT2-highZ-stitched-stack-qmost-template.fits": (2350.0, 8050.0),
}
"""Files of type-2 AGN, and the range in Å where they are a spectrum: beyond it they go on as a
constant, or as a star-forming galaxy of far higher noise."""
STARS = "spEigenStar-55734.fits"


def unseen(shared: Path) -> list[Source]:
    """What no recipe learns from."""
    folder = shared / "data" / "templates"
    made = [stack(folder / name, *ends) for name, ends in STACKS.items()]
    with fits.open(folder / STARS, memmap=False) as hdus:
        flux, first = hdus[0].data.astype(float), hdus[0].header["COEFF0"]
    wave = 10 ** (first + STEP * np.arange(flux.shape[1]))
    return [*made, Source("spEigenStar", "STAR", wave, flux, np.eye(len(flux)))]


def star_names(shared: Path) -> list[str]:
    """What each of SDSS's star templates is."""
    with fits.open(shared / "data" / "templates" / STARS) as hdus:
        header = hdus[0].header
    return [str(header.get(f"NAME{i}", "")) for i in range(header["NAXIS2"])]


def stack(path: Path, blue: float, red: float) -> Source:
    """One published spectrum between two wavelengths (Å)."""
    with fits.open(path, memmap=False) as hdus:
        wave, flux = (hdus[1].data.field(i).astype(float) for i in (0, 1))
    inside = (wave > blue) & (wave < red)
    name = path.name.partition("-stitched")[0]
    return Source(name, "GALAXY", wave[inside], flux[None, inside], np.eye(1))
