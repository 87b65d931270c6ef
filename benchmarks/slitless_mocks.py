"""Mock slitless spectra that no training saw, and what estimators say of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import Chunk, Estimator, Spectra, plugins
from zspec.calibration.maps import covariate
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.likelihood.bound import cramer_rao
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import BLOCK, cut, glue, simulator
from zspec.slitless.inputs import signal_to_noise

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass
class TestSet:
    """Simulated spectra that no training saw."""

    spectra: Spectra
    clean: tuple[NDArray[np.floating], ...]
    z: Floats
    snr: Floats
    """The survey's: mean over bands of the median of flux / error."""


@dataclass
class Answer:
    """What one estimator says of the test set, or of its first rows."""

    name: str
    z: Floats
    sigma: Floats
    zconf: Floats
    pit: Floats
    """(n,) mapped CDF at the truth; of a Gaussian where there is no map."""

    def first(self, n: int) -> Answer:
        """What it says of the first ``n``."""
        return Answer(self.name, self.z[:n], self.sigma[:n], self.zconf[:n], self.pit[:n])


def simulate(survey: str, n: int, seed: int) -> TestSet:
    """``n`` spectra of the test sources, without those that a neighbour contaminates."""
    return _collect(itertools.islice(_rows(survey, seed), n))


def strata(survey: str, seed: int, edges: Sequence[float], each: int) -> TestSet:
    """As many of the test sources as it takes to have ``each`` in every bin of the survey's SNR."""
    found = [0] * (len(edges) - 1)

    def wanted() -> Iterator[Observed]:
        for row in _rows(survey, seed):
            place = int(np.searchsorted(edges, row.truth["SNR"][0], side="right")) - 1
            if 0 <= place < len(found) and found[place] < each:
                found[place] += 1
                yield row
            if min(found) == each:
                return

    return _collect(wanted())


def _rows(survey: str, seed: int) -> Iterator[Observed]:
    """Test spectra without end, one by one."""
    source = simulator(plugins.survey(survey), seed, split="test")
    for number in itertools.count():
        block = source.block(number)
        for row in np.flatnonzero(block.truth["ARTEFACT"] == 0):
            yield cut(block, slice(row, row + 1))


def _collect(rows: Iterator[Observed]) -> TestSet:
    observed = glue(list(rows))
    spectra = observed.spectra
    assert spectra.truth is not None
    snr = np.asarray(observed.truth["SNR"], np.float64)
    return TestSet(spectra, observed.clean, np.asarray(spectra.truth.z), snr)


def chunks(spectra: Spectra) -> Iterator[Spectra]:
    """Pieces of a size that fits into memory."""
    yield from spectra.split(BLOCK * 4)


def ask(name: str, model: Estimator, test: TestSet, n: int) -> list[Answer]:
    """Answers of an estimator, and of the point network where it has one."""
    said = [model.predict(Chunk(part, model.grid)) for part in chunks(test.spectra[:n])]
    rows = [np.arange(len(p.best)) for p in said]
    z, sigma = (
        np.concatenate([getattr(p, f)[r, p.best] for p, r in zip(said, rows, strict=True)])
        for f in ("z", "sigma")
    )
    nan = [np.full(len(r), np.nan) for r in rows]
    zconf = np.concatenate(
        [x if p.zconf is None else p.zconf for p, x in zip(said, nan, strict=True)]
    )
    t = (test.z[:n] - z) / sigma
    answers = [Answer(name, z, sigma, zconf.astype(np.float64), _cdf(model, t, test, n))]
    if isinstance(model, SlitlessBNN):
        point = np.concatenate([p.extra["Z_POINT"] for p in said])
        unknown = np.full(n, np.nan)
        answers.insert(0, Answer(f"{name}: point network", point, unknown, unknown, unknown))
    return answers


def _cdf(model: Estimator, t: Floats, test: TestSet, n: int) -> Floats:
    """Probability that the estimator gives to redshifts below the truth."""
    normal = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in t])
    if not isinstance(model, SlitlessBNN):
        return normal
    calibration = model.trained.calibration
    x = np.concatenate([_covariate(model, part) for part in chunks(test.spectra[:n])])
    return calibration.cdf(t * calibration.widening(x), x)


def _covariate(model: SlitlessBNN, spectra: Spectra) -> Floats:
    batch = Chunk(spectra, model.grid).batch
    snr = signal_to_noise(torch.from_numpy(batch.flux), torch.from_numpy(batch.error))
    return covariate(snr.double().numpy())


def bounds(test: TestSet, n: int) -> Floats:
    """(n,) Cramér-Rao bound of sigma_z, marginal over three polynomials a band."""
    arms = test.spectra[:n].arms
    clean = [light[:n] for light in test.clean]
    return cramer_rao([a.wave for a in arms], clean, [a.ivar for a in arms], test.z[:n])
