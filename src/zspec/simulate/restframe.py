"""Rest-frame spectra of a galaxy, a quasar and a star, from analytic physics and sourced constants.

Each function takes wavelengths and a generator that draws the object's properties, and returns a
noise-free flux density on an arbitrary scale. Nothing here is a fit to data or a template. Line
wavelengths are in vacuum: NIST Atomic Spectra Database for atoms, as SDSS lists them for blends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Line = tuple[float, float, float]

C_KMS: Final = 299792.458
"""Speed of light, km/s."""
LYA: Final = 1215.67
"""Å; Lyman alpha."""
LYMAN_LIMIT: Final = 911.75
"""Å."""

BALMER: Final = (3798.98, 3836.47, 3890.15, 3971.20, 4102.89, 4341.68, 4862.68, 6564.61)
"""Å; H theta to H alpha."""

METALS: Final = (
    (3934.78, 9.0, 5.0),  # Ca II K
    (3969.59, 8.0, 5.0),  # Ca II H
    (4227.92, 1.2, 3.0),  # Ca I
    (4305.61, 7.0, 9.0),  # G band (CH)
    (4384.80, 2.0, 5.0),  # Fe I
    (5168.76, 1.3, 3.0),  # Mg b
    (5174.13, 1.6, 3.0),  # Mg b
    (5185.05, 1.9, 3.0),  # Mg b
    (5160.00, 4.0, 35.0),  # MgH
    (5271.00, 2.5, 5.0),  # Fe I
    (5337.00, 2.0, 5.0),  # Fe I
    (5891.58, 1.7, 2.5),  # Na D2
    (5897.56, 1.4, 2.5),  # Na D1
    (8500.36, 1.4, 3.0),  # Ca II triplet
    (8544.44, 3.2, 3.5),  # Ca II triplet
    (8664.52, 2.6, 3.5),  # Ca II triplet
)
"""(Å, equivalent width in Å, sigma in Å) as in early K giants; Worthey+1994 for the strengths."""

TIO: Final = ((4955.0, 0.3), (5449.0, 0.4), (5862.0, 0.4), (6160.0, 0.7), (6653.0, 0.5))
TIO_RED: Final = ((7055.0, 1.0), (7591.0, 0.6), (8208.0, 0.3), (8434.0, 0.7), (8861.0, 0.5))
"""(band head in Å, relative depth) of TiO, which degrades redwards; Kirkpatrick+1991."""

NEBULAR: Final = {
    "halpha": ((6564.61, 1.0),),
    "balmer": ((4862.68, 1 / 2.86), (4341.68, 0.468 / 2.86), (4102.89, 0.259 / 2.86)),
    "oii": ((3727.09, 0.42), (3729.88, 0.58)),
    "oiii": ((5008.24, 0.749), (4960.30, 0.251)),
    "neiii": ((3869.86, 1.0),),
    "nii": ((6585.27, 0.747), (6549.85, 0.253)),
    "sii": ((6718.29, 0.58), (6732.67, 0.42)),
}
"""(Å, share of its group) of H II regions: case B at 1e4 K and low density; Osterbrock+2006."""

BROAD: Final = (
    (1033.0, 9.8, 7.8),  # O VI, Lyman beta
    (1216.25, 92.9, 19.5),  # Lyman alpha
    (1239.85, 1.1, 2.7),  # N V
    (1305.42, 1.7, 5.4),  # O I, Si II
    (1398.33, 8.1, 14.1),  # Si IV, O IV]
    (1546.15, 23.8, 14.3),  # C IV
    (1637.84, 0.5, 3.9),  # He II
    (1905.97, 21.2, 23.6),  # C III] and neighbours
    (2500.00, 25.0, 120.0),  # Fe II, near ultraviolet
    (2800.26, 32.3, 35.0),  # Mg II
    (4102.73, 5.1, 18.6),  # H delta
    (4346.42, 12.6, 20.3),  # H gamma
    (4564.71, 15.0, 60.0),  # Fe II
    (4853.13, 46.2, 40.4),  # H beta
    (5305.97, 16.0, 60.0),  # Fe II
    (6564.93, 194.5, 47.4),  # H alpha
)
NARROW: Final = (
    (3426.84, 1.0, 3.5),  # [Ne V]
    (3729.66, 1.6, 3.3),  # [O II]
    (3869.77, 1.4, 5.3),  # [Ne III]
    (4960.36, 3.5, 3.9),  # [O III]
    (5008.22, 13.2, 6.0),  # [O III]
)
"""(Å, equivalent width in Å, sigma in Å), rounded, about as in the quasar composite of Vanden
Berk+2001 (table 2), with the mean shifts of the lines in it; the iron bumps are coarse."""


def galaxy(wave: Float, z: float, rng: np.random.Generator) -> Float:
    """Old and young stars, dust, and nebular lines that go with the young.

    wave: (pixel,) Å, rest frame. Returns (pixel,) erg/s/cm2/Å, arbitrary scale. ``z`` is not used:
    nothing between us and a galaxy depends on it here.
    """
    young = rng.uniform() ** 2  # its share of the light at 5500 Å
    sigma = rng.uniform(90.0, 260.0)  # km/s, stars
    old = planck(wave, 4600.0) * _edge(wave, 4000.0, 90.0, 0.55)
    old *= _absorbed(wave, METALS, sigma)
    hot = planck(wave, 10000.0) * _edge(wave, 3720.0, 60.0, 0.55)
    hot *= _absorbed(wave, [(line, 5.0, 6.0) for line in BALMER], sigma)
    flux = ((1 - young) * old + young * hot) * 10 ** (-0.4 * rng.uniform(0, 1) * 5500 / wave)
    level = float(np.interp(6564.61, wave, flux)) if wave[-1] > 6564.61 else float(flux[-1])
    width = 80.0 * young * rng.lognormal(0, 0.4)  # Å, of H alpha
    return flux + width * level * _nebular(wave, rng)


def _nebular(wave: Float, rng: np.random.Generator) -> Float:
    """Emission lines of H II regions, (pixel,) per Å, in units of the flux of H alpha."""
    metal = rng.uniform(0.0, 1.0)  # along the star-forming sequence of Kewley+2006
    share = {
        "halpha": 1.0,
        "balmer": rng.uniform(0.7, 1.0),  # dust
        "oii": rng.uniform(0.3, 0.8),
        "oiii": 10 ** (0.5 - 1.1 * metal) / 2.86 * 1.34,
        "neiii": 0.1 * (1 - metal),
        "nii": 10 ** (-1.0 + 0.65 * metal) * 1.34,
        "sii": rng.uniform(0.25, 0.4),
    }
    speed = rng.uniform(50.0, 140.0)  # km/s
    total = np.zeros_like(wave)
    for group, lines in NEBULAR.items():
        for line, part in lines:
            total += share[group] * part * _gauss(wave, line, line * speed / C_KMS)
    return total


def quasar(wave: Float, z: float, rng: np.random.Generator) -> Float:
    """Broken power law, broad and narrow lines, and the mean Lyman alpha forest at ``z``.

    wave: (pixel,) Å, rest frame. Returns (pixel,) erg/s/cm2/Å, arbitrary scale.
    """
    slope = rng.normal(-1.56, 0.2)  # Vanden Berk+2001; redwards of 5000 Å the host flattens it
    x = wave / 5000.0
    flux = np.where(x < 1, x**slope, x**0.45)
    strength, width = rng.lognormal(0, 0.25), rng.lognormal(0, 0.2)
    lines = np.zeros_like(wave)
    for line, ew, sigma in BROAD:
        wide = width * sigma
        # a core and wings of twice its width, as broad lines have
        lines += strength * ew * (0.6 * _gauss(wave, line, 0.8 * wide))
        lines += strength * ew * (0.4 * _gauss(wave, line, 1.8 * wide))
    narrow = rng.lognormal(0, 0.4)
    for line, ew, sigma in NARROW:
        lines += narrow * ew * _gauss(wave, line, sigma)
    return flux * (1 + lines) * forest(wave, z)


def forest(wave: Float, z: float) -> Float:
    """Mean transmission of the Lyman alpha forest, (pixel,), for rest-frame ``wave`` in Å.

    tau = 0.00554 (1 + z_abs)^3.182 (Kamble+2020); opaque below the Lyman limit; 1 above Lya.
    """
    optical_depth = 0.00554 * (wave * (1 + z) / LYA) ** 3.182
    through = np.where(wave < LYA, np.exp(-optical_depth), 1.0)
    return np.where(wave < LYMAN_LIMIT, 0.0, through)


def star(wave: Float, z: float, rng: np.random.Generator) -> Float:
    """Blackbody of 3500-12000 K with the lines that such a star shows.

    wave: (pixel,) Å, rest frame. Returns (pixel,) erg/s/cm2/Å, arbitrary scale. ``z`` is not used.
    """
    kelvin = float(np.exp(rng.uniform(np.log(3500.0), np.log(12000.0))))
    hydrogen = float(np.exp(-0.5 * (np.log(kelvin / 9500.0) / 0.28) ** 2))  # peaks at A0
    cool = 1 / (1 + np.exp((kelvin - 5600.0) / 500.0))  # metals fade beyond type F
    flux = planck(wave, kelvin) * _edge(wave, 4000.0, 90.0, 1 - 0.5 * cool)
    flux *= _edge(wave, 3690.0, 40.0, 1 - 0.6 * hydrogen)  # Balmer jump
    flux *= _absorbed(wave, [(line, 13.0 * hydrogen, 9.0) for line in BALMER])
    calcium = 1.6 / (1 + np.exp((kelvin - 7000.0) / 600.0))
    flux *= _absorbed(wave, [(w, ew * calcium, s) for w, ew, s in METALS[:2]])
    flux *= _absorbed(wave, [(w, 0.9 * ew * cool, s) for w, ew, s in METALS[2:]])
    titanium = float(np.clip((4100.0 - kelvin) / 600.0, 0, 1))
    return flux * np.exp(-1.2 * titanium * _titanium_oxide(wave))


def planck(wave: Float, kelvin: float) -> Float:
    """Blackbody per Å, 1 at 5500 Å; (pixel,) for (pixel,) Å."""
    c2 = 1.438777e8  # Å K; CODATA 2018, hc/k
    at_5500 = np.expm1(c2 / (5500.0 * kelvin))
    return np.asarray((5500.0 / wave) ** 5 * at_5500 / np.expm1(c2 / (wave * kelvin)))


def _gauss(wave: Float, centre: float, sigma: float) -> Float:
    """Gaussian of area 1, per Å."""
    x = (wave - centre) / sigma
    return np.asarray(np.exp(-0.5 * x * x) / (sigma * np.sqrt(2 * np.pi)))


def _absorbed(wave: Float, lines: Iterable[Line], speed: float = 0.0) -> Float:
    """Transmission of absorption lines (Å, EW, sigma), widened by ``speed`` in km/s; never < 0."""
    depth = np.zeros_like(wave)
    for line, ew, sigma in lines:
        depth += ew * _gauss(wave, line, float(np.hypot(sigma, line * speed / C_KMS)))
    return np.asarray(np.exp(-depth))


def _edge(wave: Float, at: float, width: float, below: float) -> Float:
    """1 redwards of a break, ``below`` bluewards, over ``width`` Å."""
    return below + (1 - below) / (1 + np.exp(-np.clip((wave - at) / (width / 4), -500, 500)))


def _titanium_oxide(wave: Float) -> Float:
    """Optical depth of the TiO bands in a late M star: a sharp head, then a tail to the red."""
    depth = np.zeros_like(wave)
    for head, strength in (*TIO, *TIO_RED):
        tail = np.exp(-np.clip(wave - head, 0, None) / 120.0)
        depth += strength * np.where(wave > head, tail, 0.0)
    return depth
