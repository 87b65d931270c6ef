"""Where the rows of a training set come from: published templates of three kinds.

- ``draws``: spectra with coefficients that the file itself lists;
- ``singles``: the vectors themselves, as archetypes and composites;
- ``fits``: what the vectors make of each real training spectrum, beyond its observed range too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.likelihood.basis import STEP
from zspec.likelihood.interpolation import coefficients
from zspec.likelihood.learn import Rows, fit, stack
from zspec.likelihood.templates import Template

Array = NDArray[np.float64]

FIT_ITERATIONS = 6
"""Rounds in which a published basis settles on the spread of its coefficients."""


def _draws(
    template: Template, source: Mapping[str, Any], real: Sequence[Rows], rng: np.random.Generator
) -> Array:
    """Spectra with coefficients drawn from those that the file lists."""
    if template.coefficients is None:
        raise ConfigError(f"{source['file']}: lists no coefficients; use kind = 'singles'")
    picked = rng.permutation(len(template.coefficients))[: source["number"]]
    return template.coefficients[picked] @ template.vectors


def _singles(
    template: Template, source: Mapping[str, Any], real: Sequence[Rows], rng: np.random.Generator
) -> Array:
    """The vectors themselves, of the wanted subtypes: archetypes and composites."""
    wanted = tuple(source.get("subtypes", [""]))
    names = template.subtypes or ("",) * len(template.vectors)
    return template.vectors[[name.startswith(wanted) for name in names]]


def _fits(
    template: Template, source: Mapping[str, Any], real: Sequence[Rows], rng: np.random.Generator
) -> Array:
    """What the vectors make of each real spectrum, beyond its observed range too."""
    if not real:
        return template.vectors[:0]
    picked = rng.permutation(len(real))[: source.get("number", len(real))]
    rows = stack([real[i] for i in picked])
    vectors = np.zeros((len(template.vectors), rows.flux.shape[1]))
    _copy(template.vectors, template.k0, vectors, rows.k0)
    scale = np.abs(vectors).max(1, keepdims=True)
    spline = coefficients(torch.from_numpy(vectors / scale))
    found = fit(rows, spline, None)
    for _ in range(FIT_ITERATIONS):
        found = fit(rows, spline, found)
    return np.asarray(found.values.numpy() @ (template.vectors / scale))


KINDS = {"draws": _draws, "singles": _singles, "fits": _fits}
"""What ``kind`` of a source may be."""


def place(
    template: Template, spectra: Array, snr: float, level: Sequence[float], span: tuple[int, int]
) -> Rows:
    """Noise-free spectra as rows on the basis' columns, with the weight of ``snr`` a pixel."""
    flux = np.zeros((len(spectra), span[1] - span[0]))
    cover = np.zeros((1, flux.shape[1]))
    _copy(spectra, template.k0, flux, span[0])
    _copy(np.ones((1, spectra.shape[1])), template.k0, cover, span[0])
    at = level_mask(level, span).numpy() & (cover[0] > 0)
    scale = np.median(flux[:, at], axis=1)
    keep = scale > 0
    flux = flux[keep] / scale[keep, None]
    weight = np.broadcast_to(cover * snr**2, flux.shape).copy()
    phase = torch.zeros(len(flux), dtype=torch.float64)
    return Rows(span[0], torch.from_numpy(flux), torch.from_numpy(weight), phase)


def _copy(source: Array, source_k0: int, target: Array, target_k0: int) -> None:
    """Copy columns of the same grid index."""
    low = max(source_k0, target_k0)
    high = min(source_k0 + source.shape[1], target_k0 + target.shape[1])
    if low < high:
        part = source[:, low - source_k0 : high - source_k0]
        target[:, low - target_k0 : high - target_k0] = part


def level_mask(edges: Sequence[float], span: tuple[int, int]) -> torch.Tensor:
    """(pixel,) True between two rest-frame wavelengths in Å."""
    low, high = (float(np.log10(edge) / STEP) for edge in edges)
    index = torch.arange(*span)
    return (index >= low) & (index <= high)
