"""Predictions of labelled spectra that neither bases nor network were learned from.

Real spectra, as they are and with noise added, each by bases that were learned without its object;
mocks of any survey, of sources that are kept for validation; and blank sky.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from zspec import plugins
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.joint.guide import guide
from zspec.joint.posterior import joined, ranked
from zspec.joint.proposed import Proposed, Proposer, ask
from zspec.joint.weights import Weights
from zspec.likelihood.basis import PIXEL_LN
from zspec.likelihood.output import stretched
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.solve import Solutions
from zspec.likelihood.validate import Case, Known, fold_of, weakened
from zspec.simulate.simulator import BLOCK, simulator
from zspec.survey import Spectra

START = Weights(evidence=0.6)
"""By which minima are chosen that get a fit, before weights are known."""
SPLIT = "valid"
"""Sources of mocks that calibrate."""


@dataclass(frozen=True)
class JointCase(Case):
    """One spectrum, as likelihood and network each see it."""

    proposed: Proposed
    """Of one row."""
    group: str
    """Where it comes from: ``real``, or a survey's name."""
    wide: torch.Tensor
    """(1, T) sigma of the likelihood's solutions, stretched as calibration has it, grid pixels."""
    weights: Weights = START

    @property
    def together(self) -> Solutions:
        """The joint solutions."""
        return joined(self.found, self.proposed, self.bases, self.weights, self.wide)

    def ranked(self, temper: float) -> Ranked:
        """The joint candidates; the weights hold the power of the likelihood, ``temper`` is not."""
        return ranked(self.found, self.together, self.bases)

    def offset(self, ranked: Ranked) -> float:
        """ln((1 + z) / (1 + z_label)) of the best candidate."""
        shift = float(ranked.of(self.together.shift))
        return shift * PIXEL_LN - math.log1p(self.known.z)

    def sigma(self, ranked: Ranked) -> float:
        """Of ln(1 + z) of the best candidate: the fit's, as narrow as the network makes it."""
        own = self.found.sigma * self.together.sigma / self.wide
        return float(ranked.of(own)) * PIXEL_LN


def weighted(every: Iterable[JointCase], weights: Weights) -> list[JointCase]:
    """The same cases by other weights."""
    return [dataclasses.replace(case, weights=weights) for case in every]


def real(
    given: Iterable[Known],
    fitters: Sequence[Likelihood],
    model: Proposer,
    ladder: Sequence[int],
) -> Iterator[JointCase]:
    """Real spectra at every step of a ladder of noise; ``fitters[i]`` did not see fold i."""
    for number, one in enumerate(given):
        fitter = fitters[fold_of(one.key)]
        for step in ladder:
            noisy = weakened(one.spectrum, step, np.random.default_rng([number, step]))
            yield from solved(noisy, [one], fitter, model, "real", step)


def mocks(
    survey: str, number: int, seed: int, fitter: Likelihood, model: Proposer
) -> Iterator[JointCase]:
    """So many mock spectra of a survey's own population, as files of them would be read."""
    source = simulator(plugins.survey(survey), seed, split=SPLIT)
    for block in range(-(-number // BLOCK)):
        spectra = source.survey.masked(source.block(block).spectra)
        spectra = spectra[: number - block * BLOCK]
        yield from solved(spectra, named(spectra, survey), fitter, model, survey)


def named(spectra: Spectra, survey: str) -> list[Known]:
    """The labels of mock spectra; a blank fibre has none."""
    truth = spectra.truth
    assert truth is not None
    return [
        Known(f"{survey} {spectra.ids[i]}", str(kind), float(z), 0.0, spectra[i : i + 1])
        for i, (kind, z) in enumerate(zip(truth.spectype, truth.z, strict=True))
    ]


def solved(
    spectra: Spectra,
    labels: Sequence[Known],
    fitter: Likelihood,
    model: Proposer,
    group: str,
    step: int = 1,
    fast: bool = False,
) -> Iterator[JointCase]:
    """A case for each of some spectra with data."""
    proposed = ask(model, Chunk(spectra, model.grid).batch)
    bases = fitter.bases
    fit = fitter.calibration
    for rows, pixels, found in fitter.solutions(
        spectra.arms, guiding=lambda rows: guide(proposed[rows], bases, START, fit, fast)
    ):
        wide = stretched(found, bases, fit)
        for i, row in enumerate(rows.tolist()):
            part = slice(i, i + 1)
            own = proposed[torch.tensor([row])]
            mine = pixels[part], one_of(found, part)
            yield JointCase(labels[row], step, bases, *mine, own, group, wide[part])


def one_of(found: Solutions, rows: slice) -> Solutions:
    """The solutions of some rows; scans are left out."""
    parts: dict[str, Any] = {"label": found.label, "scans": None}
    for field in dataclasses.fields(found):
        if field.name not in parts:
            value = getattr(found, field.name)
            parts[field.name] = None if value is None else value[rows]
    return Solutions(**parts)
