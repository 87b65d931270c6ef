"""The likelihood is honest: its posterior adds up, and each reason for distrust can be provoked."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from zspec import checkpoint
from zspec.estimator import Chunk, Prediction
from zspec.estimators.likelihood import Likelihood
from zspec.flags import ZWarn
from zspec.likelihood import (
    confidence,
    noise,
    pixels,
    posterior,
    ranking,
    reasons,
    refine,
    scatter,
    solve,
    validate,
    widths,
)
from zspec.likelihood.basis import LIGHT, PIXEL_KMS, STEP, Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.mocks import mocks
from zspec.survey import Arm, Spectra

WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


def galaxy(shipped: Likelihood, z: float, wave: np.ndarray = WAVE) -> np.ndarray:
    """The mean galaxy at native wavelengths, of median 1."""
    basis = shipped.bases[0]
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    flux = np.interp(np.log10(wave / (1 + z)) / STEP, rest, basis.vectors[0], left=0, right=0)
    return flux / np.median(flux)


def seen(flux: np.ndarray, sigma: float, seed: int = 0) -> Spectra:
    """``flux`` (n, pixel) with white noise, in one arm."""
    flux = np.atleast_2d(flux)
    noisy = flux + sigma * np.random.default_rng(seed).standard_normal(flux.shape)
    return of(Arm("A", WAVE, noisy.astype(np.float32), np.full(flux.shape, sigma**-2, np.float32)))


def of(*arms: Arm) -> Spectra:
    n = len(arms[0].flux)
    return Spectra(arms, np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int32))


def flags(shipped: Likelihood, data: Spectra) -> np.ndarray:
    found: Prediction = shipped.predict(Chunk(data))
    assert found.zwarn is not None
    return found.zwarn


def test_bases_of_a_spectype_share_its_prior(shipped: Likelihood) -> None:
    prior = torch.exp(-posterior.measure(shipped.bases) / 2)
    for spectype in ("GALAXY", "QSO", "STAR"):
        mine = [
            float(p) for p, b in zip(prior, shipped.bases, strict=True) if b.spectype == spectype
        ]
        assert sum(mine) == pytest.approx(posterior.STARS if spectype == "STAR" else 1)


@pytest.mark.parametrize("z_range", [(0.2, 0.4), (-0.005, 1.0)])
def test_a_shorter_range_of_redshifts_changes_no_odds(
    shipped: Likelihood, z_range: tuple[float, float]
) -> None:
    data = pixels.native(seen(galaxy(shipped, 0.3), 2.0).arms)
    bases = [shipped.bases[0], shipped.bases[1]]
    short = [dataclasses.replace(bases[0], z_range=z_range), bases[1]]
    best = []
    for these in (bases, short):
        found = solve.solve(data, these, 0.0)
        at = torch.where(found.label == 0, found.value, torch.inf).argmin()
        best.append(float(found.value[0, at]))
    assert best[0] == pytest.approx(best[1], abs=0.05)


def test_basins_hold_all_of_the_mass() -> None:
    x = torch.arange(400, dtype=torch.float64)
    curve = 0.02 * (x - 90) ** 2
    curve = torch.minimum(curve, 3 + 0.05 * (x - 220) ** 2).clamp(max=40)[None]
    found = refine.minima(curve, 10, 3, apart=15)
    width, rest = posterior.basins(curve, found, 10 + x, apart=15)
    peaks = torch.where(width > 0, found.value - 2 * width.log(), torch.inf)
    summed = posterior.total(torch.cat([peaks, rest[:, None]], 1))
    assert float(summed) == pytest.approx(float(-2 * torch.logsumexp(-curve / 2, 1)), abs=1e-9)
    assert float(width[0, 0]) == pytest.approx(math.sqrt(2 * math.pi * 50), rel=0.05)


def test_a_sharp_peak_is_integrated_between_pixels() -> None:
    sigma = torch.tensor([[0.05, 3.0, 3.0]], dtype=torch.float64)
    basin = torch.tensor([[1.0, 7.5, 7.5]], dtype=torch.float64)
    step = torch.tensor([1, 3, 6])  # a scan of 6 pixels may miss most of a peak of 3
    expected = [-2 * math.log(width) for width in (0.05 * math.sqrt(2 * math.pi), 7.5)]
    expected.append(-2 * math.log(3 * math.sqrt(2 * math.pi)))
    assert posterior.spacious(sigma, basin, step)[0].tolist() == pytest.approx(expected)


def test_the_error_of_the_model_bounds_snr() -> None:
    data = pixels.native(seen(np.full(len(WAVE), 2.0), 1e-4).arms)
    told = noise.with_model_error(data, 0.03)
    inner = slice(noise.REACH, -noise.REACH)
    assert torch.allclose(told.ivar[:, inner] ** -0.5, torch.tensor(0.06).double(), rtol=1e-3)
    assert noise.with_model_error(data, 0.0) is data
    data.ivar[:, 50:80] = 0
    assert (noise.with_model_error(data, 0.03).ivar[:, 50:80] == 0).all()


def test_a_rescaled_spectrum_has_the_same_posterior(shipped: Likelihood) -> None:
    arm = seen(galaxy(shipped, 0.3), 0.1).arms[0]
    big = dataclasses.replace(arm, flux=arm.flux * 64, ivar=arm.ivar / 64**2, good=None)
    first, second = (shipped.predict(Chunk(of(a))) for a in (arm, big))
    assert np.allclose(first.prob, second.prob, atol=1e-6)
    assert np.allclose(first.z, second.z, atol=1e-8)
    assert np.allclose(first.deltachi2, second.deltachi2, rtol=1e-5)


def test_chi2_is_that_of_the_file(shipped: Likelihood) -> None:
    data = seen(galaxy(shipped, 0.3), 0.01)
    found = shipped.predict(Chunk(data), frozenset({"model"}))
    assert found.model is not None
    assert found.chi2 is not None
    arm = data.arms[0]
    own = ((arm.flux - found.model[0]) ** 2 * arm.ivar).sum()
    assert float(found.chi2[0]) == pytest.approx(float(own), rel=1e-4)


def test_shares_of_classes_and_candidates_add_up(shipped: Likelihood) -> None:
    found = shipped.predict(Chunk(seen([galaxy(shipped, z) for z in (0.1, 0.4, 0.7)], 1.0)))
    assert np.allclose(found.prob.sum(1), 1, atol=1e-6)
    assert found.candidates is not None
    assert (np.nansum(found.candidates.prob, axis=1) <= 1 + 1e-6).all()


def test_a_class_without_flaw_passes(shipped: Likelihood) -> None:
    assert flags(shipped, seen(galaxy(shipped, 0.3), 0.1))[0] == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_and_blank_sky_do_not_pass(shipped: Likelihood, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sky = np.zeros((20, len(WAVE)))
    lines = rng.integers(2500, 3950, 60)  # residuals of OH lines: too strong for their errors
    sky[:10, lines] = 2 * rng.standard_normal((10, 60))
    assert (flags(shipped, seen(sky, 1.0, seed)) != 0).all()


def test_a_featureless_power_law_does_not_pass(shipped: Likelihood) -> None:
    flux = np.array([(WAVE / 6000) ** slope for slope in (-1.5, -0.5, 0.5)])
    assert (flags(shipped, seen(flux, 0.2)) != 0).all()


def test_a_hot_pixel_is_no_line(shipped: Likelihood) -> None:
    flux = np.full((4, len(WAVE)), 0.2)
    flux[np.arange(4), [900, 1700, 2600, 3300]] += 12
    assert (flags(shipped, seen(flux, 1.0)) != 0).all()


def test_a_dead_arm_costs_no_redshift(shipped: Likelihood) -> None:
    arm = seen(galaxy(shipped, 0.3), 0.1).arms[0]
    blue = Arm("B", WAVE[:2100], arm.flux[:, :2100], arm.ivar[:, :2100])
    red = Arm("R", WAVE[2100:], arm.flux[:, 2100:], arm.ivar[:, 2100:] * 0)
    alone, with_dead = (shipped.predict(Chunk(of(*arms))) for arms in ((blue,), (blue, red)))
    assert np.allclose(alone.z[0, 0], with_dead.z[0, 0], atol=1e-6)


def test_a_redshift_at_the_limit_is_told(shipped: Likelihood) -> None:
    short = dataclasses.replace(shipped.bases[0], z_range=(-0.005, 0.295))
    fitter = Likelihood([short], calibration=shipped.calibration)
    assert flags(fitter, seen(galaxy(shipped, 0.3), 0.1))[0] & ZWarn.Z_FITLIMIT


def equal(bases: list[Basis], labels: list[int], shifts: list[float]) -> solve.Solutions:
    """Solutions of one spectrum that are as good as each other."""
    size = len(labels)
    ones = torch.ones(1, size, dtype=torch.float64)
    return solve.Solutions(
        label=torch.tensor(labels), shift=torch.tensor([shifts], dtype=torch.float64),
        sigma=ones, value=100 * ones, basin=ones, fitted=ones.bool(), chi2=100 * ones,
        rest=torch.full((1, len(bases)), torch.inf, dtype=torch.float64),
        null=torch.tensor([500.0], dtype=torch.float64),
        outliers=0 * ones, light=ones, own=ones, unexplained=ones, spike=0 * ones,
        settled=ones.bool(), model=None,
    )  # fmt: skip


def test_two_equal_candidates_are_told(shipped: Likelihood) -> None:
    bases = list(shipped.bases)
    two_z = equal(bases, [0, 0], [500.0, 900.0])
    ranked = ranking.rank(two_z, bases, 1.0)
    assert ranked.share[0, :2].tolist() == pytest.approx([0.5, 0.5])
    data, known = pixels.native(seen(np.ones(len(WAVE)), 1.0).arms), shipped.calibration
    bits = reasons.reasons(data, two_z, ranked, bases, known)[0]
    assert bits & ZWarn.SMALL_DELTA_CHI2
    assert bits & ZWarn.MULTIMODAL
    assert not bits & ZWarn.CLASS_AMBIGUOUS
    two_classes = equal(bases, [0, 1], [500.0, 500.0])
    ranked = ranking.rank(two_classes, bases, 1.0)
    bits = reasons.reasons(data, two_classes, ranked, bases, known)[0]
    assert bits & ZWarn.CLASS_AMBIGUOUS


def test_the_same_redshift_of_two_star_types_is_one(shipped: Likelihood) -> None:
    bases = list(shipped.bases)
    types = [i for i, basis in enumerate(bases) if basis.spectype == "STAR"][:2]
    ranked = ranking.rank(equal(bases, types, [1.0, 1.2]), bases, 1.0)
    assert float(ranked.share[0, 0]) == pytest.approx(1)
    assert ranked.value[0, 1].isinf()


def test_candidates_stand_in_the_order_of_their_shares(shipped: Likelihood) -> None:
    bases = list(shipped.bases)
    types = [i for i, basis in enumerate(bases) if basis.spectype == "STAR"][:3]
    found = equal(bases, [0, *types], [700.0, 1.0, 1.1, 1.2])
    found.value[0, 0] -= 1.0
    ranked = ranking.rank(found, bases, 1.0)
    assert int(found.label[ranked.column[0, 0]]) in types
    assert float(ranked.share[0, 0]) > 0.5
    assert float(ranked.delta[0]) == 0


def test_the_confidence_model_recovers_its_own_truth() -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((20_000, 2)) * [1, 5] + [0, 3]
    true = np.array([0.5, 1.0, -0.4])
    good = rng.uniform(size=len(table)) < confidence.probability(table, true)
    found = confidence.learn(table, good)
    assert found == pytest.approx(true, abs=0.1)


def test_weakened_spectra_have_the_errors_that_they_state() -> None:
    data = seen(np.full((1, len(WAVE)), 5.0), 1.0)
    worse = validate.weakened(data, 4, np.random.default_rng(3)).arms[0]
    assert np.allclose(worse.ivar, 1 / 16)
    assert worse.flux.std() == pytest.approx(4, rel=0.05)
    same = validate.weakened(data, 1, np.random.default_rng(3)).arms[0]
    assert np.array_equal(same.flux, data.arms[0].flux)


def test_mocks_for_calibration_are_known_and_always_the_same() -> None:
    recipe = {"seed": 4, "mocks": {"surveys": ["sdss"], "number": 3}}
    made, again = mocks(recipe), mocks(recipe)
    kinds = [one.spectype for one in made]
    assert set(kinds) == {"GALAXY", "QSO", "STAR"}
    assert kinds == sorted(kinds)
    assert len({one.key for one in made}) == len(made)
    assert all(len(one.spectrum) == 1 and one.z_err == 0 for one in made)
    for one, other in zip(made, again, strict=True):
        assert np.array_equal(one.spectrum.arms[0].flux, other.spectrum.arms[0].flux)
    assert mocks({"seed": 4}) == []


def test_a_survey_of_galaxies_alone_gives_mocks_of_galaxies() -> None:
    made = mocks({"seed": 4, "mocks": {"surveys": ["csst"], "number": 3}})
    assert made
    assert {one.spectype for one in made} == {"GALAXY"}
    assert all(one.key.startswith("csst GALAXY") and np.isfinite(one.z) for one in made)


def test_a_sigma_that_is_not_known_teaches_no_scatter(shipped: Likelihood) -> None:
    fitter = shipped.calibrated_by(Calibration(0.02))
    data = seen(galaxy(shipped, 0.3), 0.3)
    known = [validate.Known(f"{s}", "GALAXY", 0.3 + 0.0003 * s, 0.0, data) for s in (-1, 1)]
    rows = 13 * list(validate.cases(known, [fitter] * validate.FOLDS, (1,)))
    found = dataclasses.replace(rows[0].found, sigma=rows[0].found.sigma * math.nan)
    strange = dataclasses.replace(rows[0], found=found)
    clean, with_strange = (widths.scattering(each, {}) for each in (rows, [*rows, strange]))
    assert clean["GALAXY"][0][1] > 5 * scatter.FLOOR
    assert with_strange == clean
    assert widths.scattering([strange], {}) == {}


def test_mocks_teach_sigma_and_not_what_is_strange(shipped: Likelihood) -> None:
    """Exact redshifts that are far off their fits widen ZERR; limits of real spectra stay."""
    fitter = shipped.calibrated_by(Calibration(0.02))
    data = seen(galaxy(shipped, 0.3), 0.3)

    def case(z: float) -> validate.Case:
        one = validate.Known(f"at {z}", "GALAXY", z, 0.0, data)
        return next(validate.cases([one], [fitter] * validate.FOLDS, (1,)))

    real, off = [case(0.3)] * 25, [case(0.3 + 0.0003 * sign) for sign in (-1, 1)] * 25
    alone = validate.learned(real, [], 0.02)
    both = validate.learned(real, [], 0.02, off)
    at = np.array(0.3)
    assert scatter.at(alone.scatter, "GALAXY", at) < 5e-5
    assert scatter.at(both.scatter, "GALAXY", at) == pytest.approx(0.0003 / 1.3, rel=0.3)
    for name in ("unexplained", "own", "confidence"):
        assert getattr(both, name) == getattr(alone, name)


def test_tails_are_what_labels_know_and_no_other_peak_holds(shipped: Likelihood) -> None:
    """Each object counts once; what another candidate holds, and an error of the label, is none."""
    fitter = shipped.calibrated_by(Calibration(0.02))
    data = seen(galaxy(shipped, 0.3), 0.3)
    one = next(validate.cases([validate.Known("", "GALAXY", 0.3, 0.0, data)], [fitter] * 5, (1,)))

    def case(key: str, off: float = 0.0, error: float = 0.0) -> validate.Case:
        known = dataclasses.replace(one.known, key=key, z=0.3 + off, z_err=error)
        return dataclasses.replace(one, known=known)

    right = [case(str(i), 1e-6 * i) for i in range(40)]
    far = [case(f"far {i}", 0.001) for i in range(6)]
    share, width = widths.tails([*right, *far], {}, {})["GALAXY"]
    assert share == pytest.approx(6 / 46, rel=0.3)
    assert width == pytest.approx(0.001 / 1.3, rel=0.3)
    assert widths.tails(right, {}, {}) == {}
    assert (
        widths.tails([*right, *(case("far", 0.001) for _ in range(6))], {}, {})["GALAXY"][0] < 0.06
    )
    assert widths.tails([*right, *(case(f"{i}", 0.001, 0.001) for i in range(6))], {}, {}) == {}


def test_what_another_candidate_holds_is_no_tail(shipped: Likelihood) -> None:
    """Two candidates of a star, 200 km/s apart, of which the label is at either or at none."""
    fitter = shipped.calibrated_by(Calibration(0.02))
    known = validate.Known("", "STAR", 0.0, 0.0, seen(galaxy(shipped, 0.3), 0.3))
    case = next(validate.cases([known], [fitter] * 5, (1,)))
    first, second = case.ranked(1.0).column[0, :2].tolist()
    own = {name: getattr(case.found, name).clone() for name in ("label", "shift")}
    found = dataclasses.replace(case.found, **own)
    found.label[[first, second]] = [basis.spectype for basis in case.bases].index("STAR")
    found.shift[0, [first, second]] = torch.tensor([0.0, 200 / PIXEL_KMS], dtype=torch.float64)
    order = case.ranked(1.0)
    for velocity, expected in ((0, False), (90, False), (150, True), (200, True), (400, False)):
        there = dataclasses.replace(known, z=math.expm1(velocity / LIGHT))
        assert dataclasses.replace(case, found=found, known=there).elsewhere(order) is expected


def test_a_calibration_is_learned_and_kept(shipped: Likelihood, tmp_path: Path) -> None:
    """From spectra of two bases: no scatter beyond the noise, and more trust where SNR is high."""
    fitter = Likelihood([shipped.bases[0], shipped.bases[5]])
    known = []
    for number, z in enumerate(np.linspace(0.05, 0.6, 6)):
        data = seen(galaxy(shipped, z), 0.35, number)
        known.append(validate.Known(f"object {number}", "GALAXY", float(z), 0.0, data))
    found = validate.calibrate(known, [fitter] * validate.FOLDS)
    assert 0.3 <= found.temper <= 1
    assert scatter.FLOOR <= scatter.at(found.scatter, "GALAXY", np.array(0.3)) < 2e-4
    kept = fitter.calibrated_by(found)
    kept.save(tmp_path / "kept.safetensors")
    again = Likelihood.load(tmp_path / "kept.safetensors")
    assert again.calibration == found
    assert again.calibrated
    bright, faint = (
        again.predict(Chunk(seen(galaxy(shipped, 0.3), sigma, 9))).zconf for sigma in (0.2, 20.0)
    )
    assert bright is not None
    assert faint is not None
    assert bright[0] > 0.9 > 0.5 > faint[0]


def test_without_a_calibration_nothing_is_promised(shipped: Likelihood) -> None:
    raw = Likelihood(shipped.bases)
    assert not raw.calibrated
    assert np.isnan(raw.predict(Chunk(seen(galaxy(shipped, 0.3), 0.2))).zconf).all()
