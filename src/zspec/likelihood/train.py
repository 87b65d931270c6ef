"""From a recipe to a checkpoint of bases: ``zspec train likelihood``.

The recipe (``recipes/likelihood.toml``) names its sources: published template files, whose draws
fill wavelengths and types that few real spectra cover, and labelled real spectra. No published
vector is shipped: each basis is learned by weighted factorisation of all of its sources together.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zspec import checkpoint
from zspec.errors import ConfigError, unknown
from zspec.likelihood import labelled, validate
from zspec.likelihood.basis import STEP, Basis, blur
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.learn import Rows, canonical, factorise, observed, stack
from zspec.likelihood.mocks import mocks
from zspec.likelihood.pixels import Sums, gather, native
from zspec.likelihood.published import GOOD
from zspec.likelihood.sources import KINDS, level_mask, place
from zspec.likelihood.templates import read_template
from zspec.survey import Spectra

if TYPE_CHECKING:
    from zspec.estimators.likelihood import Likelihood

log = logging.getLogger("zspec")

SEAM = 20.0
"""Grid pixels over which one softening goes over into the other."""
LABELS = ("name", "spectype", "subtype", "good_dz", "lsf", "forest")
"""What a ``[[basis]]`` says of its basis as it stands."""


DEFAULTS: Mapping[str, Any] = {
    "subtype": "",
    "lsf": 1.0,
    "forest": "none",
    "iterations": 20,
    "sources": (),
}
"""What a ``[[basis]]`` need not say."""


@dataclass(frozen=True)
class Labelled:
    """One real spectrum with its label, for training."""

    key: str
    """The object: several spectra of one object share it, and are never split."""
    spectype: str
    subclass: str
    z: float
    sums: Sums
    """Of this one spectrum."""


def train(
    recipe: Mapping[str, Any],
    shared: Path,
    out: Path,
    exclude_objects: AbstractSet[str] = frozenset(),
) -> None:
    """Learn the bases of a recipe from files below ``shared``, and write the checkpoint ``out``.

    ``exclude_objects`` are left out of the training set (column ``object`` of the manifest): for
    cross-validation. Raises ConfigError for a recipe, and InputError for data, that make no sense.
    """
    from zspec.estimators.likelihood import Likelihood

    try:
        every = list(labelled.spectra(recipe, shared))
        lines = [
            (line, one)
            for line, one in every
            if line["label_ok"] == "1" and line["object"] not in exclude_objects
        ]
        real = [label(line, one) for line, one in lines]
        calibration = _calibration(recipe, shared, lines, every)
        bases = all_bases(recipe, shared, real)
    except KeyError as error:
        raise ConfigError(f"recipe: key {error} is missing") from None
    meta = {"recipe": dict(recipe), "seed": recipe["seed"], "surveys": recipe.get("surveys", [])}
    meta["figures"] = {"real_spectra": len(real), "real_objects": len({s.key for s in real})}
    Likelihood(bases, meta, calibration).save(out)
    log.info("%s: %d bases from %d real spectra", out, len(bases), len(real))


def _calibration(
    recipe: Mapping[str, Any],
    shared: Path,
    lines: Sequence[labelled.Line],
    every: Sequence[labelled.Line],
) -> Calibration:
    """Learned by cross-validation, or what the included checkpoint knows but for its ZCONF."""
    known = [validate.known(line, one) for line, one in lines]
    if recipe.get("calibrate", True) and known:
        real = [label(line, one) for line, one in lines]
        blanks = [validate.blank(line, one) for line, one in every if line["is_sky"] == "1"]
        return cross_validated(recipe, shared, known, real, blanks, mocks(recipe))
    for name in recipe.get("include", ()):
        return dataclasses.replace(_checkpoint(name, shared).calibration, confidence=())
    return Calibration()


def all_bases(recipe: Mapping[str, Any], shared: Path, spectra: Sequence[Labelled]) -> list[Basis]:
    """The bases of the checkpoints that a recipe includes, and those that it learns.

    A learned one takes the place of an included one of its name.
    """
    included = [b for name in recipe.get("include", ()) for b in _checkpoint(name, shared).bases]
    learned = learn_bases(recipe, shared / recipe.get("templates", ""), spectra)
    own = {basis.name for basis in learned}
    return [basis for basis in included if basis.name not in own] + learned


def _checkpoint(name: str, shared: Path) -> Likelihood:
    """A shipped model by its name, or a file below the data folder."""
    from zspec.estimators.likelihood import Likelihood

    below = shared / name
    return Likelihood.load(below if below.is_file() else checkpoint.find(name))


def cross_validated(
    recipe: Mapping[str, Any],
    shared: Path,
    known: Sequence[validate.Known],
    real: Sequence[Labelled],
    blanks: Sequence[validate.Known],
    simulated: Sequence[validate.Known] = (),
) -> Calibration:
    """The calibration of bases that were learned without the objects that they predict."""
    from zspec.estimators.likelihood import Likelihood

    fitters = []
    for fold in range(validate.FOLDS):
        kept = [one for one in real if validate.fold_of(one.key) != fold]
        fitters.append(Likelihood(all_bases(recipe, shared, kept)))
        log.info("fold %d of %d: bases from %d real spectra", fold, validate.FOLDS, len(kept))
    found = validate.calibrate(known, fitters, blanks, simulated)
    log.info("calibration: %s", found)
    return found


def label(line: Mapping[str, str], spectrum: Spectra) -> Labelled:
    """One spectrum with its line of the manifest, for training."""
    sums = gather(native(spectrum.arms))
    return Labelled(line["object"], line["class"], line["subclass"], float(line["z"]), sums)


def learn_bases(
    recipe: Mapping[str, Any], templates: Path, spectra: Sequence[Labelled]
) -> list[Basis]:
    """One basis for each ``[[basis]]`` of the recipe."""
    return [_learn_one(entry, recipe, templates, spectra) for entry in recipe.get("basis", ())]


def _learn_one(
    entry: Mapping[str, Any], recipe: Mapping[str, Any], templates: Path, every: Sequence[Labelled]
) -> Basis:
    """Collect the rows of one basis, and factorise them."""
    entry = {**DEFAULTS, "good_dz": GOOD.get(entry["spectype"], 0.0015), **entry}
    low, high = (round(np.log10(edge) / STEP) for edge in entry["wave"])
    real = [observed(s.sums, s.z, low, high - low) for s in every if belongs(s, entry)]
    rng = np.random.default_rng(recipe["seed"])
    published = [_published(s, entry, real, (low, high), templates, rng) for s in entry["sources"]]
    if not published and sum(map(len, real)) <= entry["vectors"]:
        raise ConfigError(_too_few(entry, len(real), every))
    rows = stack(real + published)
    learned, found = factorise(rows, entry["vectors"], entry["iterations"])
    learned = _soften(learned, low, entry.get("soften"))
    vectors, mean, spread = canonical(learned, found, level_mask(entry["level"], (low, high)))
    counts = (entry["name"], len(vectors), len(rows), len(real))
    log.info("%s: %d vectors from %d rows, %d of them real spectra", *counts)
    labels = {key: entry[key] for key in LABELS}
    limits = (float(entry["z_range"][0]), float(entry["z_range"][1]))
    density = tuple((float(z), float(log)) for z, log in entry.get("density", ()))
    labels |= {"z_range": limits, "density": density}
    return Basis(**labels, k0=low, vectors=vectors, mean=mean, spread=spread)


def _too_few(entry: Mapping[str, Any], count: int, every: Sequence[Labelled]) -> str:
    """What to say where a basis has no more spectra than vectors."""
    there = Counter(f"{s.spectype} {s.subclass}".strip() for s in every).most_common(8)
    names = ", ".join(f"{name} ({n})" for name, n in there) or "none"
    return (
        f"basis {entry['name']}: {count} spectra for {entry['vectors']} vectors; "
        f"labels at hand: {names}"
    )


def _published(
    source: Mapping[str, Any],
    entry: Mapping[str, Any],
    real: Sequence[Rows],
    span: tuple[int, int],
    templates: Path,
    rng: np.random.Generator,
) -> Rows:
    """The rows of one source of a basis."""
    if source["kind"] not in KINDS:
        raise ConfigError(unknown("kind of source", str(source["kind"]), KINDS))
    template = read_template(templates / source["file"])
    blurred = blur(template.vectors, source.get("blur", 0.0))
    template = dataclasses.replace(template, vectors=blurred)
    spectra = KINDS[source["kind"]](template, source, real, rng)
    return place(template, spectra, source["snr"], entry["level"], span)


def _soften(vectors: torch.Tensor, k0: int, how: Mapping[str, float] | None) -> torch.Tensor:
    """Vectors broadened by ``blue`` and ``red`` grid pixels on the two sides of ``seam`` Å.

    Noise of the training set that is sharper than any line would make minima of its own: between
    pixels, interpolation smooths it, so that every half-pixel phase fits a little better.
    """
    if how is None:
        return vectors
    index = torch.arange(k0, k0 + vectors.shape[1], dtype=torch.float64)
    share = torch.sigmoid((float(np.log10(how["seam"])) / STEP - index) / SEAM)
    blue, red = (torch.from_numpy(blur(vectors.numpy(), how[side])) for side in ("blue", "red"))
    return share * blue + (1 - share) * red


def belongs(spectrum: Labelled, entry: Mapping[str, Any]) -> bool:
    """Whether a labelled spectrum is one of a basis: class, and start of the subclass."""
    starts = tuple(entry.get("subclasses", [""]))
    return spectrum.spectype == entry["spectype"] and spectrum.subclass.startswith(starts)
