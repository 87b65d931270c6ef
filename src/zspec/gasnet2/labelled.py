"""Training, validation and test sets: from labelled files, or from a stream of simulated spectra.

A table of labelled spectra is a file like any other: its survey's adapter reads it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zspec import sources
from zspec.errors import ConfigError, InputError
from zspec.fits import write_fits
from zspec.gasnet2.recipe import Recipe
from zspec.gasnet2.samples import Samples, contaminate, draw, from_spectra, join, limit, objects
from zspec.sources import Source
from zspec.survey import Spectra

log = logging.getLogger("zspec")

BLOCK = 256
"""Spectra that the simulator makes at once."""
MOST_LABELS = 12
"""Labels that are listed at most."""
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
    _check(sets, recipe)
    share = recipe.train.contamination
    if not share:
        return sets
    number = len(recipe.classes)
    wrong = [contaminate(s, share, number, recipe.seed) for s in (sets.train, sets.valid)]
    return Sets(wrong[0], wrong[1], sets.test)


def from_files(recipe: Recipe, data: Path) -> Sets:
    """Labelled spectra of files below ``data``, split by object."""
    parts: list[Samples] = []
    others: Counter[str] = Counter()
    size = 2 * recipe.data.per_class * len(recipe.classes)
    for spectra in _read(recipe, data):
        others.update(unclassed(spectra, recipe))
        parts.append(from_spectra(spectra, recipe, recipe.data.min_snr))
        if sum(map(len, parts)) > size:  # so that memory is bounded, whatever there is to read
            parts = [limit(join(parts), recipe.data.per_class, recipe.seed)]
    told = ", ".join(f"{label} ({count})" for label, count in others.most_common(MOST_LABELS))
    if not sum(map(len, parts)):
        raise InputError(
            f"{data}: no spectrum there has a label that fits a class of the recipe; "
            + (f"there are {told}" if told else "none has a label")
        )
    if told:
        log.info("labels that are in no class, left out: %s", told)
    every = limit(join(parts), recipe.data.per_class, recipe.seed)
    sets = split(every, recipe.train.split, recipe.seed)
    log.info("split by object, seed %d: %s spectra", recipe.seed, sets.counts())
    return sets


def unclassed(spectra: Spectra, recipe: Recipe) -> list[str]:
    """The labels of those spectra that are in no class of the recipe."""
    truth = spectra.truth
    if truth is None:
        return []
    labels = truth.spectype if truth.label is None else truth.label
    numbers = recipe.classify(labels.tolist(), truth.spectype.tolist())
    return [label for label, n in zip(labels.tolist(), numbers, strict=True) if n < 0 and label]


def _read(recipe: Recipe, data: Path) -> Iterator[Spectra]:
    """Spectra of all files of the recipe; one that cannot be read is left out with a warning."""
    survey = recipe.data.survey or None
    paths = sources.expand([data / name for name in recipe.data.files], survey)
    log.info("reading %d file(s) of labelled spectra", len(paths))
    for path in paths:
        try:
            yield from sources.read(Source(path, survey, recipe.data.options))[1]
        except InputError as error:
            log.warning("left out: %s", error)


def write_sets(folder: Path, sets: Sets, recipe: Recipe) -> None:
    """Write ``train.fits``, ``valid.fits`` and ``test.fits``: who is in which set, and its labels.

    Each is a truth for ``zspec evaluate``, which judges the spectra that it holds and no others. An
    empty set has no file. Raises OutputError.
    """
    for name in ("train", "valid", "test"):
        samples: Samples = getattr(sets, name)
        entries = [recipe.classes[i] for i in samples.label.tolist()]
        if entries:
            columns = {
                "TARGETID": samples.key,
                "SPECTYPE": np.array([entry.spectype for entry in entries]),
                "CLASS": np.array([entry.name for entry in entries]),
                "Z": samples.z.double().numpy(),
            }
            empty: NDArray[np.float32] = np.zeros(0, np.float32)
            path = folder / f"{name}.fits"
            write_fits(path, [("", empty, {}), ("LABELS", columns, {})], overwrite=True)


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
        wanted = round(share * what.per_class)
        log.info("simulating %s: %d spectra a class, to %s", what.survey, wanted, name)
        source = stream(
            what.survey,
            recipe.seed,
            BLOCK,
            split=name,
            settings={key: str(value) for key, value in what.options.items()},
            population=population,
        )
        made.append(take(source, recipe, wanted))
    sets = Sets(made[0], made[1], made[0][np.zeros(0, np.intp)])
    log.info("simulated %s, seed %d: %s spectra", what.survey, recipe.seed, sets.counts())
    return sets


def take(stream: Iterator[Spectra], recipe: Recipe, wanted: int) -> Samples:
    """``wanted`` spectra of each class from a stream that never ends.

    Raises ConfigError for a class that does not appear in it.
    """
    number = len(recipe.classes)
    parts: list[Samples] = []
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


def _check(sets: Sets, recipe: Recipe) -> None:
    """Say how many spectra of each class there are in each set.

    Raises InputError where one to learn from lacks a class, or redshifts of one that needs them.
    """
    every = {"train": sets.train, "valid": sets.valid, "test": sets.test}
    for number, entry in enumerate(recipe.classes):
        counts = {name: int((part.label == number).sum()) for name, part in every.items()}
        log.info("class %s: %s", entry.name, "/".join(map(str, counts.values())))
        for name in ("train", "valid"):
            if not counts[name] or (entry.redshift and not len(every[name].of(number))):
                what = "redshift" if counts[name] else "spectrum"
                raise InputError(
                    f"the {name} set has no {what} of class {entry.name!r}, of which there are "
                    f"{sum(counts.values())} spectra; more of them, other labels, or another seed"
                )
