"""Nebular and nuclear emission lines of galaxies: wavelengths, ratios, widths, and SDSS's rule.

Fluxes follow from the strength of Hα, a place on the star-forming sequence or the branch of active
nuclei in the diagram of Baldwin, Phillips & Terlevich (1981), and dust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import extinction
import numpy as np
import torch

from zspec.simulate.sources.families import LIGHT

LINES = {
    "Lya": 1215.67,
    "HeI3189": 3188.67,
    "NeV": 3426.84,
    "OIIa": 3727.10,
    "OIIb": 3729.86,
    "H10": 3798.98,
    "H9": 3836.48,
    "NeIII": 3869.86,
    "H8": 3890.17,
    "NeIIIb": 3968.59,
    "Hepsilon": 3971.20,
    "Hdelta": 4102.90,
    "Hgamma": 4341.69,
    "OIII4363": 4364.44,
    "HeI4473": 4472.76,
    "HeII": 4687.02,
    "Hbeta": 4862.69,
    "OIIIb": 4960.30,
    "OIII": 5008.24,
    "HeI": 5877.25,
    "OI": 6302.05,
    "OIb": 6365.54,
    "NIIb": 6549.86,
    "Halpha": 6564.61,
    "NII": 6585.27,
    "HeI6680": 6679.99,
    "SIIa": 6718.29,
    "SIIb": 6732.67,
    "HeI7067": 7067.14,
    "ArIII": 7137.77,
    "OII7322": 7321.94,
    "OII7332": 7332.21,
    "SIIIb": 9071.1,
    "SIII": 9533.2,
}
"""Å, vacuum: NIST Atomic Spectra Database."""

NAMES = tuple(LINES)
WAVES = torch.tensor(list(LINES.values()), dtype=torch.float64)
INDEX = {name: i for i, name in enumerate(NAMES)}

BALMER = {"Halpha": 2.86, "Hbeta": 1.0, "Hgamma": 0.468, "Hdelta": 0.259, "Hepsilon": 0.159}
BALMER |= {"H8": 0.105, "H9": 0.0731, "H10": 0.0530}
"""Relative to Hβ: case B at 1e4 K and 100 / cm3; Hummer & Storey (1987), as tabled by Osterbrock &
Ferland (2006)."""

FIXED = {"OIIIb": ("OIII", 1 / 2.98), "NIIb": ("NII", 1 / 3.05), "NeIIIb": ("NeIII", 0.31)}
FIXED |= {"OIb": ("OI", 1 / 3.1), "SIIIb": ("SIII", 1 / 2.5), "HeI4473": ("HeI", 0.37)}
FIXED |= {"HeI3189": ("HeI", 0.25), "HeI6680": ("HeI", 0.28), "HeI7067": ("HeI", 0.19)}
"""Lines with a parent: transition probabilities of [O III] and [N II] (Storey & Zeippen 2000),
[Ne III], [O I] and [S III]; recombination of helium at 1e4 K; Osterbrock & Ferland (2006)."""

REDDENING = torch.from_numpy(extinction.fitzpatrick99(WAVES.numpy(), 1.0, 3.1))
"""(line,) magnitudes for A_V = 1, Fitzpatrick (1999)."""


@dataclass
class Nebula:
    """The drawn state of the gas of n galaxies; float64, (n,) each."""

    ew: torch.Tensor
    """Equivalent width of Hα in emission, Å, rest frame."""
    nitrogen: torch.Tensor
    """log10 [N II] 6585 / Hα."""
    oxygen: torch.Tensor
    """log10 [O III] 5008 / Hβ."""
    active: torch.Tensor
    """True where a nucleus lights the gas."""
    dust: torch.Tensor
    """A_V of the gas, magnitudes."""
    noise: torch.Tensor
    """(n, line) standard normal: scatter of single lines about the mean relations."""
    ratios: torch.Tensor = field(init=False)
    """(n, line) fluxes relative to Hα, dust included."""

    def __post_init__(self) -> None:
        """Work the ratios out."""
        self.ratios = line_ratios(self)


def line_ratios(gas: Nebula) -> torch.Tensor:
    """(n, line) fluxes relative to Hα, seen through the galaxy's own dust."""
    balmer = 1 / BALMER["Halpha"]
    scatter = {name: 10 ** (0.08 * gas.noise[:, i]) for name, i in INDEX.items()}
    hot = torch.where(gas.active, 0.15, 0.0)  # dex; nuclei keep high and low ions strong together
    made = {name: torch.full_like(gas.ew, share * balmer) for name, share in BALMER.items()}
    made["NII"] = 10**gas.nitrogen
    made["OIII"] = 10**gas.oxygen * balmer
    # [O II]/Hβ peaks near half the Sun's abundance; about as in Moustakas+2006 and Kewley+2004
    bend = (gas.nitrogen + 0.9) ** 2
    oii = 10 ** (0.48 - 0.55 * bend + hot) * balmer * scatter["OIIa"]
    ratio = 1.2 + 0.15 * torch.tanh(gas.noise[:, INDEX["OIIb"]])  # densities of 30 to 300 / cm3
    made["OIIa"], made["OIIb"] = oii / (1 + ratio), oii * ratio / (1 + ratio)
    made["NeIII"] = made["OIII"] * 0.075 * scatter["NeIII"]
    made["OIII4363"] = made["OIII"] * 0.008 * scatter["OIII4363"]
    sulphur = 10 ** (-0.38 + 0.25 * torch.tanh((gas.nitrogen + 0.5) / 0.5) + hot) * scatter["SIIa"]
    made["SIIa"], made["SIIb"] = sulphur * 0.57, sulphur * 0.43
    made["OI"] = sulphur * torch.where(gas.active, 0.25, 0.08) * scatter["OI"]
    made["HeI"] = 0.12 * balmer * scatter["HeI"]
    made["HeII"] = torch.where(gas.active, 0.2, 0.005) * balmer * scatter["HeII"]
    made["NeV"] = torch.where(gas.active, 0.06, 0.0) * made["OIII"] * scatter["NeV"]
    made["ArIII"] = 0.03 * scatter["ArIII"]
    made["OII7322"], made["OII7332"] = 0.022 * oii, 0.018 * oii
    made["SIII"] = 0.25 * sulphur * scatter["SIII"] + 0.05
    made["Lya"] = torch.zeros_like(gas.ew)  # drawn apart: it does not follow recombination
    for name, (parent, share) in FIXED.items():
        made[name] = made[parent] * share
    table = torch.stack([made[name] for name in NAMES], dim=1)
    redden = REDDENING - REDDENING[INDEX["Halpha"]]
    seen: torch.Tensor = table * 10 ** (-0.4 * gas.dust[:, None] * redden)
    return seen


def rule(ew: torch.Tensor, error: torch.Tensor, broad: torch.Tensor) -> list[str]:
    """SDSS's subclass of n objects: AGN, STARBURST, STARFORMING, BROADLINE, pairs, or nothing.

    ``ew`` and ``error`` are (n, 4) rest-frame equivalent widths of Hβ, [O III] 5008, Hα and
    [N II] 6585 in Å with their 1 sigma (inf where not observed); ``broad`` is True where a line is
    detected at 10 sigma and is wider than 200 km/s at 5 sigma.
    Source: https://www.sdss4.org/dr16/spectro/catalogs/ (object classification).

    The rule is in line fluxes, and continua cancel well enough within each pair of neighbours.
    """
    seen = (ew > 3 * error).all(1)
    hbeta, oiii, halpha, nii = ew.clamp(min=1e-6).log10().T
    active = oiii - hbeta > 0.7 - 1.2 * (nii - halpha + 0.4)
    burst = 10**halpha > 50
    names = []
    for one in torch.stack([seen, active, burst, broad], 1).tolist():
        narrow = ("AGN" if one[1] else "STARBURST" if one[2] else "STARFORMING") if one[0] else ""
        names.append(f"{narrow} BROADLINE".strip() if one[3] else narrow)
    return names


def add_lines(
    flux: torch.Tensor,
    origin: float,
    step: float,
    centre: torch.Tensor,
    area: torch.Tensor,
    sigma: torch.Tensor,
) -> None:
    """Add Gaussian lines to (n, pixel) ``flux`` on an even grid in ln λ, in place.

    ``origin`` is ln λ of pixel 0 and ``step`` its step; ``centre`` (n, line) ln λ; ``area`` (n,
    line) line flux in units of flux times Å; ``sigma`` (n, 1) in km/s. Lines beyond the ends are
    lost.
    """
    spread = sigma / LIGHT / step  # (n, 1) pixels
    reach = math.ceil(5 * float(spread.max())) + 1
    place = (centre - origin) / step
    near = place.round()
    # float32 offsets: places are told from each other before the cast
    fraction = (place - near).float()[..., None]
    offsets = torch.arange(-reach, reach + 1, device=flux.device)
    width = spread.float()[..., None]
    profile = torch.exp(-0.5 * ((offsets - fraction) / width) ** 2)  # (n, line, window)
    height = area.float() / (centre.exp().float() * step * spread.float() * math.sqrt(2 * np.pi))
    index = near.long()[..., None] + offsets
    inside = (index >= 0) & (index < flux.shape[1])
    value = torch.where(inside, profile * height[..., None], 0.0)
    flux.scatter_add_(1, index.clamp(0, flux.shape[1] - 1).flatten(1), value.flatten(1))
