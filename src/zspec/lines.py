"""Spectral lines that are marked in pictures: wavelengths in vacuum, each with its source.

``SDSS``: Table of Spectral Lines Used in SDSS, classic.sdss.org/dr6/algorithms/linestable.html,
vacuum. ``NIST``: Kramida et al., NIST Atomic Spectra Database 5, vacuum. ``Morton``: Morton 2003,
ApJS 149, 205, vacuum. ``Kirkpatrick``: Kirkpatrick et al. 1991, ApJS 77, 417, heads of bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["emission", "absorption"]

GAL, QSO, STAR = ("GALAXY",), ("QSO",), ("STAR",)
BOTH, COOL = ("GALAXY", "QSO"), ("GALAXY", "STAR")
ALL = ("GALAXY", "QSO", "STAR")


@dataclass(frozen=True)
class Line:
    """One line or blend."""

    name: str
    wave: float
    """Å, vacuum, rest frame."""
    kind: Kind
    spectypes: tuple[str, ...]
    """The classes in whose pictures it is marked."""
    source: str
    major: bool = False
    """Whether its label wins where labels collide."""


LINES: tuple[Line, ...] = (
    Line("Lyβ", 1025.72, "emission", QSO, "NIST"),
    Line("O VI", 1033.82, "emission", QSO, "SDSS"),
    Line("Lyα", 1215.67, "emission", BOTH, "NIST", True),
    Line("N V", 1240.81, "emission", QSO, "SDSS"),
    Line("O I", 1305.53, "emission", QSO, "SDSS"),
    Line("C II", 1335.31, "emission", QSO, "SDSS"),
    Line("Si IV", 1397.61, "emission", QSO, "SDSS", True),
    Line("C IV", 1549.48, "emission", QSO, "SDSS", True),
    Line("He II", 1640.40, "emission", QSO, "SDSS"),
    Line("O III]", 1665.85, "emission", QSO, "SDSS"),
    Line("Al III", 1857.40, "emission", QSO, "SDSS"),
    Line("C III]", 1908.734, "emission", QSO, "SDSS", True),
    Line("C II]", 2326.00, "emission", QSO, "SDSS"),
    Line("Fe II", 2382.77, "absorption", GAL, "Morton"),
    Line("[Ne IV]", 2439.50, "emission", QSO, "SDSS"),
    Line("Fe II", 2600.17, "absorption", GAL, "Morton"),
    Line("Mg II", 2799.117, "emission", BOTH, "SDSS", True),
    Line("Mg I", 2852.96, "absorption", GAL, "Morton"),
    Line("[Ne V]", 3346.79, "emission", QSO, "SDSS"),
    Line("[Ne V]", 3426.85, "emission", BOTH, "SDSS"),
    Line("[O II]", 3728.48, "emission", BOTH, "SDSS", True),
    Line("[Ne III]", 3869.86, "emission", BOTH, "NIST"),
    Line("Ca K", 3934.777, "absorption", COOL, "SDSS", True),
    Line("Ca H", 3969.588, "absorption", COOL, "SDSS", True),
    Line("Hδ", 4102.89, "emission", ALL, "SDSS"),
    Line("G", 4305.61, "absorption", COOL, "SDSS"),
    Line("Hγ", 4341.68, "emission", ALL, "SDSS"),
    Line("[O III]", 4364.436, "emission", GAL, "SDSS"),
    Line("Hβ", 4862.68, "emission", ALL, "SDSS", True),
    Line("[O III]", 4960.295, "emission", BOTH, "SDSS"),
    Line("[O III]", 5008.24, "emission", BOTH, "SDSS", True),
    Line("Mg b", 5176.70, "absorption", COOL, "SDSS", True),
    Line("Na D", 5895.60, "absorption", COOL, "SDSS", True),
    Line("[O I]", 6302.046, "emission", GAL, "SDSS"),
    Line("[N II]", 6549.86, "emission", GAL, "SDSS"),
    Line("Hα", 6564.61, "emission", ALL, "SDSS", True),
    Line("[N II]", 6585.27, "emission", GAL, "SDSS"),
    Line("[S II]", 6718.29, "emission", GAL, "SDSS"),
    Line("[S II]", 6732.67, "emission", GAL, "SDSS"),
    Line("TiO", 7055.0, "absorption", STAR, "Kirkpatrick"),
    Line("Ca II", 8500.36, "absorption", COOL, "SDSS"),
    Line("Ca II", 8544.44, "absorption", COOL, "SDSS"),
    Line("Ca II", 8664.52, "absorption", COOL, "SDSS"),
)
"""From blue to red. The Balmer lines of stars are marked as emission is: at one wavelength."""


def of(spectype: str) -> tuple[Line, ...]:
    """The lines that are marked for a class; all of them where it has none, as an empty one."""
    mine = tuple(line for line in LINES if spectype in line.spectypes)
    return mine or LINES
