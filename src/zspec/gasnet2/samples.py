"""Labelled spectra as the networks take them: normalised flux, class, redshift, object.

Flux is resampled to 5001 linear pixels. Bad pixels in short gaps are bridged by a straight line: a
survey's mask, which differs from survey to survey and from mock to mock, is then nothing that a
network can learn from. Longer gaps, and what lies outside of the arms, are 0. The paper reads the
flux as it stands, masks ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.batch import SpectrumBatch
from zspec.gasnet2.network import PIXELS, normalise
from zspec.gasnet2.recipe import Recipe
from zspec.grid import WaveGrid
from zspec.survey import Spectra

GRID = WaveGrid.linear(4000, 1, PIXELS)
"""Å, vacuum; P1, section 2.1."""
GAP = 50
"""Longest run of bad pixels, in Å, that a straight line bridges."""
SAME_PLACE = 2.0 / 206265
"""Radians: spectra within 2 arcsec, a fibre's size, are of one object."""

APART = 1_000_003
"""Added to the seed for a second draw by the same keys."""


@dataclass(frozen=True)
class Samples:
    """n labelled spectra."""

    flux: torch.Tensor
    """(n, wave) float32, normalised as the recipe says."""
    label: torch.Tensor
    """(n,) int64 number of the class."""
    z: torch.Tensor
    """(n,) float32, as labelled: not clipped."""
    key: NDArray[np.int64]
    """(n,) TARGETID; of an object with several, see :func:`objects`."""
    place: NDArray[np.float64]
    """(n, 2) RA and DEC in degrees, NaN where unknown."""

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.label)

    def __getitem__(self, rows: NDArray[np.intp]) -> Samples:
        """Some of the spectra."""
        at = torch.from_numpy(rows)
        tensors = (self.flux[at], self.label[at], self.z[at])
        return Samples(*tensors, self.key[rows], self.place[rows])

    def of(self, number: int) -> Samples:
        """Those of one class with a known redshift."""
        return self[np.flatnonzero(((self.label == number) & self.z.isfinite()).numpy())]


def join(parts: Sequence[Samples]) -> Samples:
    """All parts, one after the other; at least one is needed."""
    return Samples(
        torch.cat([part.flux for part in parts]),
        torch.cat([part.label for part in parts]),
        torch.cat([part.z for part in parts]),
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def inputs(batch: SpectrumBatch, scale: str) -> torch.Tensor:
    """(n, wave) float32 what the networks see: bridged, and normalised by Eq. 2."""
    flux = torch.from_numpy(bridge(batch.flux, batch.good))
    return normalise(flux, "rms" if scale == "rms" else "unit")


def bridge(flux: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Flux (n, wave) with gaps of at most ``GAP`` pixels between good ones filled by a line."""
    filled = flux.copy()
    pixel = np.arange(flux.shape[1])
    for row in np.flatnonzero(~good.all(axis=1)):
        known = np.flatnonzero(good[row])
        if len(known) < 2:
            continue
        left = np.searchsorted(known, pixel, side="right") - 1  # last good pixel at or before
        inside = ~good[row] & (left >= 0) & (left < len(known) - 1)
        gap = inside.copy()
        gap[inside] = np.diff(known)[left[inside]] <= GAP + 1
        filled[row, gap] = np.interp(pixel[gap], known, flux[row, known])
    return filled


def from_spectra(spectra: Spectra, recipe: Recipe, min_snr: float = 0.0) -> Samples:
    """The spectra of known class that have data; ``min_snr`` as the file states it."""
    truth = spectra.truth
    n = len(spectra)
    if truth is None or n == 0:
        return _empty()
    labels = np.full(n, "") if truth.label is None else truth.label
    number = np.array(recipe.classify(labels.tolist(), truth.spectype.tolist()), np.int64)
    wanted = number >= 0
    if min_snr and spectra.snr is not None:
        wanted &= ~(spectra.snr < min_snr)
    batch = SpectrumBatch.from_spectra(spectra, GRID)
    rows = np.flatnonzero(wanted & batch.good.any(axis=1))
    nowhere = np.full(n, np.nan)
    place = np.stack([spectra.table.get(name, nowhere) for name in ("RA", "DEC")], axis=1)
    made = Samples(
        inputs(batch, recipe.network.scale),
        torch.from_numpy(number),
        torch.from_numpy(truth.z.astype(np.float32)),
        spectra.ids,
        place.astype(np.float64),
    )
    return made[rows]


def _empty() -> Samples:
    none = torch.zeros(0)
    return Samples(none.view(0, PIXELS), none.long(), none, np.zeros(0, np.int64), np.zeros((0, 2)))


def objects(samples: Samples) -> NDArray[np.int64]:
    """(n,) smallest TARGETID of all spectra at one place, or the own one where that is unknown."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n, known = len(samples), np.flatnonzero(np.isfinite(samples.place).all(axis=1))
    ra, dec = np.deg2rad(samples.place[known]).T
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    pairs = known[cKDTree(vectors).query_pairs(SAME_PLACE, output_type="ndarray")]
    order = np.argsort(samples.key, kind="stable")
    same_id = order[:-1][np.diff(samples.key[order]) == 0]
    after = order[1:][np.diff(samples.key[order]) == 0]
    left = np.concatenate([pairs[:, 0], same_id])
    right = np.concatenate([pairs[:, 1], after])
    links = coo_array((np.ones(len(left)), (left, right)), shape=(n, n))
    count, component = connected_components(links, directed=False)
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, component, samples.key)
    found: NDArray[np.int64] = smallest[component]
    return found


def draw(key: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """(n,) uniform in [0, 1), decided by the key and the seed alone (SplitMix64's mixing).

    So an object falls into the same set whatever other files are read with it.
    """
    with np.errstate(over="ignore"):
        x = key.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def limit(samples: Samples, per_class: int, seed: int) -> Samples:
    """At most ``per_class`` spectra of each class, chosen at random by their object."""
    chance = draw(samples.key, seed + APART)  # else those that are kept would all be in one set
    label = samples.label.numpy()
    kept = []
    for number in np.unique(label):
        rows = np.flatnonzero(label == number)
        kept.append(rows[np.argsort(chance[rows], kind="stable")[:per_class]])
    return samples[np.sort(np.concatenate(kept))] if kept else samples


def contaminate(samples: Samples, share: float, classes: int, seed: int) -> Samples:
    """The same spectra, of which ``share`` got the label of another class (P1, App. A)."""
    generator = np.random.default_rng([seed, len(samples)])
    number = round(share * len(samples))
    rows = generator.permutation(len(samples))[:number]
    label = samples.label.clone()
    shift = torch.from_numpy(generator.integers(1, classes, number))
    label[rows] = (label[rows] + shift) % classes
    return replace(samples, label=label)
