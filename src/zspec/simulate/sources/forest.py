"""What lies between us and a quasar: the Lyman series forest and systems thick at the limit.

The mean transmission is exactly that of Kamble+2020 for Lyα. Along one line of sight the optical
depth is lognormal, as in Bi & Davidsen (1997) and Font-Ribera+2012: a Gaussian field whose power
spectrum has their shape, exponentiated, and scaled at each redshift so that the mean comes out. The
higher lines have the same gas, and the ratio of their oscillator strengths.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.sources.families import LIGHT

LYA = 1215.67
"""Å; Lyman alpha (NIST)."""
LIMIT = 911.76
"""Å; the Lyman limit (NIST)."""
DEPTH, POWER = 0.00554, 3.182
"""Effective optical depth of Lyα: DEPTH (1 + z)^POWER; Kamble+2020."""
SERIES = (
    (1215.67, 0.41641),
    (1025.72, 0.07914),
    (972.54, 0.02901),
    (949.74, 0.01395),
    (937.80, 0.007804),
    (930.75, 0.004816),
    (926.23, 0.003185),
)
"""(Å, oscillator strength) of Lyα to Lyη; NIST."""
TURN, INDEX, SMOOTH = 0.001, 0.7, 20.0
"""Shape of the field's power: turn-over in s/km, slope, smoothing in km/s (Font-Ribera+2012 have
5 km/s before they add thermal broadening)."""
SIGMA = 1.7
"""Standard deviation of ln(optical depth). With these four the power of the flux between k = 0.002
and 0.02 s/km is 0.7 to 1.25 times that of Palanque-Delabrouille+2013 at z = 2.1 to 3.8."""


DAMPING, CROSS = 6.265e8, 0.02654
"""Damping constant of Lyα in 1/s, and pi e²/(m c) in cm² Hz."""
THICK, THICK_POWER = 2.80, 1.94
"""Systems with tau > 1 at the limit, per unit z: THICK [(1 + z) / 4.5]^THICK_POWER; Songaila &
Cowie (2010), abstract."""


def effective_depth(z: torch.Tensor) -> torch.Tensor:
    """Effective optical depth of Lyα at absorber redshifts ``z``; Kamble+2020."""
    return DEPTH * (1 + z).clamp(min=0) ** POWER


@lru_cache(maxsize=1)
def _mean_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of ln A, and the mean of exp(-A exp(SIGMA g)) over normal g (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    log = np.linspace(-16.0, 12.0, 1401)
    mean = np.exp(-np.exp(log[:, None] + SIGMA * nodes)) @ (weights / weights.sum())
    return log, mean


def log_opacity(z: torch.Tensor) -> torch.Tensor:
    """The ln A at absorber redshifts that gives the lognormal field Kamble's mean."""
    log, mean = _mean_table()
    wanted = torch.exp(-effective_depth(z)).cpu().numpy()
    found = np.interp(-wanted, -mean, log)
    return torch.from_numpy(found).to(z.device)


def _mean_of(log_a: torch.Tensor) -> torch.Tensor:
    """Mean transmission of gas with ln A."""
    log, mean = _mean_table()
    return torch.from_numpy(np.interp(log_a.cpu().numpy(), log, mean)).to(log_a.device)


def relative_opacity() -> list[float]:
    """The ln of each line's opacity relative to Lyα's: oscillator strength times wavelength."""
    first = SERIES[0][0] * SERIES[0][1]
    return [math.log(line * strength / first) for line, strength in SERIES]


def mean_transmission(wave: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, pixel) mean transmission of the Lyman series at rest wavelengths (n or 1, pixel) in Å.

    ``z`` (n,) are the quasars' redshifts. 1 redwards of Lyα; float64.
    """
    through = torch.ones(len(z), wave.shape[-1], dtype=torch.float64)
    for (line, _), ratio in zip(SERIES, relative_opacity(), strict=True):
        absorber = wave * (1 + z[:, None]) / line - 1
        part = _mean_of(log_opacity(absorber.clamp(min=0)) + ratio)
        through = through * torch.where((wave < line) & (absorber > 0), part, 1.0)
    return through


@lru_cache(maxsize=8)
def _spectrum(count: int, step: float) -> torch.Tensor:
    """(frequency,) amplitudes that give white noise of ``count`` pixels the field's power."""
    k = 2 * math.pi * torch.fft.rfftfreq(count, d=step * LIGHT, dtype=torch.float64)  # s/km
    power = 1 / (1 + (k / TURN) ** INDEX) * torch.exp(-((k * SMOOTH) ** 2))
    power[0] = 0.0
    # 2 sum of the positive frequencies: the variance of the field, which is made 1
    amplitude: torch.Tensor = (power / (2 * power.sum() / count)).sqrt().float()
    return amplitude


def random_transmission(
    ln_wave: torch.Tensor, z: torch.Tensor, white: torch.Tensor
) -> torch.Tensor:
    """(n, pixel) float32 transmission of n lines of sight on an even grid in ln λ (Å, observed).

    ``white`` (n, longer) is standard normal noise, longer than the grid by :func:`margin`.
    """
    step = float(ln_wave[1] - ln_wave[0])
    amplitude = _spectrum(white.shape[1], step).to(white.device)
    field = torch.fft.irfft(torch.fft.rfft(white) * amplitude, n=white.shape[1])
    # pixel j of the field is gas whose Lyα falls on pixel j of the grid, or beyond its end
    index = torch.arange(white.shape[1], device=white.device, dtype=torch.float64)
    absorber = torch.exp(float(ln_wave[0]) + step * index) / LYA - 1
    gas = log_opacity(absorber.clamp(min=0)).float() + SIGMA * field
    depth = torch.exp(torch.where(absorber > 0, gas, -math.inf))
    depth = torch.where(absorber < z[:, None], depth, 0.0)
    total = torch.zeros(len(z), len(ln_wave), device=white.device)
    for (line, _), ratio in zip(SERIES, relative_opacity(), strict=True):
        shift = round(math.log(LYA / line) / step)
        total += math.exp(ratio) * depth[:, shift : shift + len(ln_wave)]
    return torch.exp(-total)


def margin(step: float) -> int:
    """Pixels that a field must have beyond a grid of ``step`` in ln λ."""
    return round(math.log(LYA / SERIES[-1][0]) / step) + 1


def thick_systems(z: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Redshifts and optical depths at the limit of the next systems towards n quasars.

    ``uniform`` (n, 2 k) in (0, 1] gives k systems each: gaps are exponential in the local density,
    and column densities follow N^-1.5. Both results are (n, k).
    """
    gaps, depths = uniform.chunk(2, dim=1)
    density = THICK * ((1 + z[:, None]) / 4.5) ** THICK_POWER
    return z[:, None] + (gaps.log() / density).cumsum(1), depths**-2


def limit_transmission(wave: torch.Tensor, z: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """(n, pixel) transmission of continuum absorption by systems (n, k) at observed Å (pixel,)."""
    total = torch.zeros(len(z), len(wave), device=wave.device)
    for one, tau in zip(z.T, depth.T, strict=True):
        x = (wave / (LIMIT * (1 + one[:, None]))).float()
        # a gap can reach beyond z = 0, where there is nothing
        total += torch.where((x > 0) & (x < 1), tau[:, None].float() * x**3, 0.0)
    return torch.exp(-total)


def damped_transmission(wave: torch.Tensor, z: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """(n, pixel) transmission of damped Lyα at observed wavelengths (pixel,) in Å.

    ``column`` (n,) is log10 of N(H I) in 1/cm². The Lorentzian alone: its core is black anyway.
    """
    hertz = LIGHT * 1e13 / wave * (1 + z[:, None])  # rest frame
    offset = hertz - LIGHT * 1e13 / LYA
    lorentz = DAMPING / (4 * math.pi**2) / (offset**2 + (DAMPING / (4 * math.pi)) ** 2)
    return torch.exp(-(10 ** column[:, None]) * CROSS * SERIES[0][1] * lorentz).float()
