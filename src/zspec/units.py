"""Wavelengths to Å in vacuum and flux densities to 1e-17 erg/s/cm2/Å; units by astropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zspec.errors import InputError
from zspec.survey import FLUX_UNIT


def air_to_vacuum(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vacuum wavelengths (pixel,), Å, of air wavelengths: Morton (2000), inverted by iteration.

    Exact to 1e-9 Å after four steps over 2000 Å to 3 um. Below 2000 Å air is never used, and
    wavelengths come back as they are.
    """
    air = np.asarray(wave, np.float64)
    vacuum = air.copy()
    for _ in range(4):
        vacuum = air * refractive_index(vacuum)
    return np.where(air < 2000.0, air, vacuum)


def refractive_index(vacuum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of standard air at a vacuum wavelength in Å; Morton (2000), ApJS 130, 403, eq. 8."""
    s2 = (1e4 / vacuum) ** 2
    return 1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2)


def to_angstrom(wave: NDArray[np.float64], unit: str, where: str) -> NDArray[np.float64]:
    """Wavelengths (pixel,) in Å from those in ``unit`` (as a TUNIT says it: nm, Angstrom, um).

    Raises InputError, naming ``where``, for a unit that is unknown or no length.
    """
    from astropy import units

    try:
        factor = units.Unit(unit).to(units.Angstrom)
    except (ValueError, TypeError, units.UnitConversionError):
        raise InputError(f"{where}: wavelength unit {unit!r} is no length") from None
    return np.asarray(wave, np.float64) * float(factor)


def to_flux_unit(
    flux: NDArray[np.floating],
    wave: NDArray[np.float64],
    unit: str,
    where: str,
) -> NDArray[np.float64]:
    """Flux density in 1e-17 erg/s/cm2/Å from one in ``unit``, per frequency or wavelength.

    flux: (..., pixel) in ``unit`` (``uJy``, ``erg/(s*cm^2*Angstrom)``, ...); wave: (pixel,) Å. An
    error converts like a flux; an ivar as 1 / error². Raises InputError, naming ``where``, for a
    unit that is no flux density. NaN stays NaN.
    """
    from astropy import units

    try:
        old = units.Unit(unit.replace("**", "^").replace("^", "**"))
        new = units.Unit(FLUX_UNIT)
        factor = old.to(new, 1.0, equivalencies=units.spectral_density(wave * units.Angstrom))
    except (ValueError, TypeError, units.UnitConversionError):
        raise InputError(f"{where}: unit {unit!r} is no flux density") from None
    return np.asarray(flux, np.float64) * np.asarray(factor, np.float64)
