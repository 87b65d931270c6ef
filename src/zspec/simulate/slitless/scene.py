"""Sources of one block on the sky, and what one band's detector and pipeline make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.seeds import generator
from zspec.simulate.slitless.contamination import Intruders
from zspec.simulate.slitless.design import Design
from zspec.simulate.slitless.dispersion import OVERSAMPLE, Band, Deposit, disperse, electrons
from zspec.simulate.slitless.extraction import (
    Weights,
    collapse,
    line_spread,
    running_mean,
    weigh_rows,
)
from zspec.simulate.slitless.profile import Shapes, pixel_image, refining


@dataclass(frozen=True)
class Scene:
    """n sources, their neighbours, and how they are extracted: the same in every band."""

    design: Design
    shapes: Shapes
    neighbours: Intruders
    zero_orders: Intruders
    guess: NDArray[np.float64]
    """(n,) the pipeline's estimate of the contaminating light over the truth."""

    @cached_property
    def direct(self) -> torch.Tensor:
        """(n, row, column) direct images."""
        return self._image(self.shapes)

    @cached_property
    def weights(self) -> Weights:
        """How rows are summed."""
        return weigh_rows(self.direct, self.design.extraction)

    @cached_property
    def kernels(self) -> torch.Tensor:
        """(n, 2, fine column): rows of the direct images summed with weights, and their squares."""
        return self._kernels(self.direct, self.weights.rows)

    @cached_property
    def intruding(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of neighbours and of zero orders, by the weights of their targets."""
        return self._intruding(self.neighbours), self._intruding(self.zero_orders)

    @cached_property
    def spread(self) -> torch.Tensor:
        """(n,) sigma of the line-spread function, pixels."""
        return line_spread(collapse(self.direct, self.weights.rows))

    def image_of(self, intruders: Intruders) -> torch.Tensor:
        """(m, row, column) direct images of intruders, on the rows of their targets."""
        return self._image(intruders.shapes(self.shapes))

    def fine(self, image: torch.Tensor) -> torch.Tensor:
        """(..., fine column) of (..., column)."""
        table = refining(self.design.detector.half, OVERSAMPLE)
        return image @ table.to(image.device)

    def _image(self, shapes: Shapes) -> torch.Tensor:
        """(n, row, column) direct images."""
        scale, half = self.design.detector.scale, self.design.detector.half
        return pixel_image(shapes, self.design.telescope.psf / scale, half, half)

    def _kernels(self, image: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n, 2, fine column)."""
        return self.fine(torch.stack([collapse(image, rows), collapse(image, rows**2)], 1))

    def _intruding(self, intruders: Intruders) -> torch.Tensor:
        """(m, 2, fine column)."""
        at = torch.as_tensor(intruders.target, device=self.weights.rows.device)
        return self._kernels(self.image_of(intruders), self.weights.rows[at])


@dataclass(frozen=True)
class Exposed:
    """n sources in one band, after the pipeline."""

    clean: torch.Tensor
    """(n, pixel) noise-free flux, 1e-17 erg/s/cm2/Å, with the light of intruders."""
    flux: torch.Tensor
    """(n, pixel) with noise."""
    ivar: torch.Tensor
    """(n, pixel) as the pipeline estimates it."""
    intruded: NDArray[np.float64]
    """(n,) share of the extracted light that is not the source's."""
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """(n, row, pixel) IMAGE, electrons without the sky, and VARIANCE, if asked for."""


class Light:
    """Electrons of one band by sub-pixel: of every source in its place, and of the intruders."""

    def __init__(self, scene: Scene, flux: torch.Tensor, band: Band, deposit: Deposit) -> None:
        """For noise-free flux densities (n, wave)."""
        half = scene.design.detector.half
        every = deposit(flux)
        self.own = deposit.window(every, band.pixels, half, 0)
        """(n, sub-pixel)"""
        moved = [
            deposit.window(every[source : source + 1], band.pixels, half, int(shift))
            for source, shift in zip(
                scene.neighbours.source, scene.neighbours.shifts(band), strict=True
            )
        ]
        self.neighbours = torch.cat(moved) if moved else self.own[:0]
        """(m, sub-pixel)"""
        zeroth = scene.zero_orders
        self.zero_orders = self.own.new_zeros(len(zeroth.source), self.own.shape[1])
        """(m, sub-pixel)"""
        source = torch.as_tensor(zeroth.source, device=flux.device)
        place = torch.as_tensor(zeroth.places(band) + half * OVERSAMPLE, device=flux.device)
        total = every[source].sum(1, keepdim=True) * band.zero_order
        self.zero_orders.scatter_(1, place[:, None], total)


def render(
    scene: Scene, flux: torch.Tensor, band: Band, deposit: Deposit, seed: Sequence[int]
) -> Exposed:
    """Observe noise-free flux densities (n, wave) in one band; ``seed`` decides the noise."""
    light = Light(scene, flux, band, deposit)
    own = disperse(light.own, scene.kernels)  # (n, 2, pixel): counts, and their variance
    other = torch.zeros_like(own)
    groups = ((scene.neighbours, light.neighbours), (scene.zero_orders, light.zero_orders))
    for kernels, (intruders, falling) in zip(scene.intruding, groups, strict=True):
        at = torch.as_tensor(intruders.target, device=flux.device)
        other.index_add_(0, at, disperse(falling, kernels))
    counts, variance = (own + other).unbind(1)
    background = scene.design.background(band)
    variance = variance.clamp(min=0) + background * scene.weights.squared[:, None]
    noise = _normal(counts.shape, [*seed, 0], flux.device) * variance.sqrt()
    unit = torch.tensor(
        electrons(band, band.wave(), scene.design.area_time) * band.step,
        dtype=torch.float32,
        device=flux.device,
    )
    measured = counts + noise
    images = _images(scene, light, noise, background, seed) if scene.design.images else {}
    return Exposed(
        clean=counts / unit,
        flux=measured / unit,
        ivar=unit**2 / _estimated(measured, scene, background),
        intruded=_share(own[:, 0], other[:, 0]),
        images=images,
    )


def _estimated(measured: torch.Tensor, scene: Scene, background: float) -> torch.Tensor:
    """(n, pixel) variance of the counts as a pipeline knows it.

    It knows the background; the source's own part is made from the measured counts, averaged so
    that the error does not tell the noise of its pixel.
    """
    level = running_mean(measured, scene.design.extraction.smooth).clamp(min=0)
    return background * scene.weights.squared[:, None] + scene.weights.gain[:, None] * level


def _share(own: torch.Tensor, other: torch.Tensor) -> NDArray[np.float64]:
    """(n,) share of the light of others; 0 where there is none at all."""
    both = (own + other).double().sum(1)
    part = other.double().sum(1) / torch.where(both > 0, both, 1.0)
    return part.clamp(0, 1).cpu().numpy()


def _images(
    scene: Scene, light: Light, noise: torch.Tensor, background: float, seed: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Images whose extraction gives the spectra with their ``noise`` (n, pixel).

    White noise N of variance v is moved to N + v w (e - Σ w N) / Σ w² v over the rows: that is the
    distribution of the noise of the pixels where its weighted sum is known to be e.
    """
    clean = ideal_image(scene, light)
    variance = clean.clamp(min=0) + background
    drawn = _normal(clean.shape, [*seed, 1], clean.device) * variance.sqrt()
    rows = scene.weights.rows[:, :, None]
    missing = noise - (rows * drawn).sum(1)
    drawn += variance * rows * (missing / (rows**2 * variance).sum(1))[:, None, :]
    return {"IMAGE": (clean + drawn).cpu().numpy(), "VARIANCE": variance.cpu().numpy()}


def ideal_image(scene: Scene, light: Light) -> torch.Tensor:
    """(n, row, pixel) electrons without sky and noise."""
    made = disperse(light.own, scene.fine(scene.direct))
    groups = ((scene.neighbours, light.neighbours), (scene.zero_orders, light.zero_orders))
    for intruders, falling in groups:
        at = torch.as_tensor(intruders.target, device=made.device)
        made.index_add_(0, at, disperse(falling, scene.fine(scene.image_of(intruders))))
    return made


def _normal(shape: Sequence[int], seed: Sequence[int], device: torch.device) -> torch.Tensor:
    """Standard normal numbers (n, ...); each row by its own seed, so that it knows not of n."""
    made = torch.empty(*shape, device=device)
    for i, row in enumerate(made):
        # from 1: to a seed sequence, zeros at the end are as if they were not there
        row.normal_(generator=generator([*seed, i + 1], device.type))
    return made
