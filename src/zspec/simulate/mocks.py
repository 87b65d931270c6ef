"""Mock spectra: analytic objects as an instrument of given pixels and LSF would observe them.

    arms = {"B": (np.arange(3600.0, 5800.0, 0.8), 0.75), "R": (np.arange(5760.0, 7620.0, 0.8), 0.8)}
    spectra = mock_spectra(arms, n=30, seed=7, snr=10.0)

Spectrum i depends on the arms, the seed and i, but not on n. One matrix per arm does the line
spread and the integration over pixels at once, exactly for light that is smooth over 20 km/s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.grid import bounds
from zspec.simulate import restframe
from zspec.simulate.restframe import C_KMS, Float
from zspec.survey import Arm, Spectra, Truth

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Shape = Callable[[Float, float, np.random.Generator], Float]

FINE_STEP = 20.0 / C_KMS
"""In ln λ, where objects are evaluated: 20 km/s, under half the sigma of the narrowest line."""

SKY_LINES = (5578.89, 5891.58, 5897.56, 6302.05, 6365.54, *np.arange(7280.0, 10400.0, 37.0))
"""Å, vacuum; [O I] and Na D of the night sky, and a comb in place of the OH bands."""


@dataclass(frozen=True)
class Kind:
    """One class of object."""

    shape: Shape
    """Rest-frame flux density of (wave, z, rng)."""
    z_range: tuple[float, float]
    features: tuple[float, ...] = ()
    """Å; z is drawn so that two of them are seen, or as many as the arms can show."""


KINDS: Mapping[str, Kind] = {
    "GALAXY": Kind(restframe.galaxy, (0.02, 0.9), (3728.5, 3934.8, 3969.6, 4862.7, 5008.2)),
    "QSO": Kind(restframe.quasar, (0.5, 3.2), (1215.7, 1549.1, 1908.7, 2798.8, 4862.7)),
    "STAR": Kind(restframe.star, (-150 / C_KMS, 150 / C_KMS)),
}


@dataclass(frozen=True)
class Instrument:
    """The pixels of all arms, end to end."""

    wave: Float
    """(pixel,) Å, vacuum; arm after arm."""
    spans: tuple[tuple[float, float], ...]
    """First and last centre of each arm, Å."""
    fine: Float
    """(fine,) Å where objects are evaluated."""
    response: csr_array
    """(pixel, fine): mean flux density of each pixel after line spread."""
    noise: Float
    """(pixel,) relative sigma."""


@dataclass(frozen=True)
class Observed:
    """One object as observed."""

    z: float
    ra: float
    """Degrees, as ``dec``."""
    dec: float
    flux: Float
    """(pixel,) 1e-17 erg/s/cm2/Å, with noise."""
    ivar: Float
    """(pixel,) of flux."""


def mock_spectra(
    arms: Mapping[str, tuple[NDArray[np.floating], float | NDArray[np.floating]]],
    n: int,
    seed: int,
    snr: float = 20.0,
    classes: Sequence[str] = ("GALAXY", "QSO", "STAR"),
) -> Spectra:
    """``n`` spectra with truth, of the given classes in turn; ids from 1, rows from 0.

    arms: name to (wave (pixel,) Å, vacuum, increasing; sigma of the LSF in Å, one number or
    (pixel,)). snr: median of flux / error per pixel over all arms, before noise is drawn. Flux is
    in 1e-17 erg/s/cm2/Å, observed frame, with Gaussian noise of the ivar that comes with it. The
    same arguments give the same bits. n = 0 gives empty spectra. Raises ConfigError for an unknown
    class, and for arguments that make no sense.
    """
    for name in classes:
        if name not in KINDS:
            raise ConfigError(unknown("mock class", name, KINDS))
    if n < 0 or not snr > 0 or not classes or not arms:
        raise ConfigError(f"mock spectra need arms, classes, n >= 0 and snr > 0 ({n=}, {snr=})")
    waves = [np.asarray(wave, np.float64) for wave, _ in arms.values()]
    sigmas = [np.broadcast_to(s, w.shape) for w, (_, s) in zip(waves, arms.values(), strict=True)]
    instrument = _instrument(waves, sigmas)
    names = [classes[i % len(classes)] for i in range(n)]
    made = [observe(name, instrument, [seed, i], snr) for i, name in enumerate(names)]
    cuts = np.cumsum([len(wave) for wave in waves])[:-1]
    shape = (n, len(instrument.wave))
    flux = np.split(np.array([m.flux for m in made]).reshape(shape), cuts, axis=1)
    ivar = np.split(np.array([m.ivar for m in made]).reshape(shape), cuts, axis=1)
    parts = zip(arms, waves, flux, ivar, [s.astype(np.float32) for s in sigmas], strict=True)
    return Spectra(
        arms=tuple(Arm(name, w, f, v, resolution=s) for name, w, f, v, s in parts),
        ids=np.arange(1, n + 1, dtype=np.int64),
        rows=np.arange(n, dtype=np.int32),
        table={"RA": np.array([m.ra for m in made]), "DEC": np.array([m.dec for m in made])},
        truth=Truth(np.array(names, dtype=np.str_), np.array([m.z for m in made], np.float64)),
    )


def observe(name: str, instrument: Instrument, seed: Sequence[int], snr: float) -> Observed:
    """Draw one object of class ``name`` and observe it; ``seed`` decides all of it."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    kind = KINDS[name]
    z = _draw_z(kind, instrument.spans, rng)
    ra, dec = rng.uniform(0, 360), np.rad2deg(np.arcsin(rng.uniform(-1, 1)))
    clean = instrument.response @ kind.shape(instrument.fine / (1 + z), z, rng)
    clean *= 10 ** rng.uniform(0.3, 1.3) / np.median(clean)  # 2-20 e-17: 19th to 21st magnitude
    error = instrument.noise * np.median(clean / instrument.noise) / snr
    flux = clean + error * rng.standard_normal(len(error))
    return Observed(z, ra, float(dec), flux, error**-2)


def _draw_z(kind: Kind, spans: Sequence[tuple[float, float]], rng: np.random.Generator) -> float:
    """A redshift, uniform where two features are seen, or as many as can be."""
    z = np.linspace(*kind.z_range, 2001)
    at = np.multiply.outer(1 + z, np.array(kind.features))  # (z, feature) Å
    seen = np.zeros(at.shape, bool)
    for first, last in spans:
        seen |= (at > 1.01 * first) & (at < 0.99 * last)  # with some continuum on both sides
    count = seen.sum(axis=1)
    allowed = z[count >= min(2, count.max())]
    return float(rng.choice(allowed) + rng.uniform(-0.5, 0.5) * (z[1] - z[0]))


def _instrument(waves: Sequence[Float], sigmas: Sequence[NDArray[np.floating]]) -> Instrument:
    """The instrument with these pixels (Å) and LSF sigmas (Å), (pixel,) each, arm by arm."""
    from scipy.sparse import csr_array, vstack

    pad = 8 * max(float(np.max(s)) for s in sigmas) + max(float(np.ptp(w[-2:])) for w in waves)
    first, last = min(w[0] for w in waves) - pad, max(w[-1] for w in waves) + pad
    fine = np.exp(np.arange(np.log(first), np.log(last), FINE_STEP))
    parts = [_response(w, s, fine) for w, s in zip(waves, sigmas, strict=True)]
    return Instrument(
        wave=np.concatenate(waves),
        spans=tuple((float(w[0]), float(w[-1])) for w in waves),
        fine=fine,
        response=csr_array(vstack(parts, format="csr")),
        noise=np.concatenate([_noise(w) for w in waves]),
    )


def _response(wave: Float, sigma: NDArray[np.floating], fine: Float) -> csr_array:
    """(pixel, fine) weights, rows of sum 1: the share of light at a fine point in a pixel."""
    from scipy.sparse import csr_array
    from scipy.special import ndtr

    left, right = bounds(wave)
    spread = np.maximum(sigma, 0.3 * (right - left))  # below that the pixel is all that matters
    first = np.searchsorted(fine, left - 6 * spread)
    count = np.searchsorted(fine, right + 6 * spread) - first
    indptr = np.concatenate([[0], np.cumsum(count)])
    pixel = np.repeat(np.arange(len(wave)), count)
    at = np.arange(indptr[-1]) - indptr[pixel] + first[pixel]
    from_left, from_right = fine[at] - left[pixel], fine[at] - right[pixel]
    weight = fine[at] * (ndtr(from_left / spread[pixel]) - ndtr(from_right / spread[pixel]))
    weight /= np.bincount(pixel, weight, minlength=len(wave))[pixel]
    return csr_array((weight, at, indptr), shape=(len(wave), len(fine)))


def _noise(wave: Float) -> Float:
    """Relative noise of (pixel,) in Å: more towards the ends of an arm and on lines of the sky."""
    middle, half = 0.5 * (wave[0] + wave[-1]), 0.5 * (wave[-1] - wave[0]) + 1.0
    smooth = 1 + ((wave - middle) / half) ** 4
    width = 1.5 * np.median(np.diff(wave)) if len(wave) > 1 else 1.0
    lines = np.zeros_like(wave)
    for line in SKY_LINES:
        lines += np.exp(-0.5 * ((wave - line) / width) ** 2)
    return np.asarray(smooth * (1 + 1.5 * lines))
