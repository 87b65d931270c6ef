"""Training, validation and test sets: from labelled files, or from a stream of simulated spectra.

A table of labelled spectra is a file like any other: its survey's adapter reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zspec import sources
from zspec.errors import ConfigError, InputError
from zspec.gasnet2.recipe import Recipe
from zspec.gasnet2.samples import Samples, contaminate, draw, from_spectra, join, limit, objects
from zspec.sources import Source
from zspec.survey import Spectra

log = logging.getLogger("zspec")

BLOCK = 256
"""Spectra that the simulator makes at once."""
PATIENCE = 20
"""A class that a stream does not fill within so many times its size is missing there."""


@dataclass(frozen=True)
class Sets:
    """The three sets; no object is in two of them."""

    train: Samples
    valid: Samples
    test: Samples

    def counts(self) -> str:
        """Sizes, as 8000/1000/1000."""
        return f"{len(self.train)}/{len(self.valid)}/{len(self.test)}"


def collect(recipe: Recipe, data: Path) -> Sets:
    """The sets of a recipe, with contaminated labels in the first two where it asks for them.

    Raises InputError where there are no labelled spectra, or a class is missing.
    """
    sets = (
        simulated(recipe, data) if recipe.data.source == "simulator" else from_files(recipe, data)
    )
    for name in ("train", "valid"):
        _check(name, getattr(sets, name), recipe)
    share = recipe.train.contamination
    if not share:
        return sets
    number = len(recipe.classes)
    wrong = [contaminate(s, share, number, recipe.seed) for s in (sets.train, sets.valid)]
    return Sets(wrong[0], wrong[1], sets.test)


def from_files(recipe: Recipe, data: Path) -> Sets:
    """Labelled spectra of files below ``data``, split by object."""
    parts: list[Samples] = []
    size = 2 * recipe.data.per_class * len(recipe.classes)
    for spectra in _read(recipe, data):
        parts.append(from_spectra(spectra, recipe, recipe.data.min_snr))
        if sum(map(len, parts)) > size:  # so that memory is bounded, whatever there is to read
            parts = [limit(join(parts), recipe.data.per_class, recipe.seed)]
    if not sum(map(len, parts)):
        raise InputError(f"{data}: no spectrum there has a label that fits a class of the recipe")
    every = limit(join(parts), recipe.data.per_class, recipe.seed)
    sets = split(every, recipe.train.split, recipe.seed)
    log.info("split by object, seed %d: %s spectra", recipe.seed, sets.counts())
    return sets


def _read(recipe: Recipe, data: Path) -> Iterator[Spectra]:
    """Spectra of all files of the recipe; one that cannot be read is left out with a warning."""
    survey = recipe.data.survey or None
    paths = [data / name for name in recipe.data.files]
    for path in sources.expand(paths, survey):
        try:
            yield from sources.read(Source(path, survey, recipe.data.options))[1]
        except InputError as error:
            log.warning("left out: %s", error)


def split(samples: Samples, shares: tuple[float, float, float], seed: int) -> Sets:
    """Train, validation and test set: each object, with all its spectra, falls into one."""
    chance = draw(objects(samples), seed)
    edges = np.cumsum(shares)
    which = np.searchsorted(edges[:2], chance, side="right")
    train, valid, test = (samples[np.flatnonzero(which == i)] for i in range(3))
    return Sets(train, valid, test)


def simulated(recipe: Recipe, data: Path) -> Sets:
    """Spectra of the simulator, training and validation set from different sources.

    The test set stays empty: ``zspec simulate`` makes one of the third part of the sources.
    """
    from zspec.simulate import stream

    what = recipe.data
    population = data / what.population if what.population else None
    made = []
    for name, share in zip(("train", "valid"), recipe.train.split[:2], strict=True):
        source = stream(
            what.survey,
            recipe.seed,
            BLOCK,
            split=name,
            settings={key: str(value) for key, value in what.options.items()},
            population=population,
        )
        made.append(take(source, recipe, round(share * what.per_class)))
    sets = Sets(made[0], made[1], made[0][np.zeros(0, np.intp)])
    log.info("simulated %s, seed %d: %s spectra", what.survey, recipe.seed, sets.counts())
    return sets


def take(stream: Iterator[Spectra], recipe: Recipe, wanted: int) -> Samples:
    """``wanted`` spectra of each class from a stream that never ends.

    Raises ConfigError for a class that does not appear in it.
    """
    number = len(recipe.classes)
    parts = [from_spectra(next(stream)[:0], recipe)]
    have, seen = np.zeros(number, np.int64), 0
    while (have < wanted).any():
        spectra = next(stream)
        seen += len(spectra)
        part = from_spectra(spectra, recipe, recipe.data.min_snr)
        label = part.label.numpy()
        order = np.array([(label[:i] == one).sum() for i, one in enumerate(label)], np.int64)
        part = part[np.flatnonzero(order + have[label] < wanted)]
        have += np.bincount(part.label.numpy(), minlength=number)
        parts.append(part)
        if seen > PATIENCE * number * (wanted + 10):
            missing = recipe.classes[int(have.argmin())].name
            raise ConfigError(f"recipe: the simulator makes too few spectra of class {missing!r}")
    return join(parts)


def _check(name: str, samples: Samples, recipe: Recipe) -> None:
    """Raise InputError where a set lacks a class, or redshifts of one that needs them."""
    for number, entry in enumerate(recipe.classes):
        found = (samples.label == number).sum()
        if not found or (entry.redshift and not len(samples.of(number))):
            what = "redshift" if found else "spectrum"
            raise InputError(f"the {name} set has no {what} of class {entry.name!r}")
