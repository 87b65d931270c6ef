"""Mock spectra of several surveys on one grid, in 16 bits, to be seen many times over.

A spectrum is simulated once and seen several times with other noise; see ``augment``. The sources
of the training set are learned from published templates alone, so that no real spectrum is in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zspec import checkpoint, plugins
from zspec.batch import SpectrumBatch
from zspec.grid import WaveGrid
from zspec.proposal import provenance
from zspec.proposal.model import ProposalModel
from zspec.proposal.recipe import DataSettings, Recipe, SurveyEntry
from zspec.proposal.targets import BLANK
from zspec.simulate.simulator import Simulator, simulator
from zspec.simulate.supply import pieces
from zspec.survey import Spectra

log = logging.getLogger("zspec")

TOGETHER = 256
"""Spectra that are simulated and resampled at once."""
LARGEST = 6e4
"""What 16 bits hold; a pixel with a larger error is bad."""


@dataclass(frozen=True)
class Samples:
    """n labelled spectra."""

    flux: Tensor
    """(n, wave) float16 in units of the spectrum's root mean square; 0 where not good."""
    error: Tensor
    """(n, wave) float16: 1 sigma; 0 where not good."""
    label: Tensor
    """(n,) int64 number of the class, or ``BLANK``."""
    ln_z: Tensor
    """(n,) float64 true ln(1 + z); NaN for a blank fibre."""
    survey: Tensor
    """(n,) int64 number of the survey in the recipe."""
    snr: Tensor
    """(n,) float32 of the noise-free flux, as the simulator states it."""

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.label)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def join(parts: Sequence[Samples]) -> Samples:
    """Several sets below each other."""
    every = [part.tensors() for part in parts]
    return Samples(**{name: torch.cat([one[name] for one in every]) for name in every[0]})


def prepare(recipe: Recipe, data: Path, kept: Path) -> tuple[Samples, Samples]:
    """The training and the validation set of a recipe, from the folder ``kept`` where they are.

    Raises ConfigError for a survey that cannot be simulated.
    """
    sets = []
    for split in ("train", "valid"):
        path = kept / f"{split}.safetensors"
        sources = _sources(recipe, data, kept) if split == "train" else None
        identity = _identity(recipe, split, sources)
        found = _stored(path, identity)
        if found is None:
            found = simulate(recipe, split, sources)
            checkpoint.save(path, found.tensors(), {"holds": "samples", "of": identity})
        sets.append(found)
    return sets[0], sets[1]


def _sources(recipe: Recipe, data: Path, kept: Path) -> Path | None:
    """The file of the sources of the training set; None: those that ship."""
    from zspec.training import find_recipe, train

    if recipe.data.sources == "shipped":
        return None
    path, given = kept / "sources.safetensors", find_recipe(recipe.data.sources)
    identity = provenance.identity(given, data)
    if not provenance.holds(path, identity):
        train(given, data, path, overwrite=True)
        provenance.mark(path, identity)
    return path


def _identity(recipe: Recipe, split: str, sources: Path | None) -> str:
    """Hash of all that decides a set."""
    shipped = checkpoint.shipped()["sources"]
    digest = hashlib.sha256((sources or shipped).read_bytes())
    digest.update(repr((recipe.seed, recipe.grid, recipe.data, split)).encode())
    return digest.hexdigest()


def _stored(path: Path, identity: str) -> Samples | None:
    """What was simulated before, if it is the same."""
    if not provenance.holds(path, identity):
        return None
    return Samples(**checkpoint.load(path)[0])


def simulate(recipe: Recipe, split: str, sources: Path | None) -> Samples:
    """Mock spectra of all surveys, in a random order; flat in class, redshift and magnitude."""
    parts: list[Samples] = []
    for number, entry in enumerate(recipe.data.survey):
        seed = 1000 * recipe.seed + 2 * number + (split == "valid")  # no two sets alike
        parts += _survey(number, entry, recipe, split, seed, sources)
        log.info(
            "%d mock spectra of %s for %s, seed %d", _count(entry, split), entry.name, split, seed
        )
    made = join(parts)
    order = torch.randperm(len(made), generator=torch.Generator().manual_seed(recipe.seed))
    return Samples(**{name: values[order] for name, values in made.tensors().items()})


def _count(entry: SurveyEntry, split: str) -> int:
    """Spectra of a survey in one of the sets."""
    return entry.train if split == "train" else entry.valid


def _survey(
    number: int, entry: SurveyEntry, recipe: Recipe, split: str, seed: int, sources: Path | None
) -> Iterator[Samples]:
    """The spectra of one survey."""
    settings = {k: str(v) for k, v in entry.settings.items()} if split == "train" else None
    source = simulator(
        plugins.survey(entry.name), seed, settings=settings, flat=True, split=split, sources=sources
    )
    grid = recipe.grid.grid()
    left = _count(entry, split)
    for piece in _pieces(source, grid, number, recipe.data):
        yield Samples(**{name: values[:left] for name, values in piece.tensors().items()})
        left -= len(piece)
        if left <= 0:
            return


def _pieces(
    source: Simulator, grid: WaveGrid, number: int, settings: DataSettings
) -> Iterator[Samples]:
    """Spectra without end; those without a good pixel are left out."""
    for observed in pieces(source, TOGETHER):
        spectra = source.survey.masked(observed.spectra)
        wanted = np.ones(len(spectra), bool)
        if not settings.artefacts:
            wanted = observed.truth["ARTEFACT"] == 0
        assert spectra.truth is not None  # simulated spectra have one
        known = (spectra.truth.spectype, spectra.truth.z, observed.truth["SNR"])
        yield told(spectra, *known, grid, number, wanted)


def told(
    spectra: Spectra,
    spectype: NDArray[np.str_],
    z: NDArray[np.floating],
    snr: NDArray[np.floating],
    grid: WaveGrid,
    number: int,
    wanted: NDArray[np.bool_],
) -> Samples:
    """The ``wanted`` ones of n spectra whose class and redshift are known, on the grid.

    Those without a good pixel are left out; what is no class of the network is a blank fibre.
    """
    batch = SpectrumBatch.from_spectra(spectra, grid)
    good = batch.good & (batch.error < LARGEST)
    use = good.any(axis=1) & wanted
    names = list(ProposalModel.classes)
    kind = [names.index(k) if k in names else BLANK for k in spectype]
    return Samples(
        flux=_half(np.where(good, batch.flux, 0)[use]),
        error=_half(np.where(good, batch.error, 0)[use]),
        label=torch.tensor(kind)[torch.from_numpy(use)],
        ln_z=torch.from_numpy(np.log1p(z[use].astype(np.float64))),
        survey=torch.full((int(use.sum()),), number),
        snr=torch.from_numpy(snr[use].astype(np.float32)),
    )


def _half(values: Any) -> Tensor:
    """(n, wave) in 16 bits; an error too small for them becomes the smallest that they hold."""
    tiny = 6e-8
    safe = np.where((values > 0) & (values < tiny), tiny, np.clip(values, -LARGEST, LARGEST))
    return torch.from_numpy(safe.astype(np.float16))
