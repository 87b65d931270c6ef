"""What a simulator of an instrument is: noise-free objects in, spectra as its files hold them out.

A survey's folder ``simulation`` holds ``instrument.toml``. Its key ``kind`` names one of ``KINDS``,
and the class behind it reads the rest. A kind is all that the command, the stream and the writers
know of an instrument:

    instrument = read_instrument(survey.simulation / "instrument.toml", {"artefacts.blank": "0.1"})
    objects = draw(population, 256, seed, instrument.wave, device)
    observed = instrument.observe(objects, [seed, block])
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.settings import load
from zspec.simulate.settings import override
from zspec.survey import Spectra

if TYPE_CHECKING:
    import torch

    from zspec.simulate.objects import Objects

KINDS: Mapping[str, str] = {
    "fibre": "zspec.simulate.fibre:Fibre",
    "slitless": "zspec.simulate.slitless:Slitless",
}
"""Kind of an instrument: module and class."""


@dataclass(frozen=True)
class Observed:
    """n objects as the survey's files would hold them."""

    spectra: Spectra
    """Native arms in the adapter's own names and pixels, in order; Truth with ``label``. Where an
    object was not on its fibre the truth is empty and z is NaN. ``ids`` and ``rows`` are those of
    the block; whoever asked for it numbers them anew."""
    truth: Mapping[str, NDArray[Any]]
    """(n,) columns of the truth table: those of the objects and what the instrument did to them,
    with ARTEFACT (bits; 0 is clean) and SNR (of the noise-free flux) always."""
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """(n, ...) images by name, for ``--image``; empty for instruments without."""
    clean: tuple[NDArray[np.float32], ...] = ()
    """(n, pixel) noise-free flux of each arm, for those who draw noise afresh; may be empty."""


class Instrument(Protocol):
    """One survey's telescope, spectrograph, sky and pipeline."""

    @property
    def wave(self) -> torch.Tensor:
        """(wave,) float64 Å, vacuum, evenly spaced in ln λ: where it wants objects."""

    def observe(self, objects: Objects, seed: Sequence[int]) -> Observed:
        """Observe all objects, on the device that they are on.

        ``seed`` decides all of it together with the number of objects.
        """


def read_instrument(path: Path, settings: Mapping[str, str] | None = None) -> Instrument:
    """The instrument of a TOML file, with ``settings`` as ``artefacts.cosmics`` to ``"0.1"``.

    Raises ConfigError for a file that is no TOML, an unknown kind or key, or a value out of range.
    """
    config = load(path)
    config.pop("files", None)  # for ``zspec.simulate.files``
    kind = str(config.pop("kind", ""))
    if kind not in KINDS:
        raise ConfigError(f"{path}: {unknown('kind of instrument', kind, KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    made: Instrument = getattr(importlib.import_module(module), name).from_config(
        override(config, settings or {}), str(path)
    )
    return made


def kind_of(path: Path) -> str:
    """The kind of the instrument of a TOML file. Raises ConfigError for a file that is no TOML."""
    return str(load(path).get("kind", ""))
