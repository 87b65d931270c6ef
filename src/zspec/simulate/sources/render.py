"""From rest-frame mixtures to spectra on an observed grid: interpolation, dust, magnitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import extinction
import numpy as np
import torch
from numpy.typing import NDArray

from zspec.likelihood.interpolation import coefficients, taps
from zspec.simulate.sources.families import LIGHT, Family

Float = NDArray[np.float64]

ZERO_AB = 3631e-23
"""erg/s/cm2/Hz of AB magnitude 0; Oke & Gunn (1983)."""
UNIT = 1e-17
"""erg/s/cm2/Å of one unit of flux."""
LADDER = (0.0, 70.0, 110.0, 150.0, 200.0, 260.0, 330.0, 420.0)
"""km/s: velocity dispersions for which bases are broadened once; in between, variance is linear."""


@dataclass(frozen=True, eq=False)
class Fine:
    """A family's vectors on the step of an observed grid, so that a redshift is one shift."""

    origin: float
    """ln λ (Å, rest frame) of the first pixel."""
    step: float
    """Step in ln λ."""
    vectors: torch.Tensor
    """(K or rung * K, pixel) float32 spline coefficients."""


@lru_cache(maxsize=8)
def fine(family: Family, step: float, broaden: bool, device: str) -> Fine:
    """The vectors of a family on a step in ln λ, broadened by each rung of ``LADDER`` if asked."""
    native = family.step * math.log(10)
    rungs_used = LADDER if broaden else (0.0,)
    made = [_broadened(family.vectors.double(), sigma / LIGHT / native) for sigma in rungs_used]
    old = coefficients(torch.cat(made))
    size = int((family.vectors.shape[1] - 4) * native / step)
    place = 1 + torch.arange(size, dtype=torch.float64) * step / native
    first = place.floor().long()
    weights = taps(place - first)
    values = sum(weights[:, tap] * old[:, first + (tap - 1)] for tap in range(4))
    assert isinstance(values, torch.Tensor)
    origin = family.start * math.log(10) + native
    return Fine(origin, step, coefficients(values).float().to(device))


def _broadened(vectors: torch.Tensor, sigma: float) -> torch.Tensor:
    """(K, pixel) vectors, convolved with a Gaussian of ``sigma`` pixels; ends are mirrored."""
    if sigma == 0:
        return vectors
    reach = math.ceil(5 * sigma)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    padded = torch.nn.functional.pad(vectors[:, None], (reach, reach), mode="reflect")
    made: torch.Tensor = torch.nn.functional.conv1d(padded, (kernel / kernel.sum())[None, None])
    return made[:, 0]


def rungs(sigma: torch.Tensor) -> torch.Tensor:
    """(n, rung) weights of the ladder that give the variance of ``sigma`` (n,) km/s."""
    steps = torch.tensor(LADDER, dtype=torch.float64) ** 2
    variance = sigma.double().square().clamp(max=float(steps[-1]))
    upper = torch.searchsorted(steps, variance).clamp(1, len(LADDER) - 1)
    share = (variance - steps[upper - 1]) / (steps[upper] - steps[upper - 1])
    weights = torch.zeros(len(sigma), len(LADDER), dtype=torch.float64)
    weights.scatter_(1, upper[:, None], share[:, None])
    weights.scatter_(1, upper[:, None] - 1, 1 - share[:, None])
    return weights.float()


def shift(rest: torch.Tensor, grid: Fine, ln_wave: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, pixel) float32 values of (n, rest pixel) spline coefficients on an observed grid.

    ``ln_wave`` (pixel,) float64 with the step of ``grid``, ``z`` (n,) float64. A shift is the same
    for all pixels of a row: whole pixels by slicing, the rest by four weights. Beyond its ends a
    spectrum goes on as it ends.
    """
    count, size = len(ln_wave), rest.shape[1]
    offset = (float(ln_wave[0]) - grid.origin - torch.log1p(z)) / grid.step
    first = offset.floor()
    weights = taps((offset - first).float())  # (n, 4)
    index = torch.arange(-1, count + 2, device=rest.device)
    made = torch.empty(len(rest), count, device=rest.device)
    for row, start in enumerate(first.long().tolist()):
        inside = start >= 1 and start + count + 2 <= size
        places = index + start
        part = (
            rest[row, start - 1 : start + count + 2]
            if inside
            else rest[row, places.clamp(0, size - 1)]
        )
        made[row] = torch.mv(part.unfold(0, 4, 1), weights[row])
    return made


def stretch(
    rest: torch.Tensor, family: Family, ln_wave: torch.Tensor, z: torch.Tensor
) -> torch.Tensor:
    """(n, pixel) float32 values of (n, rest pixel) on an observed grid, linear between pixels.

    For what has no feature near the width of a pixel. Beyond its ends a spectrum goes on as it
    ends.
    """
    step = family.step * math.log(10)
    size = rest.shape[1]
    origin = (ln_wave - family.start * math.log(10)) / step
    made = torch.empty(len(rest), len(ln_wave), device=rest.device)
    for row, moved in enumerate((torch.log1p(z) / step).tolist()):
        place = (origin - moved).clamp(0, size - 1.001)
        low = place.long()
        made[row] = torch.lerp(rest[row, low], rest[row, low + 1], (place - low).float())
    return made


def redden(flux: torch.Tensor, wave: torch.Tensor, ebv: torch.Tensor) -> torch.Tensor:
    """(n, pixel) flux behind the Galaxy's dust: Fitzpatrick (1999), R_V = 3.1; ``ebv`` (n,)."""
    curve = dust_curve((*wave.tolist()[:: max(1, len(wave) // 256)], float(wave[-1])))
    at = torch.from_numpy(np.interp(wave.cpu().numpy(), *curve)).float().to(flux.device)
    return flux * torch.exp(-0.4 * math.log(10) * ebv.float()[:, None] * at)


@lru_cache(maxsize=8)
def dust_curve(wave: tuple[float, ...]) -> tuple[Float, Float]:
    """Wavelengths (Å) and A(λ) for E(B - V) = 1; constant bluewards of 1000 Å."""
    at = np.array(wave)
    return at, extinction.fitzpatrick99(np.clip(at, 1000.0, 60000.0), 3.1, 3.1)


def magnitude_scale(
    flux: torch.Tensor, wave: torch.Tensor, band: tuple[float, float], mag: torch.Tensor
) -> torch.Tensor:
    """(n,) float64 factors that give flux the AB magnitude ``mag`` in a top-hat of photons.

    m = -2.5 log10 (∫ f λ dλ / ∫ f_AB λ dλ), f_AB = 3631 Jy c / λ²; the grid is even in ln λ, so
    that dλ goes with λ. ``flux`` (n, pixel) in any unit, ``wave`` (pixel,) Å.
    """
    inside = (wave >= band[0]) & (wave <= band[1])
    at = wave[inside]
    photons = (flux[:, inside].double() * at**2).sum(1)
    zero = (ZERO_AB * LIGHT * 1e13 / UNIT) * torch.ones_like(at).sum()
    return 10 ** (-0.4 * mag.double()) * zero / photons


@lru_cache(maxsize=8)
def _checks(family: Family) -> torch.Tensor:
    """(K, point) vectors at wavelengths where a spectrum must not be negative."""
    return family.vectors[:, family.vectors.shape[1] // 16 :: 40]


def positive(mixed: torch.Tensor, safe: torch.Tensor, family: Family) -> torch.Tensor:
    """(n, K) coefficients; where a step took one below zero, or lower, the real one."""
    lowest = (mixed @ _checks(family)).amin(1)
    allowed = (safe @ _checks(family)).amin(1).clamp(max=0)
    return torch.where((lowest >= allowed)[:, None], mixed, safe)
