"""Limits of redshift: of a survey, or as a user wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from zspec.errors import ConfigError, unknown
from zspec.likelihood.basis import Basis


def limited(bases: Sequence[Basis], z_range: Mapping[str, tuple[float, float]]) -> list[Basis]:
    """Bases cut to limits by name or spectype; those without any redshift left are dropped.

    Raises ConfigError for an unknown name, and where a name loses all of its bases.
    """
    known = {basis.name for basis in bases} | {basis.spectype for basis in bases}
    for name in z_range:
        if name not in known:
            raise ConfigError(unknown("class", name, known))
    kept = [cut for basis in bases if (cut := _cut(basis, z_range)) is not None]
    left = {basis.name for basis in kept} | {basis.spectype for basis in kept}
    for name in sorted(set(z_range) - left):
        low, high = z_range[name]
        raise ConfigError(f"no redshift of {name} lies between {low:g} and {high:g}")
    return kept


def _cut(basis: Basis, z_range: Mapping[str, tuple[float, float]]) -> Basis | None:
    """One basis within its limits; itself where they change nothing, None where none is left."""
    limit = z_range.get(basis.name, z_range.get(basis.spectype))
    if limit is None:
        return basis
    low, high = max(basis.z_range[0], limit[0]), min(basis.z_range[1], limit[1])
    if not low < high:
        return None
    if (low, high) == basis.z_range:
        return basis
    return dataclasses.replace(basis, z_range=(low, high))
