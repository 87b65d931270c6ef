"""What ``instrument.toml`` says of a fibre spectrograph, checked and typed.

Every field of these classes is a key of the file; ``docs/explanation/simulate.md`` lists
them. Tables are lists of (Å, value) and are interpolated linearly; beyond their ends the last
value holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.grid import Float
from zspec.settings import build

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Pixels:
    """A run of pixels."""

    name: str
    """Of the arm, as the adapter calls it."""
    first: float
    """Å, vacuum: centre of the first pixel."""
    step: float
    """Å, or dex where ``spacing`` is log."""
    count: int
    """How many."""
    spacing: Literal["linear", "log"] = "linear"
    """What is even: Å, or log10 Å."""

    @property
    def wave(self) -> Float:
        """(count,) Å, vacuum."""
        index = np.arange(self.count)
        if self.spacing == "linear":
            return np.asarray(self.first + self.step * index, np.float64)
        start = round(np.log10(self.first) / self.step)  # on the phase log10 λ = k step
        return np.asarray(10.0 ** ((start + index) * self.step), np.float64)


@dataclass(frozen=True)
class Camera(Pixels):
    """One camera: its pixels along the dispersion, and what they do to light."""

    read_noise: float = 0.0
    """Electrons per detector pixel and read-out."""
    dark: float = 0.0
    """Electrons per detector pixel and second."""
    rows: float = 1.0
    """Detector pixels that one pixel of the spectrum sums up."""
    throughput: Table = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))
    """(Å, share) of the light in the fibre that becomes electrons: air, mirrors, fibre, all."""
    lsf: Table = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))
    """(Å, Å) sigma of the line spread, before pixels."""


@dataclass(frozen=True)
class Telescope:
    """What gathers the light."""

    area: float
    """cm2 of the mirror that is free."""
    fibre: float
    """Diameter of the fibre on the sky, arcsec."""
    acceptance: float
    """Share of a point source's light that enters the fibre; fluxes are corrected for the rest."""


@dataclass(frozen=True)
class Exposure:
    """How long it looks."""

    seconds: float
    """Of one exposure."""
    count: float
    """Exposures that a spectrum sums up; read noise counts once for each."""
    scatter: float = 0.0
    """Sigma of ln(count) from target to target."""


@dataclass(frozen=True)
class Sky:
    """The night sky, outside the telescope, and how well it is subtracted."""

    continuum: Table
    """(Å, 1e-17 erg/s/cm2/Å/arcsec2)."""
    lines: Table
    """(Å, 1e-17 erg/s/cm2/arcsec2) of single emission lines, in vacuum."""
    scatter: float = 0.0
    """Sigma of ln(brightness), of the continuum and of the lines apart."""
    residual: float = 0.0
    """Sigma of what sky subtraction leaves of the lines, as a share of them."""
    shift: float = 0.0
    """Sigma of the wavelength error of the sky model, in pixels."""
    known: float = 1.0
    """Share of ``residual`` that the pipeline's error contains: 1 for all, 0 for none."""
    bright: float = 0.0
    """Pixels are masked where the sky is 1.25 times its median over 99 pixels, and this many errors
    above the flux (SDSS's BRIGHTSKY has 10); 0 masks none."""


@dataclass(frozen=True)
class Calibration:
    """Errors of the flux calibration."""

    tilt: float = 0.0
    """Sigma of ln(flux) at the ends of the range, of a straight line through its middle."""
    step: float = 0.0
    """Sigma of ln(flux) of each camera by itself."""
    floor: float = 0.0
    """Noise of each pixel as a share of its flux (flat field, extraction), which the error has."""


@dataclass(frozen=True)
class Artefacts:
    """How often things go wrong. A rate is a share of spectra unless it says otherwise."""

    blank: float = 0.0
    """Fibres that missed their object: sky alone, and no truth."""
    missing_arm: float = 0.0
    """Spectra that have no data in one camera, where there are several."""
    cosmics: float = 0.0
    """Cosmic rays that rejection left in, a spectrum and 1000 s, on average."""
    cosmic_electrons: float = 100.0
    """Mean signal of those that are left unmasked; the signal is exponential. Rejection finds the
    bright ones, so that this is a few errors of a pixel."""
    bad_columns: float = 0.0
    """Spectra with a run of pixels that is off by a constant."""
    column_pixels: float = 12.0
    """Mean length of such a run; lengths are exponential."""
    column_sigma: float = 5.0
    """Sigma of the constant, in units of the median error."""
    found: float = 0.5
    """Share of cosmic rays and bad columns that the pipeline masks."""
    lost: float = 0.0
    """Share of all pixels that are masked for no reason seen in the spectrum, in runs of three."""

    def __post_init__(self) -> None:
        """Raise ValueError for a rate that is none."""
        shares = ("blank", "missing_arm", "bad_columns", "found", "lost")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < np.inf or (field.name in shares and value > 1):
                raise ValueError(f"artefacts.{field.name} = {value}: out of range")


@dataclass(frozen=True)
class Spectrograph:
    """All of it."""

    reference: str
    """Where the numbers are from."""
    telescope: Telescope
    exposure: Exposure
    sky: Sky
    cameras: tuple[Camera, ...]
    """From blue to red."""
    calibration: Calibration = Calibration()
    artefacts: Artefacts = Artefacts()
    output: Pixels | None = None
    """Pixels that all cameras are joined on, by inverse variance; None: each is an arm."""
    transmission: Table | None = None
    """(Å, share) of the light that air lets through, which the pipeline does not correct."""


def parse(config: Mapping[str, Any], where: str) -> Spectrograph:
    """A spectrograph from what its TOML file says. Raises ConfigError, naming ``where``."""
    made = build(Spectrograph, config, file=where)
    if not made.cameras:
        raise ConfigError(f"{where}: there are no cameras")
    return made
