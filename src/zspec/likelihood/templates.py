"""Published template files, on the common log grid.

Read are redrock's ``rrtemplate-*`` and ``rrarchetype-*`` (linear or log λ), SDSS's ``spEigen*``
(COEFF0 + COEFF1 · i), and tables of one spectrum (LAMBDA or WAVE in Å, then flux density). All of
them are in vacuum. What is linear in λ is averaged over grid pixels, which conserves its integral.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from zspec.errors import InputError
from zspec.likelihood.basis import STEP


@dataclass(frozen=True)
class Template:
    """K rest-frame vectors as somebody published them."""

    k0: int
    """Grid index of the first pixel."""
    vectors: NDArray[np.float64]
    """(K, pixel) flux density per Å, arbitrary unit."""
    coefficients: NDArray[np.float64] | None = None
    """(draws, K) coefficients of real or simulated objects, where the file has them."""
    subtypes: tuple[str, ...] = ()
    """(K,) for archetypes and SDSS's stars: what each vector is."""
    spectype: str = ""
    """Card RRTYPE of a redrock file."""
    subtype: str = ""
    """Its card RRSUBTYP."""
    version: str = ""
    """Its card VERSION."""
    igm: str = ""
    """Its card RRIGM: the forest that the vectors were corrected for; empty where it has none."""
    logarithmic: bool = False
    """Whether it is given on the common grid, log λ in steps of 1e-4."""
    z_range: tuple[float, float] | None = None
    """First and last of its redshifts, HDU REDSHIFTS, where it has that."""


def read_template(path: Path) -> Template:
    """Read one file. Raises InputError where it is missing or of another layout."""
    try:
        with fits.open(path, memmap=False) as hdus:
            return _parse({h.name or str(i): h for i, h in enumerate(hdus)}, path)
    except OSError as error:
        raise InputError(f"{path}: no readable template file ({error})") from None


def _parse(hdus: dict[str, Any], path: Path) -> Template:
    """Recognise the layout by names of HDUs and cards."""
    if "BASIS_VECTORS" in hdus:
        return _redrock(hdus)
    if "ARCHETYPES" in hdus:
        hdu = hdus["ARCHETYPES"]
        subtypes = tuple(str(s) for s in hdu.data["SUBTYPE"])
        return Template(*_cards(hdu.header, hdu.data["ARCHETYPE"]), None, subtypes)
    first = next(iter(hdus.values()))
    if "COEFF0" in first.header:
        names = tuple(first.header.get(f"NAME{i}", "") for i in range(len(first.data)))
        k0 = round(first.header["COEFF0"] / STEP)
        return Template(k0, first.data.astype(np.float64), None, names)
    for hdu in hdus.values():
        columns = getattr(getattr(hdu, "columns", None), "names", [])
        if columns and columns[0] in ("LAMBDA", "WAVE"):
            wave, flux = (hdu.data.field(i).astype(np.float64) for i in (0, 1))
            return Template(*rebin(wave, flux[None]))
    raise InputError(f"{path}: not a template file (HDUs: {', '.join(hdus)})")


def _redrock(hdus: dict[str, Any]) -> Template:
    """A template of redrock with what its cards say."""
    hdu = hdus["BASIS_VECTORS"]
    draws = hdus.get("ARCHETYPE_COEFF")
    redshifts = hdus["REDSHIFTS"].data if "REDSHIFTS" in hdus else None

    def text(card: str) -> str:
        return str(hdu.header.get(card, "")).strip()

    k0, vectors = _cards(hdu.header, hdu.data)
    return Template(
        k0,
        vectors,
        None if draws is None else draws.data.astype(np.float64),
        spectype=text("RRTYPE").upper(),
        subtype=text("RRSUBTYP").upper(),
        version=text("VERSION"),
        igm=text("RRIGM"),
        logarithmic=bool(hdu.header.get("LOGLAM")),
        z_range=None if redshifts is None else (float(redshifts.min()), float(redshifts.max())),
    )


def _cards(header: Any, data: Any) -> tuple[int, NDArray[np.float64]]:
    """Grid index and vectors of a redrock file, whose cards state the wavelengths."""
    vectors = np.asarray(data, np.float64)
    if header.get("LOGLAM"):
        return round(header["CRVAL1"] / STEP), vectors
    wave = header["CRVAL1"] + header["CDELT1"] * np.arange(vectors.shape[1])
    return rebin(wave, vectors)


def rebin(
    wave: NDArray[np.float64], vectors: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """Mean flux density in each grid pixel that lies wholly inside ``wave`` (Å, increasing)."""
    edges = np.concatenate([[wave[0]], (wave[1:] + wave[:-1]) / 2, [wave[-1]]])
    integral = np.cumsum(vectors * np.diff(edges), axis=1)
    integral = np.pad(integral, ((0, 0), (1, 0)))
    low, high = np.log10(wave[[0, -1]]) / STEP
    k0, end = int(np.ceil(low + 0.5)), int(np.floor(high - 0.5))
    pixels = 10 ** ((np.arange(k0, end + 2) - 0.5) * STEP)
    means = [np.diff(np.interp(pixels, edges, v)) / np.diff(pixels) for v in integral]
    return k0, np.stack(means)
