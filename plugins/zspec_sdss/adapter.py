"""SDSS, BOSS, eBOSS and SDSS-V optical spectra.

Products read, recognised by their HDUs and columns, whatever the file is called:

- **spec, spec-lite** of all generations (SDSS-I to SDSS-V; names in any case, HDUs with or without
  names): the coadd in HDU 1 and the row of specObj or spAll in HDU 2. One spectrum a file.
- **spPlate** (SDSS-V: spField): images of flux, ivar, masks and dispersion, and the plug map. Class
  and redshift are those of the spZbest file beside it, or in a folder below, where the pipeline
  puts it; a spZbest of other fibres costs the labels only.
- **spSpec** (DR7 and before): the primary image, masks and dispersion from its last table.
- **the training table of GaSNet-II**: columns CLASS, Z, SN_MEDIAN_ALL and int_flux. It holds no
  error: each spectrum gets one sigma, median(|flux|) / SN_MEDIAN_ALL; where that is not positive,
  the scatter between neighbouring pixels. Pixels that are exactly 0 are no data. Where its header
  has no COEFF0 and COEFF1, its wavelengths (vacuum) must be given: ``-S wave_start=...`` with
  ``-S wave_step=...`` (Å) or ``-S wave_dex=...``.
- **the grid file of GaSNet-III**: images FLUX, IVAR, LOGLAM. It holds neither ids nor labels.

Not read: the single exposures of a full spec file and spCFrame (the coadd is what is fitted), the
sky and the pipeline's model, spZline, spAll and specObj as lists, APOGEE, MaNGA, mwmStar files.
Exposures and epochs of one object are not combined: every spectrum is a row.

Wavelengths are in vacuum and heliocentric; HELIO_RV in the header is a record and is not applied
again. spec, spPlate and spSpec put their pixels on log10 λ = k · 1e-4 with whole k. All of them are
given on the same run of k, filled up with pixels without data, so that spectra of many files share
their wavelengths; nothing is interpolated. A file out of that phase keeps its own pixels. The coadd
joins the blue and the red spectrograph arms, so there is one arm here, called ``BR``. The LSF is
wdisp (sigma in pixels); gaps are interpolated linearly, the ends take the nearest good pixel's, and
a spectrum without any takes one pixel. VACUUM false in the header means air, which is converted.

A pixel is good where ivar > 0 and no bit of ``bits`` (BRIGHTSKY) is set in and_mask;
``-S mask=or`` takes or_mask (bad in any exposure: 15 % of the pixels, not 6 %), ``-S mask=none``
neither. ZWARN takes SKY, UNPLUGGED and BAD_TARGET from the file, and never the verdicts of the
survey's own fit.

The truth is the pipeline's CLASS and Z where its ZWARNING has no bit but MANY_OUTLIERS (4) and
NEGATIVE_EMISSION (6), which strong lines set on good redshifts; sky and unplugged fibres and bad
targets have none. Of 525 native spectra at hand this loses none of the 395 whose label was checked,
and drops 16 with SMALL_DELTA_CHI2 beside 97 sky fibres. It keeps 10 quasars with NEGATIVE_EMISSION,
all within 0.001 (1 + z) of zspec's own fit, and six labels that others doubt and no bit tells: four
at z > 5 in spectra of high SNR, which are wrong, and two that are off by 0.01 and 0.02, if at all.
A spSpec file has no such bits, and its label is taken as it is.

TARGETID is, in this order: CATALOGID or SDSS_ID (SDSS-V), the decimal digits PPPPPMMMMMFFFF of
plate, MJD and fibre, or zspec's hash of the file's name and row. PLATE, MJD, FIBERID, FIELD,
SPECOBJID (unsigned, 64 bits), CATALOGID, SDSS_ID and VDISP (km/s) pass through where the file has
them. RA and
DEC are the fibre's. SNR is SN_MEDIAN_ALL.

Data model: https://data.sdss.org/datamodel/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from zspec import HDU, InputError, Spectra, Survey, WaveGrid, mock_spectra, open_fits
from zspec_sdss import imagegrid, pixels, spec, spplate, spspec, table, writing
from zspec_sdss.masks import SPPIXMASK
from zspec_sdss.metadata import plate_mjd_fiber

FORMATS = (
    (spec.matches, spec.read),
    (spplate.matches, spplate.read),
    (spspec.matches, spspec.read),
    (table.matches, table.read),
    (imagegrid.matches, imagegrid.read),
)
"""(recognises HDUs, reads a file) of each product."""


class SDSS(Survey):
    """The Sloan Digital Sky Survey's optical spectra; see the module for the data model.

    Labels count as truth where ZWARNING has no bit but MANY_OUTLIERS and NEGATIVE_EMISSION.
    """

    name: ClassVar[str] = "sdss"
    title: ClassVar[str] = "SDSS, BOSS, eBOSS and SDSS-V: spec, spPlate, spSpec"
    url: ClassVar[str] = (
        "https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html"
    )
    reference: ClassVar[str] = "York et al. 2000, AJ 120, 1579; Dawson et al. 2013, AJ 145, 10"
    frame: ClassVar[str] = "heliocentric"
    arms: ClassVar[tuple[str, ...]] = (pixels.ARM,)
    grid: ClassVar[WaveGrid] = WaveGrid.log(3600, 10400)
    file_patterns: ClassVar[tuple[str, ...]] = (
        "spec-*.fits*",
        "spPlate-*.fits*",
        "spField-*.fits*",
        "spSpec-*.fit*",
    )
    simulation: ClassVar[Path | None] = Path(__file__).parent / "simulation"

    @dataclass(frozen=True)
    class Options:
        """What a user can choose with ``-S key=value``."""

        mask: str = "and"
        """Which mask counts: ``and`` (set in all exposures), ``or`` (in any), or ``none``."""
        bits: tuple[str, ...] = ("BRIGHTSKY",)
        """Names of the SPPIXMASK bits that make a pixel bad."""
        wave_start: float = 0.0
        """First wavelength in Å (vacuum) of a training table that does not say it; with a step."""
        wave_step: float = 0.0
        """Its step in Å, where it is linear."""
        wave_dex: float = 0.0
        """Its step in log10 Å, where it is logarithmic."""

        def __post_init__(self) -> None:
            """Refuse what makes no sense. Raises ValueError."""
            if self.mask not in ("and", "or", "none"):
                raise ValueError(f"option mask={self.mask!r}: expected and, or, none")
            for bit in self.bits:
                if bit not in SPPIXMASK:
                    raise ValueError(f"option bits: {bit!r} is none of {', '.join(SPPIXMASK)}")
            given = (self.wave_start, self.wave_step, self.wave_dex)
            if min(given) < 0 or not np.all(np.isfinite(given)):
                raise ValueError("options wave_start, wave_step and wave_dex must be positive")
            if self.wave_step and self.wave_dex:
                raise ValueError("options wave_step and wave_dex exclude each other")
            if self.wave_start and not (self.wave_step or self.wave_dex):
                raise ValueError("option wave_start needs wave_step or wave_dex beside it")
            if not self.wave_start and (self.wave_step or self.wave_dex):
                raise ValueError("options wave_step and wave_dex need wave_start beside them")

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """Whether these are the HDUs of one of the products above."""
        return any(matches(hdus) for matches, _ in FORMATS)

    def count(self, hdus: Sequence[HDU]) -> int | None:
        """Fibres of a plate, rows of a training table or of images; the others hold one."""
        if spplate.matches(hdus):
            return spplate.count(hdus)
        if table.matches(hdus):
            return table.count(hdus)
        return imagegrid.count(hdus) if imagegrid.matches(hdus) else None

    def read(
        self, path: Path, rows: range | None = None, options: Options | None = None
    ) -> Iterator[Spectra]:
        """Yield the spectra of a file; see the module for what is read."""
        with open_fits(path) as file:
            for matches, reader in FORMATS:
                if matches(file.hdus):
                    yield from reader(file, rows, options or self.Options())
                    return
            found = ", ".join(h.name or h.kind for h in file.hdus[:8])
        raise InputError(
            f"{path}: is no SDSS file (HDUs found: {found}); expected a spec, spPlate or spSpec "
            "file, a table with int_flux, or images FLUX, IVAR, LOGLAM"
        )

    def demo(self, n: int, seed: int) -> Spectra:
        """``n`` simulated spectra with their truth, in the BOSS range and at its resolution."""
        made = mock_spectra({pixels.ARM: (pixels.WAVE, pixels.SIGMA)}, n, seed)
        fiber = np.arange(n, dtype=np.int32)
        keys = {
            "PLATE": 9000 + fiber // 1000,
            "MJD": np.full(n, 57000, np.int32),
            "FIBERID": fiber % 1000 + 1,
        }
        return replace(made, ids=plate_mjd_fiber(keys), table={**keys, **made.table})

    def write(self, path: Path, spectra: Spectra) -> None:
        """Write a spec-lite file for one spectrum, else a spPlate and a spZbest file beside it."""
        if len(spectra) == 1:
            writing.write_spec(path, spectra)
        else:
            writing.write_plate(path, spectra)
