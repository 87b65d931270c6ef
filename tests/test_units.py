from __future__ import annotations

import numpy as np
import pytest

from zspec import InputError, air_to_vacuum, to_flux_unit
from zspec.units import refractive_index, to_angstrom


def test_air_to_vacuum_inverts_morton():
    vacuum = np.linspace(2000, 30000, 5000)
    air = vacuum / refractive_index(vacuum)
    inside = air >= 2000
    assert np.allclose(air_to_vacuum(air)[inside], vacuum[inside], atol=1e-8, rtol=0)


def test_halpha():
    """6562.79 Å in air is 6564.60 Å in vacuum (NIST)."""
    assert air_to_vacuum(np.array([6562.79])) == pytest.approx(6564.60, abs=0.01)


@pytest.mark.parametrize(
    ("unit", "factor"), [("Angstrom", 1), ("nm", 10), ("um", 1e4), ("0.1 nm", 1)]
)
def test_lengths(unit, factor):
    assert to_angstrom(np.array([500.0]), unit, "f.fits") == pytest.approx(500 * factor)


@pytest.mark.parametrize(
    "unit", ["erg/(s*cm^2*Angstrom)", "erg / (s cm2 Angstrom)", "erg s-1 cm-2 Angstrom-1"]
)
def test_flux_per_wavelength(unit):
    wave = np.array([4000.0, 8000.0])
    assert np.allclose(to_flux_unit(np.array([1e-17, 3e-17]), wave, unit, "f"), [1, 3])


def test_flux_per_frequency():
    """F_λ = F_ν c / λ²: 1 uJy at 5000 Å is 1.199e-18 erg/s/cm2/Å."""
    got = to_flux_unit(np.array([1.0]), np.array([5000.0]), "uJy", "f")
    assert got == pytest.approx(0.1199, abs=1e-4)


@pytest.mark.parametrize("unit", ["m", "furlong", "", "adu"])
def test_a_wrong_unit_is_one_line(unit):
    with pytest.raises(InputError, match=r"f.fits: unit .* is no flux density"):
        to_flux_unit(np.ones(2), np.array([4000.0, 5000.0]), unit, "f.fits")
    if unit != "m":
        with pytest.raises(InputError, match=r"f.fits: wavelength unit .* is no length"):
            to_angstrom(np.ones(2), unit, "f.fits")
