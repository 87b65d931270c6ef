"""LAMOST low-resolution spectra for zspec.

Products read: ``spec-*.fits`` (one object each) of the Low Resolution Survey up to DR7: an image of
5 x N in the primary HDU (flux, inverse variance, wavelength, and-mask, or-mask), 3700-9100 Å at R
about 1800. The file joins both arms; they are taken apart again at the seam, 5956 Å, where some
spectra step by half their flux, so that each arm may have a level of its own.
Products not read: medium resolution (MRS), whose arms lie in tables, and the tables of DR8 and
later. The or-mask and the wavelength row are not read: wavelengths come from COEFF0 and COEFF1,
which the float32 row rounds. Nothing is combined.

Masks honoured: inverse variance 0, and any bit of the and-mask. Pixels beyond 9050 Å are not good:
there flux rolls off to 0 while the inverse variance does not. Flux is calibrated relatively only:
its scale means nothing.
Wavelengths are in vacuum where the card VACUUM is true and in air, which zspec converts, where it
is false; where it is missing or says something else the file is refused. They are heliocentric
already: HELIO and HELIO_RV are records of that, and are not applied again. The file has no
line-spread function.

TARGETID is OBSID; without it, the hash of the file's name and row. The truth is the pipeline's own
CLASS and Z in the header. FIBERTYP tells sky, dead, unused and misplaced fibres.

Data model: http://dr7.lamost.org/doc/lr-data-production-description
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zspec import (
    HDU,
    Arm,
    InputError,
    OutputError,
    Spectra,
    Survey,
    Truth,
    WaveGrid,
    ZWarn,
    hash_id,
    hookimpl,
    mock_spectra,
    open_fits,
    write_fits,
)

Medium: TypeAlias = Literal["vacuum", "air"]

COLUMNS: Mapping[str, tuple[str, Any]] = {
    "RA": ("RA", np.nan),
    "DEC": ("DEC", np.nan),
    "DESIG": ("DESIG", ""),
    "SUBCLASS_LAMOST": ("SUBCLASS", ""),
}
"""Column of the catalogue: header card, and what stands for a missing one."""

SEAM = 5956.0
"""Å, where DR7 joins its arms: where spectra step whose arms disagree, as sp03-211 and -216."""
END = 9050.0
"""Å, beyond which flux rolls off to 0."""

FIBRES: Mapping[str, ZWarn] = {
    "SKY": ZWarn.SKY,
    "UNUSED": ZWarn.UNPLUGGED,
    "DEAD": ZWarn.UNPLUGGED,
    "POSERR": ZWarn.BAD_TARGET,
}
"""FIBERTYP in upper case: what it says against the spectrum."""


MEDIA: Mapping[str, Medium] = {
    **dict.fromkeys(("T", "TRUE", "1"), "vacuum"),
    **dict.fromkeys(("F", "FALSE", "0"), "air"),
}
"""VACUUM as text in upper case: what it says."""


class LAMOST(Survey):
    """LAMOST Low Resolution Survey, up to DR7."""

    name = "lamost"
    title = "LAMOST Low Resolution Survey (DR1 to DR7)"
    url = "http://dr7.lamost.org/doc/lr-data-production-description"
    reference = "Luo et al. 2015, RAA 15, 1095"
    medium = "vacuum"
    frame = "heliocentric"
    arms = ("B", "R")
    grid = WaveGrid.log(3700, 9050, 1e-4)
    file_patterns = ("spec-*sp[0-9][0-9]-*.fits", "spec-*sp[0-9][0-9]-*.fits.gz")

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """A primary image of 5 x N, from LAMOST, on a logarithmic scale."""
        first = hdus[0] if hdus else HDU("", "image", {})
        telescope = str(first.header.get("TELESCOP", "")).strip().upper()
        image = first.kind == "image" and len(first.shape) == 2 and first.shape[0] == 5
        return image and telescope == "LAMOST" and "COEFF0" in first.header

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """The one spectrum of the file, as ROW 0."""
        with open_fits(path) as file:
            cards, shape = file.header(0), file.hdus[0].shape
            if not self.sniff(file.hdus):
                raise InputError(f"{path}: no 5 x N image of LAMOST (found: {shape or 'no image'})")
            if rows is not None and 0 not in rows:
                return
            flux, ivar, _, and_mask = file.image(0, slice(0, 4))
        wave, medium = _wave(path, cards, len(flux)), _medium(path, cards)
        good = (and_mask == 0) & (wave < END)
        fibre = str(cards.get("FIBERTYP", "")).strip().upper()
        yield Spectra(
            arms=tuple(
                Arm(
                    name=name,
                    wave=wave[part],
                    flux=flux[None, part],
                    ivar=ivar[None, part],
                    good=good[None, part],
                    medium=medium,
                )
                for name, part in _parts(wave)
            ),
            ids=np.array([cards.get("OBSID") or hash_id(path, 0)], np.int64),
            rows=np.zeros(1, np.int32),
            table={c: np.array([cards.get(card, d)]) for c, (card, d) in COLUMNS.items()},
            truth=_truth(cards),
            zwarn=np.array([FIBRES.get(fibre, 0)], np.int64),
        )

    def demo(self, n: int, seed: int) -> Spectra:
        """Mocks on the pixels of DR7 up to END, at R = 1800."""
        wave = 10 ** (3.5682 + 1e-4 * np.arange(3885))
        arms = {name: (wave[part], wave[part] / (1800 * 2.355)) for name, part in _parts(wave)}
        return mock_spectra(arms, n, seed)

    def write(self, path: Path, spectra: Spectra) -> None:
        """One spectrum as DR7 has it. Raises OutputError for more than one."""
        if len(spectra) != 1:
            raise OutputError(f"{path}: LAMOST has one spectrum a file, got {len(spectra)}")
        wave = np.concatenate([arm.wave for arm in spectra.arms])
        flux, ivar, good = (
            np.concatenate([getattr(arm, name)[0] for arm in spectra.arms])
            for name in ("flux", "ivar", "usable")
        )
        image = np.stack([flux, ivar, wave, ~good, ~good]).astype(np.float32)
        cards = {
            "TELESCOP": "LAMOST",
            "OBSID": int(spectra.ids[0]),
            "VACUUM": True,
            "COEFF0": float(np.log10(wave[0])),
            "COEFF1": float(np.log10(wave[-1] / wave[0]) / (len(wave) - 1)),
            "RA": float(spectra.table["RA"][0]),
            "DEC": float(spectra.table["DEC"][0]),
        }
        if spectra.truth is not None:
            cards |= {"CLASS": str(spectra.truth.spectype[0]), "Z": float(spectra.truth.z[0])}
        write_fits(path, [("Flux", image, cards)])


def _parts(wave: NDArray[np.floating]) -> tuple[tuple[str, slice], ...]:
    """The pixels of each arm."""
    seam = int(np.searchsorted(wave, SEAM))
    return ("B", slice(0, seam)), ("R", slice(seam, None))


def _wave(path: Path, cards: Mapping[str, Any], size: int) -> NDArray[np.float64]:
    """(size,) Å, heliocentric, in the file's own medium."""
    if "COEFF1" not in cards:
        raise InputError(f"{path}: header card COEFF1 is missing; wavelengths are unknown")
    wave: NDArray[np.float64] = 10 ** (
        cards["COEFF0"] + cards["COEFF1"] * np.arange(size, dtype=np.float64)
    )
    return wave


def _medium(path: Path, cards: Mapping[str, Any]) -> Medium:
    """Vacuum or air by the card VACUUM. Raises InputError where it says neither."""
    value = cards.get("VACUUM")
    if value is None:
        raise InputError(f"{path}: header card VACUUM is missing; wavelengths are unknown")
    medium = MEDIA.get(str(value).strip().upper())
    if medium is None:
        raise InputError(f"{path}: header card VACUUM is {value!r}; expected T or F")
    return medium


def _truth(cards: Mapping[str, Any]) -> Truth:
    """CLASS and Z of the header; empty and NaN where CLASS is 'Unknown'."""
    label = str(cards.get("CLASS", "")).strip().upper()
    known = label in LAMOST.classes
    z = float(cards.get("Z", np.nan)) if known else np.nan
    return Truth(np.array([label if known else ""]), np.array([z]))


@hookimpl
def zspec_surveys() -> Iterable[type[Survey]]:
    """What this plugin adds to zspec."""
    return [LAMOST]
