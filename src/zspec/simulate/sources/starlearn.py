"""Stars: one basis for all types, by singular vectors of real draws on a fine grid.

Type is a number: 1.0 is B0, 2.0 A0, 3.5 F5, 5.3 K3. It follows from the colour B - V of the
noise-free spectrum, on the scale that labelled real stars set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.fits import open_fits
from zspec.likelihood.train import Labelled
from zspec.simulate.sources.density import kernels
from zspec.simulate.sources.families import Family

log = logging.getLogger("zspec")

Array = NDArray[np.float64]

BANDS = ((3900.0, 4823.0), (5028.0, 5868.0))
"""Å; B and V as boxes of the width (FWHM) of Bessell (2005), cut where spectrographs begin."""
LETTERS = "OBAFGKM"
COLOURS = (
    (1.0, -0.307),
    (1.5, -0.156),
    (1.8, -0.109),
    (2.0, 0.0),
    (2.5, 0.160),
    (3.0, 0.294),
    (3.5, 0.438),
    (3.8, 0.530),
    (3.9, 0.552),
    (4.0, 0.588),
    (4.2, 0.650),
    (4.5, 0.680),
    (4.8, 0.737),
    (5.0, 0.816),
    (5.1, 0.847),
    (5.3, 0.990),
    (5.5, 1.150),
    (5.7, 1.338),
    (6.0, 1.431),
    (6.5, 1.660),
)
"""(type, B - V) of dwarfs; Pecaut & Mamajek (2013), table 5."""


@dataclass(frozen=True)
class Draws:
    """One template file: vectors on the family's grid, and coefficients of real stars."""

    name: str
    vectors: Array
    """(K, pixel)"""
    rows: Array
    """(N, K)"""


def learn_stars(entry: Mapping[str, Any], folder: Path, real: Sequence[Labelled]) -> Family:
    """All types in one family; the groups are those of the recipe."""
    wave = _grid(entry)
    draws = [_read(source, folder, wave, entry["most"]) for source in entry["sources"]]
    level = (wave >= entry["level"][0]) & (wave <= entry["level"][1])
    vectors, bank, groups, lost = _compress(draws, level, entry["vectors"])
    log.info("star: %d vectors, residual %.4f of the flux", len(vectors), lost)
    zero = entry["zero_point"] if "zero_point" in entry else _zero_point(real)
    types = _types(wave, bank @ vectors, zero)
    scale = torch.from_numpy(bank)
    return Family(
        name="star",
        start=float(np.log10(wave[0])),
        step=entry["step"],
        vectors=torch.from_numpy(vectors).float(),
        bank=scale.float(),
        kernel=kernels(scale, groups, len(draws)).float(),
        facts={"group": groups.astype(np.float32), "type": types.astype(np.float32)},
        groups=tuple(one.name for one in draws),
    )


def _grid(entry: Mapping[str, Any]) -> Array:
    """(pixel,) Å, even in log10."""
    first, last = np.log10(entry["wave"])
    made: Array = 10 ** np.arange(first, last, entry["step"])
    return made


def _read(source: Mapping[str, Any], folder: Path, wave: Array, most: int) -> Draws:
    """Vectors and coefficients of one file; where it has no coefficients, mixtures of pairs."""
    with open_fits(folder / source["file"]) as handle:
        header = handle.header("BASIS_VECTORS")
        flux = handle.image("BASIS_VECTORS").astype(np.float64)
        old = header["CRVAL1"] + header["CDELT1"] * np.arange(flux.shape[1])
        listed = handle.has("ARCHETYPE_COEFF")
        rows = handle.image("ARCHETYPE_COEFF").astype(np.float64) if listed else _pairs(len(flux))
    keep = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
    return Draws(source["name"], _means(old, flux, wave), rows[keep])


def _pairs(count: int) -> Array:
    """Weights of mixtures of each two of ``count`` spectra, in steps of a tenth."""
    rows = []
    for a in range(count):
        for b in range(a + 1, count):
            for share in np.linspace(0, 1, 11):
                row = np.zeros(count)
                row[a], row[b] = 1 - share, share
                rows.append(row)
    return np.array(rows)


def _means(old: Array, flux: Array, wave: Array) -> Array:
    """(K, pixel) mean flux density in each pixel of ``wave``: the integral is conserved."""
    width = old[1] - old[0]
    edges = np.append(old - width / 2, old[-1] + width / 2)
    total = np.pad(np.cumsum(flux, axis=1) * width, ((0, 0), (1, 0)))
    log = np.log(wave)
    half = 0.5 * (log[1] - log[0])
    pixels = np.exp(np.append(log - half, log[-1] + half))
    made = [np.diff(np.interp(pixels, edges, row)) / np.diff(pixels) for row in total]
    return np.array(made)


def _compress(
    draws: Sequence[Draws], level: NDArray[np.bool_], size: int
) -> tuple[Array, Array, NDArray[np.int64], float]:
    """Leading vectors of all stars together, (N, size) rows of mean flux 1, groups, and the loss.

    Each file counts the same, however many rows it has.
    """
    basis, _ = np.linalg.qr(np.vstack([one.vectors for one in draws]).T)  # (pixel, all K)
    parts, groups, weights = [], [], []
    for number, one in enumerate(draws):
        spectra_level = one.rows @ one.vectors[:, level].mean(1)
        good = spectra_level > 0.05 * np.abs(spectra_level).max()
        rows = one.rows[good] / spectra_level[good, None]
        parts.append(rows @ (one.vectors @ basis))
        groups.append(np.full(len(rows), number))
        weights.append(np.full(len(rows), len(rows) ** -0.5))
    rows, weight = np.vstack(parts), np.concatenate(weights)
    _, _, axes = np.linalg.svd(rows * weight[:, None], full_matrices=False)
    kept = rows @ axes[:size].T
    lost = np.linalg.norm(rows - kept @ axes[:size], axis=1) / np.linalg.norm(rows, axis=1)
    return axes[:size] @ basis.T, kept, np.concatenate(groups), float(np.median(lost))


def _colour(wave: Array, flux: Array) -> Array:
    """(n,) -2.5 log10 of the photons in B over those in V; no zero point."""
    blue, red = (
        (flux[:, at] * wave[at]).mean(1) for at in ((wave > lo) & (wave < hi) for lo, hi in BANDS)
    )
    made: Array = -2.5 * np.log10(np.clip(blue, 1e-6, None) / np.clip(red, 1e-6, None))
    return made


def _types(wave: Array, flux: Array, zero: float) -> Array:
    """(n,) types as numbers."""
    kinds, colours = np.array(COLOURS).T
    return np.asarray(np.interp(_colour(wave, flux) + zero, colours, kinds))


def number_of(subclass: str) -> float:
    """Type as a number, from text as ``K3`` or ``F3/F5V (30743)``; NaN where it has none.

    >>> number_of("K3"), number_of("WD")
    (5.3, nan)
    """
    if len(subclass) < 2 or subclass[0] not in LETTERS or not subclass[1].isdigit():
        return float("nan")
    return round(LETTERS.index(subclass[0]) + int(subclass[1]) / 10, 1)


def _zero_point(real: Sequence[Labelled]) -> float:
    """What makes the colours of labelled stars those of their types: the median difference."""
    kinds, colours = np.array(COLOURS).T
    found = []
    for one in real:
        kind = number_of(one.subclass)
        if not 1.9 < kind < 5.8:
            continue
        weight, weighted = one.sums.weight[0].numpy(), one.sums.weighted[0].numpy()
        wave = 10 ** (1e-4 * (one.sums.window.start + np.arange(len(weight))))
        seen = weight > 0
        flux: Array = (weighted[seen] / weight[seen]).astype(np.float64)[None]
        found.append(
            np.interp(kind, kinds, colours) - _colour(wave[seen].astype(np.float64), flux)[0]
        )
    log.info("zero point of B - V from %d stars, scatter %.3f", len(found), np.std(found))
    return float(np.median(found))
