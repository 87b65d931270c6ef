"""Mock spectra of exactly known redshifts, for calibration beside the labelled real ones.

Labels are another fit's: they share errors with ours, and few lie beyond z = 3. What the simulator
knows of line shifts, doublets and dust is no basis' own, and its redshifts are the systemic ones.
Its sources for validation are taken, never those for tests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from zspec import plugins
from zspec.likelihood.validate import Known
from zspec.simulate.simulator import BLOCK, Simulator, simulator

SPLIT = "valid"
"""The part of the sources that calibrates."""
KINDS = ("GALAXY", "QSO", "STAR")


def mocks(recipe: Mapping[str, Any]) -> list[Known]:
    """``number`` spectra of each spectype for each of ``surveys`` in the recipe's ``[mocks]``.

    Only of the spectypes that a survey's population has. Flat in class, redshift and magnitude, by
    the recipe's seed; blank fibres count but are left out. None without ``[mocks]``. Raises
    ConfigError where a survey brings no simulation.
    """
    entry = recipe.get("mocks", {"surveys": ()})
    return [
        one
        for name in entry["surveys"]
        for kind, source in _by_kind(name, recipe["seed"])
        for one in _known(source, f"{name} {kind}", entry["number"])
    ]


def _by_kind(survey: str, seed: int) -> Iterator[tuple[str, Simulator]]:
    """The simulators of a survey's objects of one spectype each."""
    source = simulator(plugins.survey(survey), seed, flat=True, split=SPLIT)
    for kind in KINDS:
        classes = tuple(c for c in source.population.classes if c.spectype == kind)
        if classes:
            population = dataclasses.replace(source.population, classes=classes)
            yield kind, dataclasses.replace(source, population=population)


def _known(source: Simulator, name: str, number: int) -> Iterator[Known]:
    """The first so many spectra, with their truth."""
    for start in range(0, number, BLOCK):
        spectra = source.survey.masked(source.block(start // BLOCK).spectra)
        assert spectra.truth is not None  # of every simulator
        for i in range(min(BLOCK, number - start)):
            kind, z = str(spectra.truth.spectype[i]), float(spectra.truth.z[i])
            if kind:
                yield Known(f"{name} {start + i}", kind, z, 0.0, spectra[i : i + 1])
