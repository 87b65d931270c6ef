"""CSST: one-dimensional slitless spectra of bands GU, GV and GI.

There is no public, settled layout. Read are files of two kinds, whose names of HDUs and columns are
declared in :class:`zspec_csst.layout.Layout` and can be replaced by those of a TOML file
(``-S layout=my.toml``, for instance ``flux = "{band}_SPEC"`` and ``flux_unit = "uJy"``):

- image HDUs for each band, as the CSST emulator (CESS) mocks here have them: GV_WAVELENGTH (pixel)
  or (source, pixel), GV_FLUX and GV_IVAR or GV_ERR (source, pixel), if there GV_MASK (0 is good)
  and GV_LSFSIGMA (sigma of the line-spread function), and a table CATALOG with a row a source;
- a table SPECTRA with a row a source and band: ID, BAND, and vectors WAVELENGTH, FLUX, ERR, padded
  with NaN or 0 where bands differ in length; a CATALOG beside it is matched by ID.

Units are those of BUNIT or TUNIT: flux per frequency (uJy) or per wavelength. ivar is taken in the
inverse square of flux's unit, an error in flux's unit; their own unit cards are not read.

GV and GI are read by default, GU too with ``-S bands=GU,GV,GI``; a band that a file lacks is left
out. Not read: images, zero and second orders, contamination maps. Nothing is combined: neither the
exposures or rolls of a source, nor the overlap of bands. Wavelengths are in vacuum. WAVEOFF
columns of the mocks are not applied: Hα lies 6 Å blueward of its place in both sources that show it
well, at WAVEOFF_GI -0.2 and +0.2.

Masks: good is where flux and ivar are finite and ivar is above 0. TARGETID is the ID where it is a
whole number, else 63 bits of SHA-256 of "ID:0"; without IDs, of "basename:row". The ID passes
through as NAME. SNR is the mean, over the bands read that have data, of each band's median of flux
over error in its good pixels; the file's SNR_GU, SNR_GV and SNR_GI (means over the pixels of a
band) pass through as they are. Truth: Z_TRUE, CLASS or
a SUBCLASS that is a kind of galaxy, and LABEL. ROW is the row of the images, or a source's first in
SPECTRA. CONTAM_GU, CONTAM_GV and CONTAM_GI are a pipeline's estimates of the share of other
sources' light; they pass through, and above ``-S contamination=0.1`` in a band that is read they
set CONTAMINATED.

Fluxes of the CESS emulator are biased high where they are faint, since it clips counts at 0.

Official pages: https://www.bao.ac.cn/csst/ and, for the simulator of 1-D spectra,
https://csst-tb.bao.ac.cn/code/zhangxin/sls_1d_spec; the emulator is Wen et al. 2024, MNRAS 528,
2770.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zspec import (
    HDU,
    Arm,
    InputError,
    OutputError,
    Spectra,
    Survey,
    WaveGrid,
    ZWarn,
    hookimpl,
    mock_spectra,
    open_fits,
    to_flux_unit,
    write_fits,
)
from zspec_csst.bands import read_band, runs
from zspec_csst.layout import Layout, load_layout
from zspec_csst.sources import Sources, find_sources

ROWS = 512
"""Spectra in a chunk."""

RANGES = {"GU": (2550.0, 4100.0), "GV": (4000.0, 6400.0), "GI": (6200.0, 10000.0)}
"""Å; 255-410, 400-640, 620-1000 nm: Zhan 2021, Chin. Sci. Bull. 66, 1290."""

PIXELS = {"GU": (2450.0, 4200.0, 338), "GV": (3800.0, 6600.0, 393), "GI": (6100.0, 10500.0, 516)}
"""First and last centre in Å and their number in the CESS emulator: 5.2, 7.1, 8.5 Å a pixel."""

LSF_SIGMA = {"GU": 6.370, "GV": 8.918, "GI": 14.014}
"""Å; FWHM 15, 21 and 33 Å of a point source: Wen et al. 2024, MNRAS 528, 2770."""

DEMO_BANDS = ("GV", "GI")


def band_pixels(band: str) -> NDArray[np.float64]:
    """Centres (pixel,) in Å of the emulator's pixels that lie in the band."""
    wave = np.linspace(*PIXELS[band])
    first, last = RANGES[band]
    return wave[(wave >= first) & (wave <= last)]


class CSST(Survey):
    """CSST slitless spectra of GU, GV and GI.

    SNR is the mean over the bands read of each band's median flux over error.
    """

    name = "csst"
    title = "CSST, the Chinese Space Station Survey Telescope: slitless 1-D spectra"
    url = "https://www.bao.ac.cn/csst/"
    reference = "Zhan 2021, Chinese Science Bulletin 66, 1290"
    medium = "vacuum"
    frame = "barycentric"
    arms = ("GU", "GV", "GI")
    grid = WaveGrid.native(band_pixels("GV"), band_pixels("GI"))
    file_patterns: ClassVar[tuple[str, ...]] = ("*csst*.fits", "*CSST*.fits", "cess-*.fits")
    simulation = Path(__file__).parent / "simulation"

    @dataclass(frozen=True)
    class Options(Survey.Options):
        """What a user can choose with ``-S key=value``."""

        bands: tuple[str, ...] = ("GV", "GI")
        """Bands to read: GU, GV, GI."""
        layout: str = ""
        """TOML file with other names of HDUs and columns; empty: as declared in Layout."""
        contamination: float = 0.1
        """Share of other sources' light in any band read above which CONTAMINATED is set."""

        def __post_init__(self) -> None:
            """Raise ValueError for a band that does not exist, or none, or a share that is none."""
            if not 0 <= self.contamination <= 1:
                raise ValueError(f"contamination = {self.contamination}: a share expected")
            wrong = [band for band in self.bands if band not in CSST.arms]
            if wrong or not self.bands:
                given = ", ".join(map(repr, wrong)) or "nothing"
                raise ValueError(f"bands: {given}, but some of {', '.join(CSST.arms)} expected")

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """Images of wavelength and flux of a band, or the table of spectra, by declared names."""
        layout = Layout()
        images = {hdu.name for hdu in hdus if hdu.kind == "image"}
        for band in self.arms:
            if {layout.wave.format(band=band), layout.flux.format(band=band)} <= images:
                return True
        needed = {layout.id_column, layout.band_column}
        needed |= {layout.wave_column, layout.flux_column, layout.error_column}
        return any(h.name == layout.spectra and needed <= set(h.columns) for h in hdus)

    def count(self, hdus: Sequence[HDU]) -> int | None:
        """Rows of a band's image, in the declared layout; those of a table are not sources."""
        names = [Layout().flux.format(band=band) for band in self.arms]
        images = [h for h in hdus if h.kind == "image" and h.name in names and len(h.shape) > 1]
        return max((h.shape[0] for h in images), default=None)

    def read(
        self, path: Path, rows: range | None = None, options: Options | None = None
    ) -> Iterator[Spectra]:
        """Yield the spectra of a file in chunks; see :class:`zspec.Survey` and the module."""
        options = options or self.Options()
        bands = tuple(band for band in self.arms if band in options.bands)
        layout = load_layout(options.layout)
        with open_fits(path) as file:
            sources = find_sources(file, layout, bands)
            if rows is not None:
                sources = sources[np.isin(sources.rows, rows)]
            for start in range(0, len(sources.rows), ROWS):
                yield from chunks(sources[start : start + ROWS], bands, options.contamination)

    def demo(self, n: int, seed: int) -> Spectra:
        """``n`` mock galaxies in GV and GI."""
        arms = {band: (band_pixels(band), LSF_SIGMA[band]) for band in DEMO_BANDS}
        return mock_spectra(arms, n=n, seed=seed, classes=("GALAXY",))

    def write(self, path: Path, spectra: Spectra) -> None:
        """Write image HDUs per band in uJy, and the CATALOG. ID is TARGETID as text.

        Raises OutputError where there is no spectrum: FITS knows no image of 0 rows.
        """
        if not len(spectra):
            raise OutputError(f"{path}: no spectra to write")
        hdus: list[tuple[str, Any, dict[str, Any]]] = [("", np.zeros(0), {})]
        hdus.append(("CATALOG", catalog_columns(spectra), {}))
        for arm in spectra.arms:
            hdus.extend(image_hdus(arm))
        write_fits(path, hdus)


def chunks(sources: Sources, bands: tuple[str, ...], limit: float) -> Iterator[Spectra]:
    """The spectra of some sources, split where wavelengths differ; see ``contaminated``."""
    read = [read_band(sources, band) for band in bands]
    found = [band for band in read if band is not None]
    if not found:
        raise InputError(
            f"{sources.file.path}: no band of {', '.join(bands)} has increasing wavelengths"
        )
    for run in runs(found):
        part = sources[run]
        arms = tuple(band.arm(run) for band in found)
        shares = part.contamination(bands)
        yield Spectra(
            arms=arms,
            ids=part.ids(),
            rows=part.rows.astype(np.int32),
            table=part.table() | shares,
            truth=part.truth(),
            zwarn=contaminated(shares, limit),
            snr=mean_snr(arms),
        )


def contaminated(
    shares: Mapping[str, NDArray[np.float32]], limit: float
) -> NDArray[np.int64] | None:
    """(n,) CONTAMINATED where any share is above the limit; None where the file has no shares.

    A share that is not finite is no reason to distrust a redshift.
    """
    if not shares:
        return None
    above = np.any([np.nan_to_num(share) > limit for share in shares.values()], axis=0)
    return np.where(above, np.int64(ZWarn.CONTAMINATED), np.int64(0))


def mean_snr(arms: Sequence[Arm]) -> NDArray[np.float32]:
    """(n,) mean over bands of the median of flux / error in good pixels; NaN where none has any."""
    total, bands = np.zeros(len(arms[0].flux)), np.zeros(len(arms[0].flux))
    for arm in arms:
        some = arm.usable.any(axis=1)
        ratio = np.where(arm.usable, arm.flux * np.sqrt(arm.ivar, dtype=np.float64), np.nan)
        total[some] += np.nanmedian(ratio[some], axis=1)
        bands += some
    mean = np.divide(total, bands, out=np.full_like(total, np.nan), where=bands > 0)
    return mean.astype(np.float32)


def catalog_columns(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """Columns of CATALOG, (n,) each."""
    columns: dict[str, NDArray[Any]] = {"ID": spectra.ids.astype(str)}
    columns |= {name: v for name, v in spectra.table.items() if name not in ("ID", "NAME")}
    if spectra.truth is not None:
        columns["Z_TRUE"] = spectra.truth.z
        columns["CLASS"] = spectra.truth.spectype
        if spectra.truth.label is not None:
            columns["LABEL"] = spectra.truth.label
    return columns


def image_hdus(arm: Arm) -> Iterator[tuple[str, NDArray[Any], dict[str, Any]]]:
    """The image HDUs of one band: wavelength, flux and ivar in uJy, and the LSF if known."""
    per_ujy = to_flux_unit(np.ones_like(arm.wave), arm.wave, "uJy", arm.name)
    angstrom = {"BUNIT": "Angstrom"}
    yield f"{arm.name}_WAVELENGTH", arm.wave, angstrom
    yield f"{arm.name}_FLUX", (arm.flux / per_ujy).astype(np.float32), {"BUNIT": "uJy"}
    yield f"{arm.name}_IVAR", (arm.ivar * per_ujy**2).astype(np.float32), {"BUNIT": "1/uJy2"}
    if arm.resolution is not None:
        sigma = np.broadcast_to(arm.resolution, (*arm.resolution.shape[:-1], len(arm.wave)))
        yield f"{arm.name}_LSFSIGMA", sigma.astype(np.float64), angstrom


@hookimpl
def zspec_surveys() -> list[type[Survey]]:
    """The survey of this package."""
    return [CSST]
