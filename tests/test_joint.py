"""The joint posterior does what its equation says, and its parts keep their promises."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from zspec import Chunk, ConfigError, Prediction, WaveGrid, ZWarn, checkpoint
from zspec.estimator import Want
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood
from zspec.joint import calibrating, fitting, guide, recipe, windows
from zspec.joint.calibration import JointCalibration
from zspec.joint.cases import JointCase, named, solved
from zspec.joint.meeting import meet
from zspec.joint.posterior import CLOSEST, joined, opinions, powers, ranked, volume
from zspec.joint.proposed import NEAR, Proposed, ask
from zspec.joint.weights import Weights
from zspec.likelihood import nuisance, posterior, scan
from zspec.likelihood.basis import PIXEL_LN, STEP
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.output import Output, judge
from zspec.likelihood.pixels import gather, native
from zspec.likelihood.ranking import leading, rank
from zspec.likelihood.solve import Solutions, scanned
from zspec.proposal.model import Bins, Proposal, ProposalModel
from zspec.proposal.network import NetworkSettings
from zspec.survey import Arm, Spectra, Truth
from zspec.testing import EstimatorContract

GRID = WaveGrid.log(3550, 10450, 1e-3)
SMALL = NetworkSettings(
    channels=4, coarse=4, blocks=1, coarse_blocks=1, lines=2, filters=2, hidden=4, summary=4
)
KINDS = ("GALAXY", "QSO", "STAR")
FAST: frozenset[Want] = frozenset({"fast"})


class Oracle:
    """A network that says what it is told: a peak for each row, or nothing at all."""

    classes = KINDS

    def __init__(self, places: list[tuple[str, float] | None], width: float = 1.0) -> None:
        """``places``: spectype and z of each row; ``width``: sigma in bins."""
        self.grid, self.bins = GRID, Bins(GRID)
        self.edges, self.places, self.width = self.bins.edges, places, width

    def propose(self, batch: object) -> Proposal:
        """Peaks of width 1 bin that hold all but exp(-12)."""
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        log_q = np.zeros((len(self.places), 3, self.bins.count))
        for row, place in enumerate(self.places):
            if place is not None:
                log_q[row] = -20.0
                off = (middle - np.log1p(place[1])) / self.bins.width / self.width
                log_q[row, KINDS.index(place[0])] = np.maximum(-(off**2) / 2, -20)
        log_q[:, ~self.bins.inside] = -np.inf
        log_q -= np.log(np.exp(log_q).sum((1, 2), keepdims=True) * self.bins.width)
        empty = np.zeros(len(self.places), np.float32)
        return Proposal(log_q.astype(np.float32), np.zeros((len(log_q), 4), np.float32), empty)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Nothing is far."""
        return np.zeros(len(features))


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


@pytest.fixture(scope="module")
def mocks(likelihood: Likelihood) -> Spectra:
    """Mean spectra of three bases with noise: GALAXY, QSO and STAR."""
    wave = 10 ** (np.arange(36_000, 39_500) * STEP)
    known = (("GALAXY", 0.31), ("QSO", 2.2), ("STAR_G", 2e-4))
    flux = np.stack([light(likelihood, name, z, wave) for name, z in known])
    noise = 0.1 * np.random.default_rng(2).standard_normal(flux.shape)
    ivar = np.full(flux.shape, 100.0, np.float32)
    arm = Arm("A", wave, (flux + noise).astype(np.float32), ivar)
    kinds = np.array([name.split("_")[0] for name, _ in known])
    n = np.arange(len(flux))
    told = Truth(kinds, np.array([z for _, z in known]))
    return Spectra((arm,), n.astype(np.int64), n.astype(np.int32), truth=told)


def light(likelihood: Likelihood, name: str, z: float, wave: np.ndarray) -> np.ndarray:
    """The mean spectrum of a basis at native wavelengths, of median 1."""
    basis = next(basis for basis in likelihood.bases if basis.name == name)
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    flux = np.interp(np.log10(wave / (1 + z)) / STEP, rest, basis.vectors[0], left=0, right=0)
    return flux / np.median(flux)


@pytest.fixture(scope="module")
def solutions(likelihood: Likelihood, mocks: Spectra) -> Solutions:
    """The likelihood's own."""
    ((_, _, found),) = likelihood.solutions(mocks.arms, frozenset({"zpdf"}))
    return found


def truth(spectra: Spectra) -> Truth:
    assert spectra.truth is not None
    return spectra.truth


def told(spectra: Spectra, places: list[tuple[str, float] | None]) -> Proposed:
    """What an oracle says."""
    oracle = Oracle(places)
    return ask(oracle, Chunk(spectra, oracle.grid).batch)


def labels(spectra: Spectra) -> list[tuple[str, float] | None]:
    known = truth(spectra)
    return [(str(kind), float(z)) for kind, z in zip(known.spectype, known.z, strict=True)]


def silent(spectra: Spectra) -> list[tuple[str, float] | None]:
    return [None] * len(spectra)


def predict(made: Joint, spectra: Spectra, want: frozenset[Want] = frozenset()) -> Prediction:
    return made.predict(Chunk(spectra, made.grid), want)


def small(likelihood: Likelihood) -> Joint:
    torch.manual_seed(0)
    fit = dataclasses.replace(likelihood.calibration, temper=1.0)
    return Joint(likelihood, ProposalModel(GRID, SMALL), JointCalibration(fit=fit))


class TestJoint(EstimatorContract):
    def make(self) -> Joint:
        return Joint.load(checkpoint.find("zspec"))


def test_density_is_read_where_it_is(mocks: Spectra) -> None:
    """The excess over a flat density, its floor, and what lies near a peak."""
    said = told(mocks[:2], [("QSO", 1.5), None])
    assert said.mass.sum((1, 2)).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    u, kind = torch.tensor([[math.log1p(1.5), 0.2], [0.3, 0.4]]), torch.tensor([1, 1])
    excess = said.excess(kind, u.double(), 1e-3)
    assert excess[1].tolist() == pytest.approx([0.0, 0.0], abs=1e-4)
    assert excess[0, 0] > 5
    assert excess[0, 1] == pytest.approx(math.log(1e-3), abs=0.1)
    peak = said.peaks(2)
    assert said.kinds[int(peak.kind[0, 0])] == "QSO"
    at = said.edges[peak.bin[0, 0]] + said.width / 2
    assert float(at) == pytest.approx(math.log1p(1.5), abs=said.width)
    assert peak.mass[0, 0] > 0.99
    assert said.entropy[0] < 2 < said.entropy[1]


def test_flat_density_changes_nothing(
    likelihood: Likelihood, mocks: Spectra, solutions: Solutions
) -> None:
    """With nothing from the network the posterior is the likelihood's, tempered."""
    weights = Weights(evidence=0.6, saturation=1e12)
    said = told(mocks, silent(mocks))
    ((_, _, faint),) = likelihood.solutions(noisy(mocks, 40.0).arms)
    for found in (solutions, faint):
        together = joined(found, said, likelihood.bases, weights, found.sigma)
        order = ranked(found, together, likelihood.bases)
        alone = rank(found, likelihood.bases, 0.6)
        assert torch.equal(order.column[:, 0], alone.column[:, 0])
        torch.testing.assert_close(order.classes, alone.classes, atol=2e-3, rtol=0)
        torch.testing.assert_close(order.evidence, alone.evidence)


def test_few_galaxies_among_the_stars() -> None:
    """The prior density of what is no star grows with the volume, as z²."""
    z = torch.tensor([-0.003, 0.0, CLOSEST, 0.005, 0.01, 0.02, 1.0, math.nan], dtype=torch.float64)
    least, yes = (CLOSEST / 0.02) ** 2, torch.tensor(True)
    expected = [least, least, least, 1 / 16, 1 / 4, 1, 1, 1]
    assert volume(torch.log1p(z), yes, 0.02).exp().tolist() == pytest.approx(expected)
    assert not volume(torch.log1p(z), yes, 0.0).any()
    assert not volume(torch.log1p(z), ~yes, 0.02).any()


def test_a_star_that_a_galaxy_fits_as_well_is_a_star(
    likelihood: Likelihood, mocks: Spectra, solutions: Solutions
) -> None:
    """Where likelihood and network leave it open; not where the galaxy is further away."""
    bases, row = likelihood.bases, 2
    kinds = [bases[k].spectype for k in solutions.label.tolist()]
    column = kinds.index("GALAXY")
    assert kinds[int(solutions.value[row].argmin())] == "STAR"
    said, chosen = told(mocks, silent(mocks)), []
    for z in (2e-4, 0.1):
        value, shift = solutions.value.clone(), solutions.shift.clone()
        value[row, column], shift[row, column] = value[row].amin() - 1, math.log1p(z) / PIXEL_LN
        found = dataclasses.replace(solutions, value=value, shift=shift)
        together = joined(found, said, bases, Weights(nearby=0.02), points(found))
        chosen.append(kinds[int(together.value[row].argmin())])
    assert chosen == ["STAR", "GALAXY"]


def points(found: Solutions) -> torch.Tensor:
    """Sigmas of minima that are narrower than any bin."""
    return torch.zeros_like(found.sigma)


def test_posterior_is_its_equation(
    likelihood: Likelihood, mocks: Spectra, solutions: Solutions
) -> None:
    """-2 ln mass = a (value - null) - 2 (b ln q + ln prior(z)); a halves at saturation."""
    said = told(mocks, labels(mocks))
    gain = float((solutions.null - solutions.value.amin(1))[0])
    weights = Weights(0.8, gain, {"GALAXY": 0.5, "QSO": 2.0}, {"STAR": -1.0}, 1e-3, 0.5)
    assert powers(solutions, weights)[0, 0] == pytest.approx(0.4)
    together = joined(solutions, said, likelihood.bases, weights, points(solutions))
    bases, row = likelihood.bases, 0
    for column in range(len(solutions.label)):
        if not solutions.value[row, column].isfinite():
            continue
        kind = bases[int(solutions.label[column])].spectype
        number = torch.tensor([KINDS.index(kind)])
        u = solutions.shift[row : row + 1, column : column + 1] * PIXEL_LN
        excess = float(said[torch.tensor([row])].excess(number, u, 1e-3))
        b, z = weights.network.get(kind, 1.0), math.expm1(float(u))
        close = 0.0 if kind == "STAR" else 2 * math.log(min(max(z, CLOSEST), 0.5) / 0.5)
        expected = 0.4 * float(solutions.value[row, column] - solutions.null[row]) - 2 * (
            b * excess + weights.prior.get(kind, 0.0) + close
        )
        assert float(together.value[row, column]) == pytest.approx(expected, rel=1e-9)


def test_rest_is_its_equation(likelihood: Likelihood, mocks: Spectra, solutions: Solutions) -> None:
    """As a minimum's, with the mean of q over the class' redshifts that no minimum is near."""
    galaxy = [basis.name for basis in likelihood.bases].index("GALAXY")
    deepest = math.expm1(float(solutions.shift[2, solutions.label == galaxy][0]) * PIXEL_LN)
    said = told(mocks, [None, ("GALAXY", 0.9), ("GALAXY", deepest)])
    weights = Weights(0.8, 1e12, {"GALAXY": 0.5}, {"GALAXY": -1.0}, 1e-3)
    together = joined(solutions, said, likelihood.bases, weights, solutions.sigma)
    basis, fine = likelihood.bases[galaxy], 50
    low, high = (math.log1p(z) for z in basis.z_range)
    u = torch.linspace(low, high, fine * len(said.edges), dtype=torch.float64)
    for row in (1, 2):
        own = solutions.shift[row, solutions.label == galaxy] * PIXEL_LN
        near = (u - own[own.isfinite()][:, None]).abs() <= basis.separation * PIXEL_LN
        q = said.mass[row, 0, said.bins(u)][~near.any(0)].mean() / said.width
        excess = math.log(0.999 * float(q) / math.exp(said.flat) + 0.001)
        gap = float(solutions.rest[row, galaxy] - solutions.null[row])
        expected = 0.8 * gap - 2 * (0.5 * excess - 1.0)
        assert float(together.rest[row, galaxy]) == pytest.approx(expected, abs=0.05)


def test_what_lies_beyond_the_minima_has_no_say_in_their_order(
    likelihood: Likelihood, mocks: Spectra, solutions: Solutions
) -> None:
    given = solutions, told(mocks, labels(mocks)), likelihood.bases, Weights(), solutions.sigma
    whole, alone = joined(*given), joined(*given, beyond=False)
    assert torch.equal(whole.value, alone.value)
    assert bool(alone.rest.isinf().all())
    first, second = (rank(one, likelihood.bases, 1.0).column for one in (whole, alone))
    assert torch.equal(first, second)


def test_a_limit_is_the_networks_too(likelihood: Likelihood, mocks: Spectra) -> None:
    """What it says beyond the limit lifts nothing within, and is no disagreement."""
    noise = noisy(mocks, 1e4)
    cut = {"GALAXY": (0.0, 0.5)}
    fit = dataclasses.replace(likelihood.calibration, temper=1.0)
    made = [
        Joint(likelihood, Oracle(places), JointCalibration(fit=fit)).limited(cut)
        for places in ([("GALAXY", 0.8)] * 3, silent(mocks))
    ]
    sure, none = (predict(one, noise) for one in made)
    number = [spec.name for spec in likelihood.classes].index("GALAXY")
    assert np.all(sure.prob[:, number] < 2 * none.prob[:, number])
    bright = predict(made[0], mocks)
    assert bright.zwarn is not None
    assert not (bright.zwarn[0] & int(ZWarn.MODELS_DISAGREE))
    proposed = told(mocks, labels(mocks))
    uncut = proposed.between(likelihood.bases)
    torch.testing.assert_close(uncut.log_q, proposed.log_q)


def test_the_network_is_silent_beyond_its_bins(mocks: Spectra) -> None:
    """Quasars at z > 5.5 have the floor, whatever its last bin holds."""
    said = told(mocks, [("QSO", 5.49)] * 3)
    u = torch.log1p(torch.tensor([[5.49, 5.8, 7.0]] * 3, dtype=torch.float64))
    excess = said.excess(torch.tensor([1, 1, 1]), u, 1e-3)
    assert bool((excess[:, 0] > 5).all())
    torch.testing.assert_close(excess[:, 1:], torch.full((3, 2), math.log(1e-3)).double())


def test_shares_move_with_the_network(likelihood: Likelihood, mocks: Spectra) -> None:
    """A network that is sure of another class takes PROB where the evidence is weak."""
    faint = noisy(mocks, 40.0)
    here = Joint(likelihood, Oracle([("STAR", 0.0)] * 3), JointCalibration())
    there = Joint(likelihood, Oracle([("GALAXY", 0.4)] * 3), JointCalibration())
    star, galaxy = (predict(made, faint) for made in (here, there))
    kinds = np.array([spec.spectype for spec in likelihood.classes])
    assert np.all(star.prob[:, kinds == "STAR"].sum(1) > galaxy.prob[:, kinds == "STAR"].sum(1))


def noisy(spectra: Spectra, factor: float) -> Spectra:
    """With noise added, so that errors grow by a factor."""
    rng = np.random.default_rng(5)
    arms = []
    for arm in spectra.arms:
        sigma = np.where(arm.ivar > 0, np.maximum(arm.ivar, 1e-30) ** -0.5, 0)
        noise = factor * sigma * rng.standard_normal(arm.flux.shape)
        flux = (arm.flux + noise).astype(np.float32)
        arms.append(dataclasses.replace(arm, flux=flux, ivar=arm.ivar / np.float32(factor**2 + 1)))
    return dataclasses.replace(spectra, arms=tuple(arms))


def test_what_the_network_proposes_is_fitted(likelihood: Likelihood, mocks: Spectra) -> None:
    """A redshift that is none of the scan's deepest minima gets a fit of its own."""
    faint = noisy(mocks, 100.0)
    ((_, _, before),) = likelihood.solutions(faint.arms)
    free = [float(z) for z in np.linspace(0.1, 1.5, 3)]
    said = told(faint, [("GALAXY", z) for z in free])
    weights = Weights(network=dict.fromkeys(KINDS, 1.0))
    plan = guide.guide(said, likelihood.bases, weights, likelihood.calibration, fast=False)
    ((_, _, found),) = likelihood.solutions(faint.arms, guiding=lambda rows: plan)
    assert found.value.shape[1] > before.value.shape[1]
    u = torch.log1p(torch.tensor(free, dtype=torch.float64))[:, None] / PIXEL_LN
    reach = (NEAR + 1) * said.width / PIXEL_LN
    near = (found.shift - u).abs() < reach
    galaxy = torch.tensor([likelihood.bases[k].spectype == "GALAXY" for k in found.label])
    assert bool((near & galaxy & found.fitted).any(1).all())
    together = joined(found, said, likelihood.bases, weights, points(found))
    order = ranked(found, together, likelihood.bases)
    assert bool((near & galaxy).gather(1, order.column[:, :1]).float().mean() > 0.5)


def test_what_is_proposed_shares_the_scan(likelihood: Likelihood, mocks: Spectra) -> None:
    """A new minimum stands there once, as wide as its basin, which is no part of the rest."""
    faint, bases = noisy(mocks, 100.0), likelihood.bases
    said = told(faint, [("GALAXY", z) for z in (0.3, 0.62, 1.1)])
    beside = said.log_q.roll(4, 2)  # a second peak, whose window holds the same minimum
    said = dataclasses.replace(said, log_q=torch.logaddexp(said.log_q, beside) - math.log(2))
    given = (native(faint.arms), bases, posterior.measure(bases), 0.0, True)
    before, made = scanned(*given), guide.whole(said, *given)
    label = [basis.name for basis in bases].index("GALAXY")
    mine, own = made.label == label, before.label == label
    assert made.scans is not None
    one, at = next((one, mine.index(label)) for mine, one in made.scans if label in mine)
    for row in range(3):
        places = made.shift[row, mine]
        known = places.isfinite()
        assert int(known.sum()) == int(before.shift[row, own].isfinite().sum()) + 1
        assert bool((places[known].sort().values.diff() > bases[label].separation).all())
        sigma, basin = made.sigma[row, mine], made.basin[row, mine]
        level = (made.value[row, mine] - posterior.spacious(sigma, basin, one.step))[known]
        masses = torch.cat([level - 2 * basin[known].log(), made.rest[row, [label]]])
        whole = posterior.total(one.values[row, [at]])[0] - 2 * math.log(one.step)
        assert float(posterior.total(masses[None])) == pytest.approx(float(whole), abs=1e-6)


def test_windows_agree_with_everything(likelihood: Likelihood, mocks: Spectra) -> None:
    """Where the network is right, --fast finds what the whole scan finds, and only that class."""
    made = Joint(likelihood, Oracle(labels(mocks)), JointCalibration())
    whole, fast = predict(made, mocks), predict(made, mocks, FAST)
    row = np.arange(len(mocks))
    np.testing.assert_array_equal(fast.best, whole.best)
    z, expected = fast.z[row, fast.best], whole.z[row, whole.best]
    sigma = whole.sigma[row, whole.best]
    assert np.all(np.abs(z - expected) < 0.01 * sigma + 1e-9)
    kinds = np.array([spec.spectype for spec in likelihood.classes])
    other = kinds[None] != kinds[fast.best][:, None]
    assert np.isnan(fast.z[other]).all()
    assert np.all(fast.prob[other] == 0)


def test_windows_are_cut_out_of_the_scan(likelihood: Likelihood, mocks: Spectra) -> None:
    """Inside, values are those of the whole scan, whether few shifts are wanted, many or none."""
    pixels, basis = native(mocks.arms), likelihood.bases[0]
    sums, extra = gather(pixels), nuisance.nuisance(pixels)
    whole = scan.together(sums, extra, [basis], 0.0, scan.STEPS[basis.spectype])
    inside = torch.zeros(3, len(whole.shifts), dtype=torch.bool)
    inside[0, 300 : 300 + windows.FEW] = True
    inside[1, 200 : 201 + windows.FEW] = True
    made = windows._scan(sums, extra, basis, 0.0, inside)
    assert torch.equal(made.shifts, whole.shifts)
    torch.testing.assert_close(made.values[0, 0, inside[0]], whole.values[0, 0, inside[0]])
    assert bool((made.values[0, 0, ~inside[0]] == math.inf).all())
    torch.testing.assert_close(made.values[1:], whole.values[1:])


def test_windows_hold_the_density(mocks: Spectra) -> None:
    """Bins that are left out hold no more than they may; one unknown costs nothing."""
    said = told(mocks, labels(mocks))
    inside = windows.within(said)
    assert float((said.mass * ~inside).sum((1, 2)).max()) <= windows.LEFT_OUT
    assert inside.sum((1, 2)).max() < 0.1 * inside[0].numel()
    assert bool(windows.spectypes(said, {"STAR"})[:, KINDS.index("STAR")].all())


def test_disagreement_is_a_flag(likelihood: Likelihood, mocks: Spectra) -> None:
    """Both are sure of different redshifts: bit 29, and not where they are sure of the same."""
    bright = mocks[2:]
    fit = dataclasses.replace(likelihood.calibration, temper=1.0)
    calibration = JointCalibration(fit=fit)
    for place, flagged in ((labels(bright), False), ([("GALAXY", 0.5)], True), ([None], False)):
        said = predict(Joint(likelihood, Oracle(place), calibration), bright)
        assert said.zwarn is not None
        assert bool(said.zwarn[0] & int(ZWarn.MODELS_DISAGREE)) is flagged


def test_far_from_the_training_is_a_flag(likelihood: Likelihood, mocks: Spectra) -> None:
    """OUT_OF_DISTRIBUTION beyond the stored distance."""
    oracle = Oracle(labels(mocks))
    oracle.distance = lambda features: np.arange(len(features), dtype=float)  # type: ignore[method-assign]
    bare = Joint(likelihood, oracle, JointCalibration(distance=1.5))
    said = predict(bare, mocks)
    assert said.zwarn is not None
    flagged = (said.zwarn & int(ZWarn.OUT_OF_DISTRIBUTION)) != 0
    np.testing.assert_array_equal(flagged, np.arange(3) > 1.5)


def test_p_of_z_agrees_with_prob(likelihood: Likelihood, mocks: Spectra) -> None:
    """It holds 1 in all, and each class its PROB."""
    made = Joint(likelihood, Oracle(labels(mocks), 3.0), JointCalibration())
    said = predict(made, noisy(mocks, 8.0), frozenset({"zpdf"}))
    assert said.zpdf is not None
    total = np.zeros((3, len(likelihood.classes)))
    np.add.at(total, (said.zpdf.row, said.zpdf.label), said.zpdf.mass)
    np.testing.assert_allclose(total.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(total, said.prob, atol=5e-3)


def test_p_of_z_has_the_tails_of_the_fit(likelihood: Likelihood, mocks: Spectra) -> None:
    widths = []
    for tails in ({}, {"GALAXY": (0.4, 0.003)}):
        fit = dataclasses.replace(likelihood.calibration, wings=tails)
        made = Joint(likelihood, Oracle(labels(mocks)), JointCalibration(fit=fit))
        said = predict(made, mocks, frozenset({"zpdf"}))
        assert said.zpdf is not None
        u, p = said.zpdf.marginal(0)
        mean = np.trapezoid(p * u, u)
        widths.append(np.trapezoid(p * (u - mean) ** 2, u))
    assert widths[1] - widths[0] == pytest.approx(0.4 * 0.003**2, rel=0.05)


def test_fast_gives_no_p_of_z(likelihood: Likelihood, mocks: Spectra) -> None:
    """It looked at few redshifts."""
    made = Joint(likelihood, Oracle(labels(mocks)), JointCalibration())
    with pytest.raises(ConfigError, match="leave out --fast"):
        predict(made, mocks, frozenset({"fast", "zpdf"}))


def test_limits_of_redshift(likelihood: Likelihood, mocks: Spectra) -> None:
    """They hold for what the network proposes, too; a class may lose all that it proposes."""
    made = Joint(likelihood, Oracle([("QSO", 3.0)] * 3), JointCalibration())
    cut = made.limited({"QSO": (0.5, 2.0)})
    assert made.limited({"QSO": (0.5, 2.0)}) is cut
    number = [spec.name for spec in cut.classes].index("QSO")
    for want in (frozenset[Want](), FAST):
        z = predict(cut, mocks, want).z[:, number]
        assert np.all((z > 0.49) & (z < 2.01))
    with pytest.raises(ConfigError, match="did you mean 'QSO'"):
        made.limited({"QSOO": (0.5, 2.0)})


def test_weights_are_learned(likelihood: Likelihood, mocks: Spectra) -> None:
    """A network that knows gets power over evidence that does not; one that errs gets little."""
    faint = noisy(mocks, 30.0)
    known = named(faint, "mock")
    right = list(solved(faint, known, likelihood, Oracle(labels(mocks)), "mock"))
    turned = [("STAR", 0.0) if kind != "STAR" else ("QSO", 2.0) for kind, _ in labels(mocks)]  # type: ignore[misc]
    wrong = list(solved(faint, known, likelihood, Oracle(list(turned)), "mock"))
    good, loss = fitting.fit(right)
    bad, worse = fitting.fit(wrong)
    assert loss < worse
    assert sum(good.network.values()) > sum(bad.network.values())
    assert bad.floor > good.floor or max(bad.network.values()) < 0.5
    assert fitting.fit(right) == (good, loss)


def test_loss_is_that_of_the_posterior(likelihood: Likelihood, mocks: Spectra) -> None:
    """The table's loss at given weights is -ln of the share that ranking gives the truth."""
    faint = noisy(mocks, 10.0)
    made = list(solved(faint, named(faint, "mock"), likelihood, Oracle(labels(mocks)), "mock"))
    theta = torch.tensor(fitting.START, dtype=torch.float64)
    loss = fitting.losses(theta, fitting.table(made))
    weights = fitting.weights_of(theta)
    for case, one in zip(made, loss.tolist(), strict=True):
        together = dataclasses.replace(case, weights=weights).together
        order = ranked(case.found, together, case.bases)
        share = truth_share(case, together)
        assert one == pytest.approx(-math.log(0.99 * share + 0.005), abs=1e-3)
        assert share <= float(order.classes.sum()) + 1e-9


def truth_share(case: JointCase, together: Solutions) -> float:
    """What good solutions of the label's class hold."""
    masses = torch.softmax(-torch.cat([together.value, together.rest], 1) / 2, 1)[0]
    total = 0.0
    for column, label in enumerate(case.found.label.tolist()):
        basis = case.bases[label]
        off = abs(float(case.found.shift[0, column]) * PIXEL_LN - math.log1p(case.known.z))
        if basis.spectype == case.known.spectype and off < basis.good_dz:
            total += float(masses[column])
    return total


def test_calibration_is_learned_and_kept(likelihood: Likelihood, mocks: Spectra) -> None:
    """Weights, ZCONF and thresholds come from cases, and survive a checkpoint's JSON."""
    made = list(solved(mocks, named(mocks, "mock"), likelihood, Oracle(labels(mocks)), "real"))
    found = calibrating.learned(made, made, likelihood.calibration)
    assert len(found.confidence) == 1 + len(calibrating.confidence.FEATURES)
    assert found.fit.temper == 1.0
    assert found.fit.scatter == likelihood.calibration.scatter
    assert JointCalibration.restore(found.stored()) == found
    assert JointCalibration.restore(JointCalibration().stored()) == JointCalibration()


def test_infinite_numbers_teach_nothing(likelihood: Likelihood, mocks: Spectra) -> None:
    """A class that the network has no distance of makes no threshold NaN."""
    oracle = Oracle(labels(mocks))
    oracle.distance = lambda features: np.array([1.0, 2.0, np.inf])[: len(features)]  # type: ignore[method-assign]
    made = list(solved(mocks, named(mocks, "mock"), likelihood, oracle, "real"))
    assert calibrating.limit(made) == pytest.approx(1.99, abs=0.01)
    others = [dataclasses.replace(case, group="mocks") for case in made[:1]]
    assert calibrating.limit(made[:1]) == calibrating.limit([*others, *made[:1]]) == 1.0
    assert calibrating.limit([*others, *made[1:2]]) == 2.0  # the group that lies farthest
    assert calibrating.limit([]) == math.inf
    lone = [dataclasses.replace(case, found=alone(case.found)) for case in made]
    found = calibrating.learned(made, [*made, *lone], likelihood.calibration)
    assert math.isfinite(found.fit.delta)
    assert calibrating.learned(made, lone, likelihood.calibration).fit.delta == (
        likelihood.calibration.delta
    )


def alone(found: Solutions) -> Solutions:
    """With one solution."""
    first = found.value == found.value.amin(1, keepdim=True)
    return dataclasses.replace(found, value=found.value.where(first, torch.inf))


def test_floor_stays_a_share() -> None:
    """However far the fit would raise it."""
    theta = torch.tensor([*fitting.START[:-1], 0.4], dtype=torch.float64)
    assert fitting.weights_of(theta).floor < 1


def test_one_solution_is_the_answer(likelihood: Likelihood, mocks: Spectra) -> None:
    """Z, CANDIDATES, CHI2 and the model are those of the first candidate by shares.

    Neither a minimum of its class without a fit, nor a fit of lower value but less mass, counts.
    """
    faint, bases = noisy(mocks, 40.0), likelihood.bases
    ((rows, pixels, found),) = likelihood.solutions(faint.arms)
    first = rank(found, bases, 1.0).column[:, 0]
    here = torch.arange(len(found.label)) == first[:, None]
    other = (found.label == found.label[first][:, None]) & found.shift.isfinite() & ~here
    assert bool(other.any(1).all())
    deeper = found.value.where(here, torch.inf).amin(1, keepdim=True) - 1e-3
    found = dataclasses.replace(
        found, value=deeper.where(other, found.value), fitted=found.fitted & ~other
    )
    judged = judge(pixels, found, bases, dataclasses.replace(Calibration(), temper=1.0))
    out = Output(3, likelihood.classes, faint.arms, frozenset())
    out.fill(rows, judged, bases, 0.0)
    said, row = out.prediction(), np.arange(3)
    assert said.candidates is not None
    assert said.chi2 is not None
    np.testing.assert_array_equal(said.z[row, said.best], said.candidates.z[:, 0])
    np.testing.assert_array_equal(said.sigma[row, said.best], said.candidates.sigma[:, 0])
    np.testing.assert_array_equal(said.chi2, said.candidates.chi2[:, 0])
    found.value[torch.arange(3), first] += 5e-3  # what is beside it holds more, by its others
    order = rank(found, bases, 1.0).column[:, 0]
    model = leading(found, bases, 1.0).where(found.fitted, torch.inf).argmin(1)
    assert torch.equal(model, order)


def test_saved_and_read_again(likelihood: Likelihood, mocks: Spectra, tmp_path: Path) -> None:
    """A checkpoint holds bases and network; another's is refused in one line."""
    path = tmp_path / "own.safetensors"
    small(likelihood).save(path)
    once = Joint.load(path)
    once.save(tmp_path / "again.safetensors")
    said, again = predict(once, mocks), predict(Joint.load(tmp_path / "again.safetensors"), mocks)
    np.testing.assert_array_equal(said.z, again.z)
    np.testing.assert_array_equal(said.prob, again.prob)
    with pytest.raises(ConfigError, match="not zspec"):
        Joint.load(checkpoint.find("likelihood"))
    with pytest.raises(ConfigError, match="float64"):
        Joint.load(path, "mps")


def test_fast_is_zspecs_alone(likelihood: Likelihood) -> None:
    """Another model refuses --fast in one line."""
    from zspec.prediction import Task

    with pytest.raises(ConfigError, match="likelihood gives no fast"):
        Task(want=FAST).check(likelihood)
    Task(want=FAST).check(small(likelihood))


def test_shipped_checkpoint(mocks: Spectra, solutions: Solutions) -> None:
    """It is small, calibrated, and says what it was made of."""
    path = checkpoint.find("zspec")
    assert path.stat().st_size < 20e6
    made = Joint.load(path)
    assert made.calibrated
    weights = made.calibration.weights
    assert 0 < weights.floor < 1
    never = told(mocks, [("QSO", 3.0)] * 3)
    bases = made.likelihood.bases
    met = meet(solutions, never, bases, solutions.sigma)
    found = opinions(solutions, met, bases, dataclasses.replace(weights, prior={}, nearby=0.0))
    kinds = [made.likelihood.bases[k].spectype for k in solutions.label.tolist()]
    least = torch.tensor([weights.network.get(kind, 1.0) for kind in kinds]) * math.log(
        weights.floor
    )
    assert bool((found / 2 >= least - 1e-6).all())  # floor to the power b
    assert {"recipe", "seed", "surveys", "figures"} <= set(made.meta)
    assert made.calibration.fit.model_error > 0


def test_recipe_is_strict() -> None:
    """A key that is none is named."""
    from zspec.training import find_recipe

    given = find_recipe("zspec")
    assert recipe.parse(given).validation.mocks > 0
    with pytest.raises(ConfigError, match=r"validation\.mocs"):
        recipe.parse({**given, "validation": {"mocs": 3}})


def test_a_spike_of_the_network_cannot_veto(likelihood: Likelihood, mocks: Spectra) -> None:
    """What fits exactly stays the answer, whatever the network says, within its floor."""
    weights = Weights(evidence=1.0, saturation=1e6, floor=1e-3)
    fit = dataclasses.replace(Calibration(), temper=1.0)
    made = Joint(likelihood, Oracle([("QSO", 3.0)] * 3), JointCalibration(weights, fit))
    alone = likelihood.predict(Chunk(mocks))
    np.testing.assert_array_equal(predict(made, mocks).best, alone.best)


def test_arms_without_data(likelihood: Likelihood) -> None:
    """A row without a good pixel has no class; the others keep theirs."""
    wave = np.arange(4000.0, 9000.0, 2.0)
    flux = np.ones((2, len(wave)), np.float32)
    ivar = np.stack([np.zeros_like(flux[0]), flux[0]])
    arm = Arm("A", wave, flux * ivar, ivar)
    given = Spectra((arm,), np.arange(2, dtype=np.int64), np.arange(2, dtype=np.int32))
    for want in (frozenset[Want](), FAST):
        said = predict(small(likelihood), given, want)
        assert np.isnan(said.prob[0]).all()
        assert said.prob[1].sum() == pytest.approx(1, abs=1e-5)
