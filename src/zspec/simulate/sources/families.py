"""What ships of the sources: three families of rest-frame spectra and real draws of each.

A family is a basis on an even grid in log10 λ (vacuum, rest frame) and a bank: the coefficients of
real spectra. An object of it is one row of the bank, moved a little by a kernel; which row is its
SED, so that sets can be split by source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError

LIGHT = 299792.458
"""Speed of light in km/s (exact, SI)."""
SPLITS = ("train", "valid", "test")
"""Names of the parts that sources are divided into."""
SHARES = (0.8, 0.1, 0.1)
"""How large they are: 8:1:1."""


@dataclass(frozen=True, eq=False)
class Family:
    """K vectors of one kind of object, and N real objects as mixtures of them."""

    name: str
    """galaxy, quasar or star."""
    start: float
    """log10 of the first pixel's wavelength in Å."""
    step: float
    """Step of the grid in log10 λ."""
    vectors: torch.Tensor
    """(K, pixel) float32 flux density per Å, vacuum, rest frame."""
    bank: torch.Tensor
    """(N, K) float32 coefficients of real spectra; each has mean flux 1 in the family's level."""
    kernel: torch.Tensor
    """(groups, K, K) float32: a standard normal vector times this is added to a row of the bank."""
    facts: Mapping[str, NDArray[np.float32]]
    """(N,) what else is known of each row, by name; ``group`` always."""
    groups: tuple[str, ...]
    """What the numbers in ``group`` mean: the sample that a row comes from."""

    @cached_property
    def wave(self) -> torch.Tensor:
        """(pixel,) float64 Å."""
        index = torch.arange(self.vectors.shape[1], dtype=torch.float64)
        return 10 ** (self.start + self.step * index)

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """(N,) group of each row, as a whole number."""
        return self.facts["group"].astype(np.int64)

    @cached_property
    def seds(self) -> NDArray[np.str_]:
        """(N,) name of each row, as ``star/G/123``: family, sample and number in the sample."""
        count = dict.fromkeys(range(len(self.groups)), 0)
        names = []
        for group in self.members.tolist():
            names.append(f"{self.name}/{self.groups[group]}/{count[group]}")
            count[group] += 1
        return np.array(names)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is stored: vectors in 16 bits after scaling, all else in 32."""
        scale = self.vectors.abs().amax(1, keepdim=True)
        stored = {"vectors": (self.vectors / scale).half(), "scale": scale}
        stored |= {"bank": self.bank, "kernel": self.kernel}
        stored |= {f"facts.{k}": torch.from_numpy(v) for k, v in self.facts.items()}
        return {f"{self.name}.{key}": value for key, value in stored.items()}

    def header(self) -> dict[str, Any]:
        """What is stored as text."""
        return {"start": self.start, "step": self.step, "groups": list(self.groups)}


def restore(name: str, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Family:
    """The family that ``header`` and ``tensors`` were made of. KeyError where something lacks."""
    facts = f"{name}.facts."
    return Family(
        name=name,
        start=float(header["start"]),
        step=float(header["step"]),
        vectors=tensors[f"{name}.vectors"].float() * tensors[f"{name}.scale"],
        bank=tensors[f"{name}.bank"],
        kernel=tensors[f"{name}.kernel"],
        facts={k[len(facts) :]: v.numpy() for k, v in tensors.items() if k.startswith(facts)},
        groups=tuple(header["groups"]),
    )


@lru_cache(maxsize=4)
def load(path: Path | None = None) -> Mapping[str, Family]:
    """The families of a file, by name; None: those that ship. Raises ConfigError."""
    path = path or checkpoint.shipped().get("sources")
    if path is None:
        raise ConfigError("no sources: zspec train sources -o sources.safetensors makes them")
    tensors, meta = checkpoint.load(path)
    try:
        return {name: restore(name, meta[name], tensors) for name in ("galaxy", "quasar", "star")}
    except KeyError as error:
        raise ConfigError(f"{path}: holds no sources ({error} is missing)") from None


def part_of(sed: str) -> str:
    """train, valid or test: decided by the name of a source and nothing else."""
    share = int.from_bytes(hashlib.sha256(sed.encode()).digest()[:8], "big") / 2**64
    bounds = np.cumsum(SHARES)
    return SPLITS[min(int(np.searchsorted(bounds, share, side="right")), len(SPLITS) - 1)]
