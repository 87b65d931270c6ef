"""A spectrograph's numbers on its pixels, as tensors: made once, used for every block.

Pixels come first here, (pixel, spectrum), with all cameras end to end, so that matrices act from
the left and a pixel's numbers lie together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.grid import Float, WaveGrid, bounds, overlap
from zspec.simulate.response import fine_grid, interpolate, spread, to_torch
from zspec.simulate.spectrograph import Camera, Pixels, Spectrograph

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HC: Final = 1.986445857e-8
"""erg Å; Planck's constant times the speed of light (CODATA 2018)."""
BRIGHT: Final = 1.25
AROUND: Final = 99
"""SDSS's BRIGHTSKY: over 1.25 times the median of 99 pixels (idlspec2d, spflux and rejection)."""
FLUX: Final = 1e-17
"""erg/s/cm2/Å of a flux of 1."""


@dataclass(frozen=True)
class Optics:
    """All cameras, end to end: P pixels. Tensors are float32."""

    fine: torch.Tensor
    """(fine,) float64 Å where objects are wanted."""
    spread: torch.Tensor
    """(P, fine) sparse: flux of an object to mean flux of each pixel."""
    unit: torch.Tensor
    """(P, 1) electrons per second and unit of flux."""
    continuum: torch.Tensor
    """(P, 1) sky continuum, in the same flux as an object's."""
    lines: torch.Tensor
    """(P, 1) sky lines, likewise."""
    slope: torch.Tensor
    """(P, 1) change of ``lines`` per pixel."""
    bright: torch.Tensor
    """(P, 1) bool: the sky stands out from its surroundings."""
    reads: torch.Tensor
    """(P, 1) electrons2 that one read-out adds to the variance."""
    dark: torch.Tensor
    """(P, 1) electrons of dark current per second."""
    along: torch.Tensor
    """(P, 1) place in the range of all cameras, -1 at its blue end, 1 at its red end."""
    cameras: tuple[slice, ...]
    """Pixels of each camera."""
    arms: tuple[Target, ...]
    """The arms that come out."""


@dataclass(frozen=True)
class Target:
    """One arm as the files hold it, and what it is joined from."""

    name: str
    wave: Float
    """(pixel,) Å."""
    resolution: NDArray[np.float32]
    """(pixel,) Å."""
    sources: tuple[Source, ...]
    """The cameras that go into it."""


@dataclass(frozen=True)
class Source:
    """What one camera gives to an arm."""

    pixels: slice
    """The camera's."""
    rows: slice
    """Pixels of the arm that it reaches."""
    shared: torch.Tensor | None = None
    """(rows, pixels) overlap in units of the arm's pixel; None where the pixels are the same."""
    squared: torch.Tensor | None = None
    """(rows, pixels) its square."""


def build(spec: Spectrograph, device: str) -> Optics:
    """The optics of a spectrograph on a device."""
    waves = [camera.wave for camera in spec.cameras]
    sigmas = [interpolate(c.lsf, w) for c, w in zip(spec.cameras, waves, strict=True)]
    fine = fine_grid(waves, sigmas)
    wave, cuts = np.concatenate(waves), np.cumsum([0, *map(len, waves)])
    slices = tuple(slice(int(a), int(b)) for a, b in pairwise(cuts))
    lines = np.concatenate([_lines(spec, c) for c in spec.cameras])
    slope = np.concatenate([np.gradient(lines[part]) for part in slices])
    continuum = _in_fibre(spec) * interpolate(spec.sky.continuum, wave)
    bright = np.concatenate([_bright((continuum + lines)[part]) for part in slices])
    middle, half = 0.5 * (wave.min() + wave.max()), 0.5 * np.ptp(wave)

    def column(values: Float) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))[:, None].to(device)

    per_pixel = [np.ones(len(w)) for w in waves]
    reads = [c.rows * c.read_noise**2 * x for c, x in zip(spec.cameras, per_pixel, strict=True)]
    dark = [c.rows * c.dark * x for c, x in zip(spec.cameras, per_pixel, strict=True)]
    return Optics(
        fine=torch.from_numpy(fine).to(device),
        spread=to_torch(_stacked(spec, fine), device),
        unit=column(np.concatenate([_unit(spec, c) for c in spec.cameras])),
        continuum=column(continuum),
        lines=column(lines),
        slope=column(slope),
        bright=column(bright) > 0,
        reads=column(np.concatenate(reads)),
        dark=column(np.concatenate(dark)),
        along=column((wave - middle) / half),
        cameras=slices,
        arms=_targets(spec, slices, device),
    )


def _stacked(spec: Spectrograph, fine: Float) -> csr_array:
    """``spread`` of all cameras, with the air's transmission where that stays in the flux."""
    from scipy.sparse import csr_array, diags_array, vstack

    parts = [spread(c.wave, interpolate(c.lsf, fine), fine) for c in spec.cameras]
    every = vstack(parts, format="csr")
    if spec.transmission is not None:
        every = every @ diags_array(interpolate(spec.transmission, fine))
    return csr_array(every)


def _unit(spec: Spectrograph, camera: Camera) -> Float:
    """(pixel,) electrons per second from a point source of flux 1e-17 erg/s/cm2/Å."""
    left, right = bounds(camera.wave)
    photons = FLUX * camera.wave / HC * (right - left)  # per s and cm2
    share = spec.telescope.acceptance * interpolate(camera.throughput, camera.wave)
    return np.asarray(spec.telescope.area * share * photons, np.float64)


def _in_fibre(spec: Spectrograph) -> float:
    """Flux of an object that looks like a sky of 1 per arcsec2 in the fibre."""
    return float(np.pi / 4 * spec.telescope.fibre**2 / spec.telescope.acceptance)


def _lines(spec: Spectrograph, camera: Camera) -> Float:
    """(pixel,) mean flux density of the sky's lines in a camera."""
    from scipy.special import ndtr

    left, right = bounds(camera.wave)
    at, flux = spec.sky.lines.T
    sigma = interpolate(camera.lsf, at)
    total = np.zeros(len(left))
    for centre, width, light in zip(at, sigma, flux, strict=True):
        near = slice(*np.searchsorted(camera.wave, (centre - 20 * width, centre + 20 * width)))
        share = ndtr((right[near] - centre) / width) - ndtr((left[near] - centre) / width)
        total[near] += light * share / (right[near] - left[near])
    return _in_fibre(spec) * total


def _bright(sky: Float) -> Float:
    """(pixel,) 1 where the sky is ``BRIGHT`` times its running median, else 0."""
    from scipy.ndimage import median_filter

    return np.asarray(sky > BRIGHT * median_filter(sky, AROUND, mode="nearest"), np.float64)


def _targets(spec: Spectrograph, slices: tuple[slice, ...], device: str) -> tuple[Target, ...]:
    """Each camera as an arm of its own, or all of them joined on the output pixels."""
    if spec.output is not None:
        return (_joined(spec, spec.output, slices, device),)
    return tuple(
        Target(
            name=camera.name,
            wave=camera.wave,
            resolution=interpolate(camera.lsf, camera.wave).astype(np.float32),
            sources=(Source(part, slice(0, camera.count)),),
        )
        for camera, part in zip(spec.cameras, slices, strict=True)
    )


def _joined(spec: Spectrograph, output: Pixels, slices: tuple[slice, ...], device: str) -> Target:
    """All cameras on the output pixels; where two overlap the line spread is their mean."""
    wave = output.wave
    left, right = bounds(wave)
    width, seen = np.zeros(len(wave)), np.zeros(len(wave))
    sources = []
    for camera, part in zip(spec.cameras, slices, strict=True):
        shared = overlap(camera.wave, WaveGrid.native(wave)).multiply(1 / (right - left)[:, None])
        reached = np.flatnonzero(np.asarray(shared.sum(axis=1)) > 0)
        rows = slice(int(reached[0]), int(reached[-1]) + 1)
        width[rows] += interpolate(camera.lsf, wave[rows])
        seen[rows] += 1
        inside = shared.tocsr()[rows]
        matrices = to_torch(inside, device), to_torch(inside.power(2), device)
        sources.append(Source(part, rows, *matrices))
    ends = interpolate(spec.cameras[0].lsf, wave)
    lsf = np.where(seen > 0, width / np.maximum(seen, 1), ends)
    return Target(output.name, wave, lsf.astype(np.float32), tuple(sources))
