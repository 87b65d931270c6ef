"""Other people's templates as bases: what ``zspec predict --templates DIR`` fits.

A folder of ``rrtemplate-*.fits`` as redrock reads it: DESI's own, or a user's. What the files do
not say is stated here:

- the prior on the mixture of vectors: that of the coefficients of real objects where the file lists
  them (ARCHETYPE_COEFF), as for zspec's own bases. Else the first vector is taken for the mean
  spectrum, the others, made orthogonal, for deviations of its own size; non-negative factorisations
  (RRMETHOD NMF) are fitted like principal components, so that coefficients may be negative;
- the range of redshifts, where there is no HDU REDSHIFTS: redrock's own;
- the forest (card RRIGM, or the version; none for galaxies without either): its mean transmission
  varies with redshift, so that a template without a forest becomes a basis for each slice of
  redshifts that can see it;
- the LSF: vectors on log λ in steps of 1e-4 were made from SDSS spectra and have theirs, one pixel;
  those linear in λ are taken for sharp.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.errors import InputError
from zspec.likelihood import forest
from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.learn import Coefficients, canonical
from zspec.likelihood.sources import level_mask
from zspec.likelihood.templates import Template, read_template

Array = NDArray[np.float64]

RANGES: Mapping[str, tuple[float, float]] = {
    "GALAXY": (-0.005, 1.7),
    "QSO": (0.05, 6.0),
    "STAR": (-0.002, 0.002),
}
"""Redshifts where the file does not list them (redrock)."""
LEVELS: Mapping[str, tuple[float, float]] = {
    "GALAXY": (3600, 6000),
    "QSO": (1700, 3000),
    "STAR": (4000, 8000),
}
"""Å, rest frame: where the mean flux is the amplitude of a draw."""
LOOSE = 3.0
"""Size of deviations over that of the mean where a file lists no coefficients: nothing is known."""
GOOD: Mapping[str, float] = {"GALAXY": 0.0015, "QSO": 0.015, "STAR": 0.0015}
"""|dz|/(1+z) of a good redshift (GaSNet-II, Eq. 10)."""
MODEL_ERROR = 0.03
"""What is taken for the error of such a model: that of the shipped bases is 0.026."""
BLUE = 3200.0
"""Å, observed: where no spectrum begins bluer, redshifts whose Lyα lies there see no forest."""
SLICE = 0.1
"""Width of a slice in ln(1 + z): optical depths change by 17 % to its ends (B = 3.2)."""


def read_folder(folder: Path) -> list[Basis]:
    """The bases of all templates of a folder, in the order of their names.

    Raises InputError where there is none, or one is no template, or its forest is not known.
    """
    paths = sorted(folder.glob("rrtemplate-*.fits"))
    if not paths:
        raise InputError(f"{folder}: holds no template (rrtemplate-*.fits)")
    families = [list(_bases(path)) for path in paths]
    return [_shared(basis, families) for family in families for basis in family]


def digest(folder: Path) -> str:
    """SHA-256 of the names and bytes of a folder's templates: what a catalogue knows them by."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("rrtemplate-*.fits")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def versions(folder: Path) -> tuple[str, ...]:
    """Name and version (card VERSION) of each template of a folder, for people to read."""
    paths = sorted(folder.glob("rrtemplate-*.fits"))
    return tuple(f"{path.name} {read_template(path).version}".strip() for path in paths)


def _shared(basis: Basis, families: list[list[Basis]]) -> Basis:
    """The basis with the density that undoes that slices share the prior of their spectype."""
    mine = [family for family in families if family[0].spectype == basis.spectype]
    weight = math.log10(sum(map(len, mine)) / len(mine))
    return dataclasses.replace(basis, density=((0.0, weight),)) if weight else basis


def _bases(path: Path) -> Iterator[Basis]:
    """One basis of a file, or one for each slice of redshifts in which its forest differs."""
    template = read_template(path)
    if template.spectype not in RANGES:
        raise InputError(f"{path}: RRTYPE is {template.spectype!r}, none of {', '.join(RANGES)}")
    vectors, mean, spread = _shape(template)
    low, high = template.z_range or RANGES[template.spectype]
    name = f"{template.spectype}_{template.subtype}" if template.subtype else template.spectype
    whole = Basis(
        name=name,
        spectype=template.spectype,
        subtype=template.subtype,
        k0=template.k0,
        vectors=vectors,
        mean=mean,
        spread=spread,
        z_range=(low, high),
        good_dz=GOOD[template.spectype],
        lsf=1.0 if template.logarithmic else 0.0,
    )
    model = _model(template, path)
    seen = math.log(BLUE / forest.LYA)
    if model == "None" or math.log1p(high) <= seen:
        yield whole
        return
    start = max(math.log1p(low), seen)
    edges = np.expm1(np.linspace(start, math.log1p(high), _count(math.log1p(high) - start) + 1))
    if low < edges[0]:
        yield dataclasses.replace(whole, z_range=(low, float(edges[0])))
    for first, last in itertools.pairwise(edges.tolist()):
        yield _absorbed(whole, model, first, last)


def _count(width: float) -> int:
    """Number of slices."""
    return max(1, math.ceil(width / SLICE))


def _absorbed(basis: Basis, model: str, low: float, high: float) -> Basis:
    """The basis between two redshifts, with the mean forest half-way between them."""
    middle = math.sqrt((1 + low) * (1 + high)) - 1
    wave: Array = 10 ** ((basis.k0 + np.arange(basis.vectors.shape[1], dtype=np.float64)) * STEP)
    through = forest.transmission(model, wave, middle)
    return dataclasses.replace(
        basis,
        name=f"{basis.name}_Z{middle:.2f}",
        vectors=basis.vectors * through,
        z_range=(low, high),
        forest="included",
    )


def _model(template: Template, path: Path) -> str:
    """The forest that a template lacks, or "None". Raises InputError where that is not known."""
    if template.spectype == "STAR":
        return "None"
    given = template.igm or forest.BY_VERSION.get((template.spectype, template.version), "")
    if given in forest.MODELS or given.lower() == "none":
        return given if given in forest.MODELS else "None"
    _, high = template.z_range or RANGES[template.spectype]
    if not given and template.spectype == "GALAXY" and high < RANGES["GALAXY"][1] + 0.1:
        return "None"  # redrock's first galaxies, which end where the forest begins
    if math.log1p(high) <= math.log(BLUE / forest.LYA):
        return "None"  # whatever it is, no redshift sees it
    known = ", ".join([*forest.MODELS, "None"])
    raise InputError(f"{path}: RRIGM is {given or 'missing'!r}; known: {known}")


def _shape(template: Template) -> tuple[Array, Array, Array]:
    """Vectors, mean and spread as :mod:`zspec.likelihood.basis` defines them."""
    vectors, size = template.vectors, len(template.vectors)
    if template.coefficients is not None and len(template.coefficients) > size:
        values = torch.from_numpy(template.coefficients)
        draws = Coefficients(values, values.mean(0), torch.cov(values.T))
        span = (template.k0, template.k0 + vectors.shape[1])
        level = level_mask(LEVELS[template.spectype], span)
        return canonical(torch.from_numpy(vectors), draws, level)
    first = vectors[0] * (1 if vectors[0].sum() >= 0 else -1)
    ortho = np.linalg.qr(np.vstack([first, vectors[1:]]).T)[0].T
    turned = LOOSE * ortho * np.linalg.norm(first)
    turned[0] = first
    return turned, np.eye(size)[0], np.diag([0.0] + [1.0] * (size - 1))
