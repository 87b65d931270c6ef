"""Spectra to train on, as tensors: noise-free or noisy flux, error, redshift.

Where the simulator gives the noise-free spectrum, each epoch sees fresh noise on it. Spectra of one
source (column SED) are never in two sets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zspec import plugins, sources
from zspec.batch import SpectrumBatch
from zspec.errors import ConfigError, InputError
from zspec.grid import WaveGrid
from zspec.simulate.simulator import simulator
from zspec.slitless.inputs import observe, scale, signal_to_noise
from zspec.slitless.recipe import DataSettings
from zspec.survey import Spectra

Split = Literal["train", "valid", "test"]
TENTHS: dict[int, Split] = {8: "valid", 9: "test"}
"""8:1:1 (P2, section 3.2); the other tenths are for training."""


@dataclass(frozen=True)
class Samples:
    """n labelled spectra on one grid."""

    clean: Tensor
    """(n, wave) float32: what fresh noise is added to; noisy where nothing else is known."""
    flux: Tensor
    """(n, wave) float32: as observed, in the same unit; 0 where not good."""
    error: Tensor
    """(n, wave) float32: 1 sigma; 0 where not good."""
    z: Tensor
    """(n,) float64 true redshift."""

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.z)

    def to(self, device: str) -> Samples:
        """The same on a device."""
        return Samples(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))

    def observed(self) -> Tensor:
        """(n, 2, wave) channels of the spectra as they were observed."""
        return scale(self.flux, self.error)

    def fresh(self, rows: Tensor) -> Tensor:
        """(rows, 2, wave) channels with new noise."""
        rows = rows.to(self.error.device)
        error = self.error[rows]
        return scale(observe(self.clean[rows], error), error)

    def snr(self) -> Tensor:
        """(n,) as :func:`zspec.slitless.inputs.signal_to_noise` measures it."""
        return signal_to_noise(self.flux, self.error)


def sample(
    spectra: Spectra,
    grid: WaveGrid,
    clean: Sequence[NDArray[np.floating[Any]]] | None,
    keep: NDArray[np.bool_] | None = None,
) -> Samples:
    """Spectra with truth as samples; those without a redshift or a good pixel are left out.

    ``clean``: noise-free flux (n, pixel) of each arm, in the arms' unit; None: not known. ``keep``
    (n,): which to take; None: all. Raises InputError where spectra have no truth.
    """
    if spectra.truth is None:
        raise InputError("spectra to train on have no redshifts: their survey found no truth")
    batch = SpectrumBatch.from_spectra(spectra, grid)
    use = np.isfinite(spectra.truth.z) & batch.good.any(axis=1)
    if keep is not None:
        use &= keep
    flux, pure = batch.flux, batch.flux
    if clean is not None:
        arms = [
            dataclasses.replace(arm, flux=np.asarray(pixels, np.float32))
            for arm, pixels in zip(spectra.arms, clean, strict=True)
        ]
        noise_free = SpectrumBatch.from_spectra(
            dataclasses.replace(spectra, arms=tuple(arms)), grid
        )
        pure = noise_free.flux * (noise_free.scale / batch.scale)[:, None]
    z = torch.from_numpy(spectra.truth.z[use].astype(np.float64))
    light, observed, error = (torch.from_numpy(a[use]) for a in (pure, flux, batch.error))
    return Samples(light, observed, error, z)


def join(parts: Iterable[Samples], count: int) -> Samples:
    """The first ``count`` spectra of several parts, as many parts as that takes.

    Raises InputError where there are none.
    """
    found: list[Samples] = []
    size = 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size >= count:
            break
    if not size:
        raise InputError("no labelled spectrum to train on")
    names = [f.name for f in dataclasses.fields(Samples)]
    return Samples(*(torch.cat([getattr(p, name) for p in found])[:count] for name in names))


def read(
    patterns: Sequence[str], folder: Path, survey: str, grid: WaveGrid, split: Split
) -> Iterator[Samples]:
    """Labelled spectra of files below a folder that belong to one set. Raises InputError."""
    for pattern in patterns:
        files = sorted(folder.glob(pattern))
        if not files:
            raise InputError(f"{folder / pattern}: no such file")
        for file in files:
            for spectra in sources.read(sources.Source(file, survey))[1]:
                inside = np.array([set_of(name) == split for name in names(spectra)], bool)
                if inside.any() and spectra.truth is not None:
                    z = np.where(inside, spectra.truth.z, np.nan)
                    truth = dataclasses.replace(spectra.truth, z=z)
                    yield sample(dataclasses.replace(spectra, truth=truth), grid, None)


def names(spectra: Spectra) -> list[str]:
    """Which source each spectrum is of: column SED where there is one, else TARGETID."""
    return [str(name) for name in spectra.table.get("SED", spectra.ids)]


def set_of(name: str) -> Split:
    """The set of a source, by SHA-256 of its name, so that it is the same in every run."""
    digest = hashlib.sha256(name.encode()).digest()
    return TENTHS.get(int.from_bytes(digest[:8], "big") % 10, "train")


def load(
    settings: DataSettings, folder: Path, grid: WaveGrid, seed: int
) -> tuple[Samples, Samples]:
    """The training and the validation set that a recipe asks for.

    Raises ConfigError for a survey that cannot simulate, and InputError where there is no spectrum.
    """
    wanted: tuple[tuple[Split, int], ...] = (("train", settings.train), ("valid", settings.valid))
    made = []
    for number, (split, count) in enumerate(wanted):
        if settings.files:
            parts = read(settings.files, folder, settings.survey, grid, split)
        else:
            parts = simulate(settings, grid, 2 * seed + number, split)
        made.append(join(parts, count))
    return made[0], made[1]


def simulate(settings: DataSettings, grid: WaveGrid, seed: int, split: Split) -> Iterator[Samples]:
    """Mock spectra of a survey without end; contaminated ones are left out.

    Training is flat in redshift and magnitude where the settings say so; validation never is, as
    calibration needs what the survey will see.
    """
    source = simulator(
        plugins.survey(settings.survey),
        seed,
        flat=settings.flat and split == "train",
        split=split,
    )
    for number in itertools.count():
        observed = source.block(number)
        clean = observed.clean if settings.noise == "clean" else None
        if settings.noise == "clean" and not clean:
            raise ConfigError(
                f'survey {settings.survey} simulates no noise-free spectra; set noise = "noisy"'
            )
        yield sample(observed.spectra, grid, clean, observed.truth["ARTEFACT"] == 0)
