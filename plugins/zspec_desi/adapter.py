"""DESI: spectra of the Dark Energy Spectroscopic Instrument.

Products read
    ``coadd-*.fits`` and ``spectra-*.fits`` of every grouping (tiles: cumulative, pernight,
    perexposure; healpix), compressed or not. For each arm X of B, R and Z: X_FLUX, X_IVAR and
    X_WAVELENGTH; X_MASK, X_RESOLUTION and FIBERMAP where they are there. Files with one arm, and
    with arms merged already (BRZ_FLUX, ...), are read as well. Where FIBERMAP or its TARGETID is
    missing, TARGETID is a 63-bit hash of the file's name and row.
Products not read
    EXP_FIBERMAP and SCORES; cframe, sframe and other files of one exposure and camera; stacks
    (HDUs FLUX, IVAR and WAVE, in the rest frame); redshift catalogues, but for the truth.
Wavelengths
    Å in vacuum, barycentric. Arms share one phase of 0.8 Å, so that they merge pixel on pixel.
Flux
    1e-17 erg/s/cm2/Å, with inverse variance. Good is a pixel with ivar > 0 and no bit in X_MASK
    (``-S mask=none``: whatever the mask says).
Exposures
    The rows of one TARGETID, anywhere in the file, are averaged by ivar on identical pixels and
    carry the first ROW; not so for TARGETID 0 and -1, which stand for no id. An exposure with a bad
    FIBERSTATUS is left out where its target has a better one. Bad is any bit but RESTRICTED (3),
    20, and BADAMP of one arm (22-24), whose ivar is 0 in that arm alone. COADD_FIBERSTATUS is what
    the used exposures have in common, or all bits where all are bad. ``-S combine=false`` keeps
    exposures apart. Fluxes are neither scaled to each other nor clipped.
ZWARN
    SKY: OBJTYPE is SKY, or bit 59 of TARGETID where there is no OBJTYPE. UNPLUGGED: status bit
    UNASSIGNED (0), STUCKPOSITIONER (1), BROKENFIBER (2) or BADFIBER (16), or a negative TARGETID,
    which DESI gives to fibres without a target. BAD_TARGET: OBJTYPE is BAD, or any other status bit
    but 3 and 20.
Truth
    redrock-*.fits or zbest-*.fits beside the file, by TARGETID, where redrock's own ZWARN is 0.

Data model: https://desidatamodel.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zspec import HDU, Arm, FitsFile, Spectra, Survey, WaveGrid, mock_spectra, open_fits
from zspec_desi import exposures, fibermap, images, native, redrock, resolution

ROWS = 512
"""Rows read at once."""

STEP = 0.8
"""Å, of all arms."""
ARMS: Mapping[str, tuple[float, int, float, float]] = {
    "B": (3600.0, 2751, 0.682, 0.673),
    "R": (5760.0, 2326, 0.639, 0.637),
    "Z": (7520.0, 2881, 0.724, 0.753),
}
"""First pixel in Å, pixels, and sigma of the LSF in Å at either end: straight lines through the
medians of six files of the EDR."""


class DESI(Survey):
    """DESI's coadd and spectra files."""

    name = "desi"
    title = "Dark Energy Spectroscopic Instrument"
    url = "https://desidatamodel.readthedocs.io"
    reference = "DESI Collaboration 2024, AJ 168, 58"
    medium = "vacuum"
    frame = "barycentric"
    arms = images.ARMS
    grid = WaveGrid.log(3600, 9824, 5e-5)
    file_patterns = ("coadd-*.fits", "coadd-*.fits.gz", "spectra-*.fits", "spectra-*.fits.gz")
    simulation = Path(__file__).parent / "simulation"

    @dataclass(frozen=True)
    class Options:
        """What ``-S key=value`` sets."""

        mask: str = "any"
        """Pixels to leave out besides ivar 0: ``any`` (any bit in X_MASK) or ``none``."""
        combine: bool = True
        """Combine the exposures of one TARGETID; ``false`` keeps each row apart."""
        lsf: str = "median"
        """Line-spread function: ``median`` of a few rows for all, ``each`` row's own (reads five
        times the bytes), or ``none``."""

        def __post_init__(self) -> None:
            """Raise ValueError for a value that is none of those."""
            known = {"mask": ("any", "none"), "lsf": ("median", "each", "none")}
            for key, values in known.items():
                if getattr(self, key) not in values:
                    given = getattr(self, key)
                    raise ValueError(f"{key}={given!r}; one of {', '.join(values)} expected")

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """Flux, ivar and wavelengths of an arm, by the names that DESI gives them."""
        return any(images.is_complete(hdus, arm) for arm in images.find_arms(hdus))

    def count(self, hdus: Sequence[HDU]) -> int | None:
        """Rows of the first arm's flux."""
        arms = images.find_arms(hdus)
        return next((h.shape[0] for h in hdus if arms and h.name == f"{arms[0]}_FLUX"), None)

    def read(
        self, path: Path, rows: range | None = None, options: Options | None = None
    ) -> Iterator[Spectra]:
        """Yield targets in the order of their first rows; see :class:`zspec.Survey`."""
        options = options or self.Options()
        with open_fits(path) as fits:
            arms = images.find_arms(fits.hdus)
            fibers = fibermap.read_fibermap(fits, images.count_rows(fits, arms))
            waves = {arm: images.read_wave(fits, arm) for arm in arms}
            lsf = {arm: _median_lsf(fits, arm, wave, options) for arm, wave in waves.items()}
            known = redrock.find(fits.path)
            every = exposures.group_rows(fibers.ids, together=options.combine)
            for group in exposures.chunks(every, rows, ROWS):
                used = exposures.usable(group, fibers.bad[group.rows])
                targets = fibermap.combine(fibers, group, used)
                yield Spectra(
                    arms=tuple(
                        _read_arm(fits, arm, waves[arm], group, used, lsf[arm], options)
                        for arm in arms
                    ),
                    ids=targets.ids,
                    rows=group.first.astype(np.int32),
                    table=targets.table,
                    truth=None if known is None else known.of(targets.ids),
                    zwarn=targets.zwarn,
                )

    def demo(self, n: int, seed: int) -> Spectra:
        """Galaxies, quasars and stars in turn, three arms each; SNR 20 per pixel."""
        return mock_spectra(instrument(), n, seed)

    def write(self, path: Path, spectra: Spectra) -> None:
        """Write a coadd file, and a redrock file beside it where the truth is known."""
        native.write(path, spectra)


def instrument() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Each arm's wavelengths and sigma of the LSF, (pixel,) Å."""
    return {
        arm: (
            np.linspace(first, first + STEP * (pixels - 1), pixels),
            np.linspace(blue, red, pixels),
        )
        for arm, (first, pixels, blue, red) in ARMS.items()
    }


def _median_lsf(
    fits: FitsFile, arm: str, wave: NDArray[np.float64], options: DESI.Options
) -> NDArray[np.float32] | None:
    return resolution.median(fits, arm, wave) if options.lsf == "median" else None


def _read_arm(
    fits: FitsFile,
    name: str,
    wave: NDArray[np.float64],
    group: exposures.Group,
    used: NDArray[np.bool_],
    lsf: NDArray[np.float32] | None,
    options: DESI.Options,
) -> Arm:
    """One arm of the targets of ``group``; rows that are not ``used`` weigh nothing."""
    flux, ivar = images.read_pixels(fits, name, group.rows, options.mask == "any")
    ivar = np.where(used[:, None], ivar, np.float32(0))
    if options.lsf == "each":
        lsf = resolution.each(fits, name, wave, group, ivar)
    mean, total = exposures.average(group, flux, ivar)
    return Arm(name, wave, mean, total, resolution=lsf)
