"""4MOST: Level 1 spectra and mocks in the ESO Phase 3 layout.

Read: files with one binary table of spectra (EXTNAME PHASE3SPECTRUM or SPECTRUM), one row an
object and one vector a cell. L1 products hold one object a file; tables of many objects are read
too, also where rows differ in wavelength. Columns are found by TUTYP (Spectrum.Data.SpectralAxis.
Value, FluxAxis.Value, FluxAxis.Accuracy.StatError, FluxAxis.Quality or Accuracy.QualityStatus),
and where there is none by name: WAVE, FLUX, ERR_FLUX, QUAL. Units are those of TUNIT: nm or Å, and
an absolute flux density such as erg/(s cm2 Å). The three low-resolution arms come joined on one
grid of 0.25 Å, 3700-9500 Å, and are one arm, ``L``. WAVE is float32 there, which holds multiples
of 0.25 Å exactly; in nm it costs at most 3e-4 Å (10 m/s), and nothing is done about it.

Not read: FLUX_NOSS and ERR_FLUX_NOSS (before sky subtraction), spectra of single arms as arms of
one object, Level 2 products, two-dimensional data. Nothing is combined: several exposures of one
target are several spectra. The joined pixels are resampled from 0.31-0.43 Å and correlated.

Masks: a pixel is good where QUAL is 0, and flux and error are finite, and the error is above 0.
Level 1 does not correct the air's absorption, whose edges look like a quasar's; the bands where it
takes over 5 % (``TELLURIC``, a sixth of the pixels) are left out, unless ``-S telluric=keep``. A
spectrum whose ERR_FLUX is 0 or NaN throughout (a noise-free model) has no weights, so that it
comes out as NODATA; add the noise that it is meant to have first.

Air or vacuum: by the ESO standard TUCD of the wavelengths says it: ``em.wl;obs.atmos`` is air and
``em.wl`` vacuum; without TUCD it is vacuum. The 2022 rehearsal of the pipeline is in air and says
so (20 of its 21 night-sky lines lie within 0.2 Å of their air wavelengths). py4most copies that
file's header into its mocks, which are in vacuum all the same (their sky lines are); they are known
by a card TEMPNAME in the table's header, and there the TUCD is not believed. ``-S medium=air`` or
``medium=vacuum`` overrules all this. Frame: heliocentric (SPECSYS); HELIOCR is a record and is not
applied. Files in the observatory's frame (SPECSYS TOPOCENT or GEOCENTR) are refused unless ``-S
topocentric=true``.

TARGETID is TRG_UID, or 63 bits of SHA-256 of "basename:row". Targets and truth come from columns
of the table where it has them, otherwise, in a file of one object, from cards of the primary HDU
and then of the table (py4most leaves its template's RA and DEC in the table): RA, DEC, MAG,
EXPTIME, SNR, NAME; z from REDSHIFT, class from TEMPNAME where its words leave no doubt. RESOL, the
FWHM in Å, or else SPEC_RES, λ/FWHM, is the LSF. FIB_USE 3 sets SKY, FIB_ST 0 and 1 UNPLUGGED.

Data model: https://www.eso.org/sci/observing/phase3/p3sdpstd.pdf (ESO Science Data Products
Standard), VIS-TNO-4MOST-47110-0143-0001 (4MOST L1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from zspec import (
    HDU,
    Arm,
    FitsFile,
    InputError,
    OutputError,
    Spectra,
    Survey,
    WaveGrid,
    hookimpl,
    mock_spectra,
    open_fits,
    to_angstrom,
    to_flux_unit,
    write_fits,
)
from zspec_4most.columns import Columns, card, find_columns, find_hdu
from zspec_4most.targets import Targets, target_columns

ROWS = 64
"""Spectra in a chunk: with 23201 pixels each some 100 MB while they are converted."""

CATALOGUE = 100
"""Columns beyond which a table is no spectrum, and its header, slow to read, is left alone."""

SIGMA_TO_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
NATIVE_FLUX = "erg/(s*cm^2*Angstrom)"
FIRST, STEP, PIXELS = 3700.0, 0.25, 23201
"""The grid in Å of L1's joined low-resolution spectra; WAVELMIN, WAVELMAX, SPEC_BIN there."""

TELLURIC = ((6866, 6918), (7176, 7295), (7592, 7688), (8134, 8326), (8954, 9500))
"""Å: O2 B, water, O2 A, water twice, where the air at airmass 1.2 takes over 5 % at 4MOST's
resolution (ESO SkyCalc's transmission, as in ``simulation/instrument.toml``)."""

LSF_SIGMA = 0.45
"""Å; λ/R is 0.89-1.27 Å from 3700 to 9500 Å, in the mean 1.06 (4MOST User Manual, fig. 6)."""


class FourMost(Survey):
    """4MOST Level 1 spectra and mocks."""

    name = "4most"
    title = "4MOST, the 4-metre Multi-Object Spectroscopic Telescope: Level 1 spectra and mocks"
    url = "https://www.eso.org/sci/observing/phase3/p3sdpstd.pdf"
    reference = "de Jong et al. 2019, The Messenger 175, 3"
    medium = "vacuum"
    frame = "heliocentric"
    arms = ("L",)
    grid = WaveGrid.log(3700.0, 9500.0, 5e-5)  # 0.43-1.1 Å, below the LSF's FWHM of 0.9-1.3 Å
    file_patterns: ClassVar[tuple[str, ...]] = ("*_LJ1.fits", "qmost_*.fits", "*4most*.fits")
    simulation: ClassVar[Path | None] = Path(__file__).parent / "simulation"

    @dataclass(frozen=True)
    class Options(Survey.Options):
        """What a user can choose with ``-S key=value``."""

        medium: str = "auto"
        """Medium of the wavelengths: auto (what the file says, else vacuum), air or vacuum."""
        telluric: str = "mask"
        """Bands in which air absorbs: ``mask`` leaves them out, ``keep`` is for corrected flux."""
        topocentric: bool = False
        """Read files in the observatory's frame too; their redshifts are off by up to 30 km/s."""

        def __post_init__(self) -> None:
            """Raise ValueError for a choice that does not exist."""
            if self.telluric not in ("mask", "keep"):
                raise ValueError(f"telluric={self.telluric!r}, but mask or keep was expected")
            if self.medium not in ("auto", "air", "vacuum"):
                raise ValueError(f"medium={self.medium!r}, but auto, air or vacuum was expected")

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """A Phase 3 spectrum table of instrument QMOST, or of no instrument but with our names."""
        few = [h for h in hdus if len(h.columns) < CATALOGUE]
        tables = [h for h in few if find_columns(h) is not None]
        instruments = {card(h.header, "INSTRUME").upper() for h in few} - {""}
        if instruments:
            return bool(tables) and bool(instruments & {"QMOST", "4MOST"})
        ours = {"WAVE", "FLUX", "ERR_FLUX", "QUAL"}
        return any(h.name == "PHASE3SPECTRUM" and ours <= set(h.columns) for h in tables)

    def count(self, hdus: Sequence[HDU]) -> int | None:
        """Rows of the table of spectra."""
        return next((h.shape[0] for h in hdus if find_columns(h) is not None), None)

    def read(
        self, path: Path, rows: range | None = None, options: Options | None = None
    ) -> Iterator[Spectra]:
        """Yield the spectra of a file in chunks; see :class:`zspec.Survey` and the module."""
        options = options or self.Options()
        with open_fits(path) as file:
            hdu, columns = find_hdu(file)
            if not options.topocentric:
                refuse_topocentric(file)
            targets = Targets(file, hdu)
            medium = medium_of(columns, file.header(hdu), options.medium)
            wanted = np.arange(file.hdus[hdu].shape[0])
            if rows is not None:
                wanted = wanted[np.isin(wanted, rows)]
            for start in range(0, len(wanted), ROWS):
                chunk = wanted[start : start + ROWS]
                waves = waves_of(file, hdu, columns, chunk)
                for run in runs(waves):
                    arm = read_arm(file, hdu, columns, chunk[run], waves[run][0], medium)
                    spectra = targets.spectra(chunk[run], arm)
                    yield self.masked(spectra) if options.telluric == "mask" else spectra

    def masked(self, spectra: Spectra) -> Spectra:
        """Without the bands in which air absorbs."""
        return replace(spectra, arms=tuple(clear(arm) for arm in spectra.arms))

    def demo(self, n: int, seed: int) -> Spectra:
        """``n`` mock spectra on the joined low-resolution grid, as ``read`` masks them."""
        wave = FIRST + STEP * np.arange(PIXELS, dtype=np.float64)
        return self.masked(mock_spectra({"L": (wave, LSF_SIGMA)}, n=n, seed=seed))

    def write(self, path: Path, spectra: Spectra) -> None:
        """Write one PHASE3SPECTRUM table: vectors, and a column for each fact of a target.

        One arm only. RESOL is the arm's mean FWHM, so that an LSF that varies is not kept.
        """
        if len(spectra.arms) != 1:
            raise OutputError(f"{path}: a 4MOST table holds one joined arm, not {spectra.arms!r}")
        arm = spectra.arms[0]
        cards: dict[str, Any] = {"INSTRUME": "QMOST", "SPECSYS": "HELIOCEN"}
        if arm.resolution is not None and arm.resolution.size:
            cards["RESOL"] = float(np.mean(arm.resolution) * SIGMA_TO_FWHM)
        vectors, described = vector_columns(arm, spectra_medium=arm.medium or self.medium)
        table = {**vectors, **target_columns(spectra)}
        primary, spectrum = ("", np.zeros(0), cards), ("PHASE3SPECTRUM", table, cards | described)
        write_fits(path, [primary, spectrum])


def refuse_topocentric(file: FitsFile) -> None:
    """Raise InputError where SPECSYS says that wavelengths are as the observatory saw them."""
    for hdu in file.hdus:
        system = card(hdu.header, "SPECSYS").upper()
        if system.startswith(("TOPO", "GEO")):
            raise InputError(
                f"{file.path}: SPECSYS is {system}, so that redshifts would be off by up to "
                "30 km/s; heliocentric or barycentric wavelengths were expected. "
                "To read it all the same: -S topocentric=true"
            )


def medium_of(columns: Columns, header: Mapping[str, Any], chosen: str) -> Literal["air", "vacuum"]:
    """``air`` or ``vacuum``: what the user chose, else what TUCD says, else vacuum."""
    if chosen in ("air", "vacuum"):
        return "air" if chosen == "air" else "vacuum"
    if card(header, "TEMPNAME"):  # py4most copies a header that says air, and simulates in vacuum
        return "vacuum"
    return "air" if "obs.atmos" in columns.ucd else "vacuum"


def vectors_of(
    file: FitsFile, hdu: int, column: str, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Vector column (n, pixel) of some rows. Raises InputError where cells are no vectors."""
    data = file.column(hdu, column, rows)
    if data.ndim != 2 or data.dtype.kind not in "iuf":
        raise InputError(
            f"{file.path}, HDU {hdu}: column {column!r} has no vector of numbers in each row; "
            "Phase 3 spectra with one row an object were expected"
        )
    return data.astype(np.float64)


def waves_of(
    file: FitsFile, hdu: int, columns: Columns, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, pixel) wavelengths in Å; NaN and 0 may pad them."""
    wave = vectors_of(file, hdu, columns.wave, rows)
    return to_angstrom(wave, columns.wave_unit, f"{file.path}, column {columns.wave}")


def runs(waves: NDArray[np.float64]) -> Iterator[slice]:
    """Runs of rows with the same wavelengths (n, pixel), in order; NaN equals NaN."""
    same = (waves[1:] == waves[:-1]) | (np.isnan(waves[1:]) & np.isnan(waves[:-1]))
    starts = np.flatnonzero(~same.all(axis=1)) + 1
    for start, stop in pairwise([0, *starts.tolist(), len(waves)]):
        yield slice(start, stop)


def read_arm(
    file: FitsFile,
    hdu: int,
    columns: Columns,
    rows: NDArray[np.int64],
    wave: NDArray[np.float64],
    medium: Literal["air", "vacuum"],
) -> Arm:
    """The spectra of some rows that share ``wave`` (pixel,) Å.

    Pixels whose wavelength is NaN or 0 are padding and left out. Where what remains does not
    increase, the rows are kept without data on the grid of L1.
    """
    where = f"{file.path}, column"
    flux = vectors_of(file, hdu, columns.flux, rows)
    error = vectors_of(file, hdu, columns.error, rows)
    good = np.isfinite(error) & (error > 0)
    if columns.quality is not None:
        good &= vectors_of(file, hdu, columns.quality, rows) == 0
    if not flux.shape[1] == error.shape[1] == good.shape[1] == len(wave):
        raise InputError(f"{where} {columns.flux}: its vectors are not as long as the others")
    real = np.isfinite(wave) & (wave > 0)
    wave, flux, error, good = wave[real], flux[:, real], error[:, real], good[:, real]
    if len(wave) < 2 or np.any(np.diff(wave) <= 0):
        wave = FIRST + STEP * np.arange(len(wave), dtype=np.float64)
        good = np.zeros_like(good)
    flux = to_flux_unit(flux, wave, columns.flux_unit, f"{where} {columns.flux}")
    error = to_flux_unit(error, wave, columns.error_unit, f"{where} {columns.error}")
    ivar = np.divide(1.0, error**2, out=np.zeros_like(error), where=good)
    lsf = resolution(file, hdu, wave)
    single = (flux.astype(np.float32), ivar.astype(np.float32))
    return Arm("L", wave, *single, good, lsf, medium)


def clear(arm: Arm) -> Arm:
    """The arm without the pixels in which air absorbs."""
    hidden = np.zeros(len(arm.wave), bool)
    for first, last in TELLURIC:
        hidden |= (arm.wave >= first) & (arm.wave <= last)
    return replace(arm, good=arm.usable & ~hidden)


def resolution(file: FitsFile, hdu: int, wave: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """(pixel,) LSF sigma in Å from RESOL or SPEC_RES, or None where there is neither."""
    cards = {**file.header(hdu), **file.header(0)}
    for name, scale in (("RESOL", np.ones_like(wave)), ("SPEC_RES", wave)):
        value = cards.get(name)
        if isinstance(value, (int, float)) and value > 0:
            fwhm = scale * value if name == "RESOL" else scale / value
            return np.asarray(fwhm / SIGMA_TO_FWHM, np.float32)
    return None


def vector_columns(arm: Arm, spectra_medium: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The four vector columns as 4MOST has them, and the cards that describe them.

    WAVE is float32, as in Level 1, where that holds the wavelengths exactly, and else float64.
    """
    good = arm.usable
    with np.errstate(divide="ignore"):
        error = np.where(good, 1 / np.sqrt(arm.ivar), np.float32(np.nan))
    short = arm.wave.astype(np.float32)
    wave = short if np.array_equal(short, arm.wave) else arm.wave
    columns = {
        "WAVE": np.broadcast_to(wave, good.shape),
        "FLUX": arm.flux * np.float32(1e-17),
        "ERR_FLUX": error * np.float32(1e-17),
        "QUAL": (~good).astype(np.int32),
    }
    axes = ("SpectralAxis.Value", "FluxAxis.Value", "FluxAxis.Accuracy.StatError")
    cards: dict[str, Any] = {"TUCD1": "em.wl;obs.atmos" if spectra_medium == "air" else "em.wl"}
    for i, axis in enumerate((*axes, "FluxAxis.Accuracy.QualityStatus"), start=1):
        cards[f"TUTYP{i}"] = f"Spectrum.Data.{axis}"
        if i < 4:
            cards[f"TUNIT{i}"] = "Angstrom" if i == 1 else NATIVE_FLUX
    return columns, cards


@hookimpl
def zspec_surveys() -> list[type[Survey]]:
    """The survey of this package."""
    return [FourMost]
