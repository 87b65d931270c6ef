"""Products of the likelihood's minima with the network's density."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from zspec import checkpoint
from zspec.estimators.likelihood import Likelihood
from zspec.joint.meeting import BROADEST, Meeting, meet
from zspec.joint.proposed import Proposed
from zspec.likelihood.basis import PIXEL_LN
from zspec.likelihood.solve import Solutions

WIDTH = 1.15e-3
"""Of a bin in ln(1 + z)."""
BINS = 400


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


def said(q: np.ndarray) -> Proposed:
    """A network that knows galaxies alone, with density q (bin,)."""
    q = q / (q.sum() * WIDTH)
    with np.errstate(divide="ignore"):
        log_q = torch.from_numpy(np.log(q))[None, None].expand(1, 3, BINS).clone()
    log_q[:, 1:] = -math.inf
    return Proposed(
        log_q=log_q,
        edges=WIDTH * torch.arange(BINS + 1, dtype=torch.float64),
        kinds=("GALAXY", "QSO", "STAR"),
        distance=torch.zeros(1),
        blank=torch.zeros(1),
        flat=-math.log(BINS * WIDTH),
    )


def minima(likelihood: Likelihood, place: float) -> Solutions:
    """One minimum of galaxies at ``place`` in ln(1 + z), and nothing else."""
    at = torch.tensor([[place / PIXEL_LN]], dtype=torch.float64)
    names = {field.name for field in dataclasses.fields(Solutions)}
    values = dict.fromkeys(names - {"label", "model", "scans", "offset", "wanted"}, at)
    galaxy = [basis.spectype for basis in likelihood.bases].index("GALAXY")
    return Solutions(**{**values, "label": torch.tensor([galaxy]), "model": None})


def met(likelihood: Likelihood, q: np.ndarray, place: float, sigma: float) -> Meeting:
    wide = torch.tensor([[sigma / PIXEL_LN]], dtype=torch.float64)
    return meet(minima(likelihood, place), said(q), likelihood.bases, wide)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_product_is_its_integral(likelihood: Likelihood, sigma: float) -> None:
    """Mean, width and mass are those of the product on a fine grid."""
    q = np.random.default_rng(3).gamma(0.3, size=BINS)
    place, sigma = 150.37 * WIDTH, sigma * WIDTH
    u = np.arange(BINS * 1000) * WIDTH / 1000 + WIDTH / 2000
    normal = np.exp(-(((u - place) / sigma) ** 2) / 2)
    flat = 1e-3 / (BINS * WIDTH)
    product = normal * np.repeat(q / (q.sum() * WIDTH) + flat, 1000)
    mean = (product * u).sum() / product.sum()
    width = math.sqrt((product * (u - mean) ** 2).sum() / product.sum())
    highest = np.maximum.reduce([np.roll(q, i) for i in (-1, 0, 1)]) / (q.sum() * WIDTH)
    over_flat = (normal * np.repeat(highest, 1000)).sum() / normal.sum() * BINS * WIDTH
    found = met(likelihood, q, place, sigma)
    assert float(found.shift) * PIXEL_LN == pytest.approx(mean, abs=1e-3 * sigma)
    assert float(found.narrowed) * sigma == pytest.approx(width, rel=1e-3)
    assert float(found.excess) == pytest.approx(math.log(over_flat), abs=1e-3)


def test_nothing_moves_beyond_its_reach(likelihood: Likelihood) -> None:
    """A peak far outside of a minimum is not its place, however little is said within."""
    for rest in (1e-10, 1e-25, 1e-40, 1e-200):
        for sigma in (0.11, 0.6, 2.1, 5.0):
            q = np.full(BINS, rest)
            q[222] = 1.0
            found = met(likelihood, q, 200.5 * WIDTH, sigma * WIDTH)
            moved = abs(float(found.shift) * PIXEL_LN / WIDTH - 200.5)
            assert moved <= 6 * sigma + 1e-9
            assert 0 <= float(found.narrowed) <= 3


def test_redshifts_stay_within_limits(likelihood: Likelihood) -> None:
    """Bins reach beyond the limits of a class; what the network makes of a minimum does not."""
    galaxy = next(basis for basis in likelihood.bases if basis.spectype == "GALAXY")
    end = galaxy.ends[0] * PIXEL_LN
    low = said(np.ones(BINS))
    shifted = dataclasses.replace(low, edges=low.edges - 100 * WIDTH)
    wide = torch.tensor([[9 * WIDTH / PIXEL_LN]], dtype=torch.float64)
    peak = shifted.log_q.clone()
    peak[0, 0, shifted.bins(torch.tensor([end - 3 * WIDTH]))] += 10
    network = dataclasses.replace(shifted, log_q=peak)
    found = meet(minima(likelihood, end), network, likelihood.bases, wide)
    assert float(found.shift) == galaxy.ends[0]


@pytest.mark.parametrize("sigma", [1e-5, 0.5, 5.0])
def test_silence_moves_nothing(likelihood: Likelihood, sigma: float) -> None:
    """A density that is flat, or nil wherever the minimum is, leaves it as it was."""
    place = 200.1 * WIDTH
    far = np.where(np.arange(BINS) < 5, 1.0, 0.0)
    for q in (np.ones(BINS), far):
        found = met(likelihood, q, place, sigma * WIDTH)
        assert float(found.shift) * PIXEL_LN == pytest.approx(place, abs=1e-9)
        assert float(found.narrowed) == pytest.approx(1.0, abs=1e-6)
    assert float(found.excess) < -20


def test_narrow_minima_are_points(likelihood: Likelihood) -> None:
    """What is far narrower than a bin has the density of its bin and its neighbours."""
    q = np.ones(BINS)
    q[101] = 50.0
    found = met(likelihood, q, 100.5 * WIDTH, 1e-3 * WIDTH)
    assert float(found.excess) == pytest.approx(math.log(50 * BINS / q.sum()), abs=1e-6)
    assert float(found.shift) * PIXEL_LN == pytest.approx(100.5 * WIDTH, abs=1e-12)


def test_a_point_is_the_limit(likelihood: Likelihood) -> None:
    """Where a minimum begins to count as broad nothing jumps."""
    q = np.random.default_rng(4).gamma(1.0, size=BINS)
    one, two = (met(likelihood, q, 100.5 * WIDTH, x * WIDTH) for x in (0.0999, 0.1001))
    assert float(two.excess) == pytest.approx(float(one.excess), abs=1e-4)
    assert float(two.shift) == pytest.approx(float(one.shift), abs=1e-4)
    assert float(two.narrowed) == pytest.approx(1.0, abs=1e-3)


def test_no_minimum_is_without_bounds(likelihood: Likelihood) -> None:
    """A sigma of half the range, or none, does not carry a redshift across it."""
    q = np.ones(BINS)
    q[350] = 1000.0
    found = met(likelihood, q, 100.5 * WIDTH, 200 * WIDTH)
    moved = float(found.shift) * PIXEL_LN - 100.5 * WIDTH
    assert abs(moved) < BROADEST * WIDTH
    assert float(found.narrowed) * 200 <= BROADEST
    unknown = met(likelihood, q, 100.5 * WIDTH, math.nan)
    assert float(unknown.shift) * PIXEL_LN == pytest.approx(100.5 * WIDTH)
