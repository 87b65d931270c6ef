"""p(z) adds up, agrees with the catalogue, and depends on no grid; the bound is what it says."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy.special import ndtr

from zspec import Chunk, ConfigError, Prediction, WaveGrid, catalog, checkpoint, cramer_rao
from zspec.density import Densities, empty, gather
from zspec.estimator import Want
from zspec.estimators.likelihood import Likelihood
from zspec.evaluation.densities import read_densities
from zspec.evaluation.frame import open_frame
from zspec.evaluation.measure import Settings, evaluate
from zspec.evaluation.sample import Choice, Columns, assemble
from zspec.likelihood import conformal, scan, scatter, stretch, wings
from zspec.likelihood.basis import LIGHT, STEP
from zspec.likelihood.calibration import Calibration
from zspec.metrics import choose
from zspec.metrics.densities import judge
from zspec.prediction import Task, predict
from zspec.survey import Arm, Spectra, Truth
from zspec.tables import predict_rows
from zspec.testing.estimator import predict as answer

WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å
PDF = frozenset({"zpdf"})


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


@pytest.fixture(scope="module")
def bare(shipped: Likelihood) -> Likelihood:
    return shipped.calibrated_by(Calibration())


def light(shipped: Likelihood, z: float, wave: np.ndarray = WAVE, number: int = 0) -> np.ndarray:
    """The mean spectrum of a basis at native wavelengths, of median 1."""
    basis = shipped.bases[number]
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    flux = np.interp(np.log10(wave / (1 + z)) / STEP, rest, basis.vectors[0], left=0, right=0)
    return flux / np.median(flux)


def seen(flux: np.ndarray, sigma: float, seed: int = 0) -> Spectra:
    """``flux`` (n, pixel) with white noise, in one arm."""
    flux = np.atleast_2d(flux)
    noisy = flux + sigma * np.random.default_rng(seed).standard_normal(flux.shape)
    ivar = np.full(flux.shape, sigma**-2, np.float32)
    n = np.arange(len(flux))
    arm = Arm("A", WAVE, noisy.astype(np.float32), ivar)
    return Spectra((arm,), n.astype(np.int64), n.astype(np.int32))


def mixture(shipped: Likelihood) -> Spectra:
    """From certain to hopeless, of three classes, and one row without data."""
    galaxy, quasar, star = (light(shipped, z, number=i) for i, z in ((0, 0.3), (1, 2.2), (4, 0)))
    flux = np.stack([galaxy, galaxy, quasar, star, star, galaxy])
    data = seen(flux * np.array([[20], [0.3], [0.4], [5], [0.2], [1]]), 1.0, 1)
    data.arms[0].ivar[5] = 0
    return data


@pytest.fixture(scope="module")
def said(shipped: Likelihood) -> Prediction:
    """Without tails, which no ZERR knows of."""
    plain = shipped.calibrated_by(dataclasses.replace(shipped.calibration, wings={}))
    return plain.predict(Chunk(mixture(shipped)), PDF)


def test_p_of_z_integrates_to_one(said: Prediction) -> None:
    assert said.zpdf is not None
    for row in range(5):
        u, p = said.zpdf.marginal(row)
        assert np.trapezoid(p, u) == pytest.approx(1, abs=1e-5)
        assert (p >= 0).all()
    assert len(said.zpdf.marginal(5)[0]) == 0
    total = np.bincount(said.zpdf.row, said.zpdf.mass, 6)
    assert total == pytest.approx([1, 1, 1, 1, 1, 0], abs=1e-6)


def test_it_agrees_with_prob(said: Prediction) -> None:
    assert said.zpdf is not None
    share = np.zeros_like(said.prob)
    np.add.at(share, (said.zpdf.row, said.zpdf.label), said.zpdf.mass)
    assert share[:5] == pytest.approx(said.prob[:5], abs=2e-3)


def test_it_agrees_with_the_candidates(said: Prediction) -> None:
    """Around a candidate lies its share, of its spectype; little more where it holds most."""
    assert said.zpdf is not None
    assert said.candidates is not None
    kinds = np.array([spec.spectype for spec in said.classes])
    found = said.candidates
    for row, k in np.argwhere(found.prob > 0.02):
        kind = kinds[found.label[row, k]]
        u, p = said.zpdf[kinds[said.zpdf.label] == kind].marginal(row)
        near = np.abs(u - np.log1p(found.z[row, k])) < (200 if kind == "STAR" else 2000) / LIGHT
        there, share = np.trapezoid(np.where(near, p, 0), u), found.prob[row, k]
        assert there > share - 0.02
        assert share < 0.9 or there == pytest.approx(share, abs=0.02)
    assert (found.prob[:5, 0] > 0.9).sum() >= 2


def test_the_redshift_of_a_sharp_peak_is_its_middle(said: Prediction) -> None:
    assert said.zpdf is not None
    u, p = said.zpdf.marginal(0)
    best = said.best[0]
    assert np.expm1(u[p.argmax()]) == pytest.approx(said.z[0, best], abs=said.sigma[0, best] / 10)
    mean = np.trapezoid(p * u, u)
    width = np.trapezoid(p * (u - mean) ** 2, u) ** 0.5
    assert width == pytest.approx(said.sigma[0, best] / (1 + said.z[0, best]), rel=0.05)


def quantiles(found: Densities, row: int) -> np.ndarray:
    """ln(1 + z) below which a tenth to nine tenths lie."""
    u, p = found.marginal(row)
    below = np.concatenate([[0], np.cumsum(np.diff(u) * (p[1:] + p[:-1]) / 2)])
    return np.interp(np.linspace(0.1, 0.9, 9), below, u)


def test_a_finer_grid_changes_nothing(bare: Likelihood, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mixture(bare)[:4]
    coarse = bare.predict(Chunk(data), PDF)
    monkeypatch.setattr(scan, "STEPS", {"GALAXY": 1, "QSO": 2, "STAR": 1})
    fine = bare.predict(Chunk(data), PDF)
    assert coarse.zpdf is not None
    assert fine.zpdf is not None
    assert fine.prob == pytest.approx(coarse.prob, abs=0.04)  # of a tie: what scans see coarsely
    for row in (0, 3):
        assert quantiles(fine.zpdf, row) == pytest.approx(quantiles(coarse.zpdf, row), abs=2e-5)


def test_a_shorter_range_changes_nothing(bare: Likelihood) -> None:
    data = seen(light(bare, 0.3), 0.5)
    long, short = (
        Likelihood([dataclasses.replace(bare.bases[0], z_range=ends)]).predict(Chunk(data), PDF)
        for ends in ((-0.005, 1.5), (0.2, 0.4))
    )
    assert long.zpdf is not None
    assert short.zpdf is not None
    assert quantiles(long.zpdf, 0) == pytest.approx(quantiles(short.zpdf, 0), abs=1e-7)


def test_the_level_of_a_gaussian_is_the_textbooks() -> None:
    sigma, x = 1e-4, np.arange(-20, 21) / 4
    p = np.exp(-(x**2) / 2)
    p[[0, -1]] = 0
    u = 0.3 + sigma * x
    for t in (-2.5, -1.0, 0.3, 1.96):
        found = judge(u, 7 * p, float(np.expm1(0.3 + t * sigma)))  # any scale
        assert found.level == pytest.approx(2 * ndtr(abs(t)) - 1, abs=4e-3)
        assert found.rank == pytest.approx(ndtr(t), abs=2e-3)
        width, density = sigma * math.exp(0.3), np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
        crps = width * (t * (2 * ndtr(t) - 1) + 2 * density - 1 / math.sqrt(math.pi))
        assert found.score == pytest.approx(crps, rel=0.02)
    assert judge(u, p, 3.0).level == 1
    assert judge(u, p, 3.0).score == pytest.approx(3 - np.expm1(0.3), rel=1e-3)
    assert np.isnan(judge(np.zeros(0), np.zeros(0), 0.1).level)


def test_the_level_of_two_peaks_takes_the_higher_first() -> None:
    row, none = np.zeros(2, int), np.zeros(2, int)
    triangle = np.array([0.0, 1.0, 0.0])
    start, step = np.array([0.1, 0.5]), np.array([0.01, 0.02])
    two = gather(row, none, start, step, [60 * triangle, 20 * triangle])
    assert two.mass == pytest.approx([0.6, 0.4], rel=1e-6)
    u, p = two.marginal(0)
    found = judge(u, p, float(np.expm1(0.52)))  # the top of the lower peak
    assert found.level == pytest.approx(0.6 * (1 - (1 / 3) ** 2), abs=1e-6)
    assert found.rank == pytest.approx(0.8, abs=1e-6)


def test_a_catalogue_keeps_it(shipped: Likelihood, tmp_path: Path) -> None:
    data, grid = mixture(shipped), WaveGrid.log(3600, 9000)
    tables = predict_rows(data, "a.fits", shipped, grid, frozenset({"zpdf", "bound"}))
    stacked = {
        name: catalog.stack([columns], catalog.HDUS[name]) for name, columns in tables.items()
    }
    catalog.write(catalog.Catalog(stacked, {"ZSPECVER": "0"}), tmp_path / "z.fits")
    said = shipped.predict(Chunk(data), frozenset({"zpdf", "bound"}))
    assert said.zpdf is not None
    kept = Table.read(tmp_path / "z.fits", "ZPDF")  # by astropy alone
    assert len(kept) == len(said.zpdf)
    for row, value in zip(kept, said.zpdf.values(), strict=True):
        assert np.array_equal(row["DENSITY"], value)
    frame = open_frame(tmp_path / "z.fits")
    back = read_densities(frame)
    assert back is not None
    for row in range(6):
        assert np.array_equal(back.marginal(row), said.zpdf.marginal(row))
    assert frame["ZCRB"] == pytest.approx(said.bound, nan_ok=True)


def test_a_table_of_no_rows_is_kept_too(shipped: Likelihood, tmp_path: Path) -> None:
    tables = predict_rows(mixture(shipped)[:0], "a", shipped, WaveGrid.log(3600, 9000), PDF)
    made = catalog.stack([tables["ZPDF"]], catalog.ZPDF)
    catalog.write(catalog.Catalog({"ZPDF": made}), tmp_path / "z.fits")
    assert len(Table.read(tmp_path / "z.fits", "ZPDF")) == len(empty()) == 0


def test_a_model_without_it_says_so(shipped: Likelihood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Likelihood, "offers", frozenset())
    with pytest.raises(ConfigError, match="gives no zpdf"):
        predict([], shipped, Task(want=PDF))


def line(sigma: float, total: float, at: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear wavelengths, and a line of so many sigma in all on white noise of 1."""
    wave = np.arange(4000.0, 9000.0)
    flux = ndtr((wave + 0.5 - at) / sigma) - ndtr((wave - 0.5 - at) / sigma)
    return wave, (total / np.sqrt((flux**2).sum()) * flux)[None]


@pytest.mark.parametrize(("sigma", "within"), [(1.0, 0.01), (3.0, 0.001)])
@pytest.mark.parametrize("at", [6500.2, 6500.5])
def test_the_bound_of_one_line_is_the_closed_form(sigma: float, within: float, at: float) -> None:
    wave, flux = line(sigma, 12.0, at)
    found = cramer_rao([wave], [flux], [np.ones_like(flux)], np.array([0.3]))
    width = math.hypot(sigma, 12**-0.5)  # the pixel's own width adds to the line's
    assert found[0] / 1.3 == pytest.approx(math.sqrt(2) * width / (at * 12), rel=within)


def test_what_is_not_seen_is_not_known() -> None:
    wave, flux = line(2.0, 12.0, 6500.0)
    ivar = np.ones_like(flux)
    whole = cramer_rao([wave], [flux], [ivar], np.array([0.3]))
    noise = cramer_rao([wave], [flux], [4 * ivar], np.array([0.3]))
    assert noise[0] == pytest.approx(whole[0] / 2)
    left = np.where(np.abs(wave - 6500) < 20, 0.0, ivar)
    assert cramer_rao([wave], [flux], [left], np.array([0.3]))[0] > 100 * whole[0]
    none = cramer_rao([wave], [flux], [0 * ivar], np.array([0.3]))
    assert np.isnan(none[0])
    twice = cramer_rao([wave, wave], [flux, 0 * flux], [ivar, 0 * ivar], np.array([0.3]))
    assert twice[0] == pytest.approx(whole[0])


def test_a_basis_that_can_imitate_the_slope_costs_precision(shipped: Likelihood) -> None:
    flux, z = light(shipped, 0.3)[None], np.array([0.3])
    ivar = np.full_like(flux, 100.0)
    alone, inside = (
        cramer_rao([WAVE], [flux], [ivar], z, basis)[0] for basis in (None, shipped.bases[0])
    )
    assert inside > alone


def test_redshifts_scatter_as_the_bound_says(bare: Likelihood) -> None:
    """Monte Carlo: 80 realisations of one galaxy; 8 % is one standard error."""
    flux, z = light(bare, 0.3), np.array([0.3])
    data = seen(np.repeat(flux[None], 80, 0), 0.25, 5)
    fitter = Likelihood([bare.bases[0]])
    said = fitter.predict(Chunk(data), frozenset({"bound"}))
    ivar = np.full((1, len(WAVE)), 16.0)
    bound = cramer_rao([WAVE], [flux[None]], [ivar], z, bare.bases[0])[0]
    assert said.z[:, 0].std() == pytest.approx(bound, rel=0.2)
    assert said.bound is not None
    assert np.median(said.bound) == pytest.approx(bound, rel=0.1)


def test_nothing_is_given_that_is_not_asked_for(shipped: Likelihood) -> None:
    said = answer(shipped, mixture(shipped))
    assert said.zpdf is None
    assert said.bound is None


def test_evaluation_takes_p_of_z_where_there_is_one(shipped: Likelihood, tmp_path: Path) -> None:
    data = dataclasses.replace(
        mixture(shipped),
        truth=Truth(np.array(["GALAXY"] * 6), np.array([0.3, 0.3, 2.2, 0, 0, 0.3])),
    )
    metrics = choose(["cov68", "crps", "pit"])
    notes = []
    for want in (PDF, frozenset[Want]()):
        tables = predict_rows(data, "a.fits", shipped, WaveGrid.log(3600, 9000), want)
        made = {k: catalog.stack([part], catalog.HDUS[k]) for k, part in tables.items()}
        catalog.write(catalog.Catalog(made), tmp_path / f"{len(want)}.fits")
        sample = assemble(open_frame(tmp_path / f"{len(want)}.fits"), None, Columns(), Choice())
        found = evaluate(sample, Settings(metrics))
        assert found["cov68"].n == found["crps"].n == 5
        notes.append(found["cov68"].note)
    assert "Gaussian" in notes[1]
    assert "Gaussian" not in notes[0]
    said = shipped.predict(Chunk(data), PDF)
    assert said.zpdf is not None
    first = judge(*said.zpdf.marginal(0), 0.3)
    sample = assemble(open_frame(tmp_path / "1.fits"), None, Columns(), Choice())
    assert sample.columns["level"][0] == pytest.approx(first.level)
    assert sample.columns["score"][0] == pytest.approx(first.score)


def test_conformal_intervals_cover_as_they_say() -> None:
    """Scores of a distribution with heavy tails, in bins whose sigmas are off by factors."""
    rng = np.random.default_rng(3)

    def drawn(n: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        kind, snr = rng.choice(["GALAXY", "QSO"], n), rng.uniform(0, 12, n)
        wrong = np.where(kind == "QSO", 3.0, 0.5) * (1 + (snr < 2))
        return kind.tolist(), snr, np.abs(wrong * rng.standard_t(2, n))

    scores = conformal.learn(*drawn(40_000))
    kind, snr, score = drawn(20_000)
    for level in (0.68, 0.9, 0.99):
        inside = score <= conformal.reach(scores, level, kind, snr)
        for mine in (np.array(kind) == "QSO", snr < 1, snr > 8):
            assert inside[mine].mean() == pytest.approx(level, abs=0.02)


def test_too_few_scores_give_no_finite_interval() -> None:
    scores = conformal.learn(["STAR"] * 8, np.full(8, 5.0), np.arange(8.0))
    half = conformal.reach(scores, 0.9, ["STAR", "STAR", "QSO"], np.array([5.0, 0.5, 5.0]))
    assert np.isinf(half).all()
    assert conformal.reach(scores, 0.8, ["STAR"], np.array([5.0]))[0] == 7
    low, high = conformal.intervals(np.array([0.5, 0.5]), np.array([1e-4, 1e-4]), half[:2] * 1)
    assert (low == -1).all()
    assert np.isinf(high).all()
    low, high = conformal.intervals(np.array([0.5]), np.array([1e-4]), np.array([2.0]))
    assert (low[0], high[0]) == pytest.approx((0.4998, 0.5002), abs=1e-6)


def test_intervals_come_with_the_catalogue(shipped: Likelihood) -> None:
    scores = conformal.learn(["GALAXY"] * 99, np.full(99, 20.0), np.linspace(0.1, 3, 99))
    fitter = shipped.calibrated_by(dataclasses.replace(shipped.calibration, conformal=scores))
    fitter.level = 0.5
    data, grid = mixture(shipped), WaveGrid.log(3600, 9000)
    columns = predict_rows(data, "a", fitter, grid, frozenset({"interval"}))["REDSHIFTS"]
    half = conformal.reach(scores, 0.5, ["GALAXY"], np.array([20.0]))[0]
    assert columns["ZHIGH"][0] - columns["ZLOW"][0] == pytest.approx(2 * half * columns["ZERR"][0])
    assert np.isinf(columns["ZHIGH"][3])  # a star: nothing was learned of them
    assert np.isnan(columns["ZLOW"][5])  # no data


def test_scatter_is_learned_by_redshift() -> None:
    """Half of the objects scatter ten times more: those beyond z = 1."""
    rng = np.random.default_rng(7)
    z = rng.uniform(0.2, 2.0, 800)
    lacks = np.where(z < 1, 1e-4, 1e-3)
    sigma = np.full(800, 2e-4)
    offset = rng.standard_normal(800) * np.hypot(sigma, lacks)
    found = scatter.learn(["QSO"] * 800, z, offset, sigma)
    assert scatter.at(found, "QSO", np.array([0.4, 0.7])) == pytest.approx(1e-4, rel=0.6)
    assert scatter.at(found, "QSO", np.array([1.4, 3.0])) == pytest.approx(1e-3, rel=0.3)
    assert (scatter.at(found, "STAR", z) == 0).all()
    none = scatter.learn(["STAR"] * 90, z[:90] / 1e4, 0.1 * sigma[:90], sigma[:90])
    assert none["STAR"][0][1] == pytest.approx(scatter.FLOOR)
    assert len(none["STAR"]) == 1


def test_the_factor_of_sigma_is_learned_by_its_size() -> None:
    rng = np.random.default_rng(8)
    sigma = np.exp(rng.uniform(np.log(1e-5), np.log(1e-3), 4000))
    truth = np.where(sigma > 1e-4, 2.5, 1.0)
    found = stretch.learn(["GALAXY"] * 4000, sigma, truth * rng.standard_normal(4000))
    assert set(found) == {"GALAXY"}
    assert len(found["GALAXY"]) == stretch.MOST
    asked = np.array([[1e-3, 0.1], [2e-5, 0.0]])
    factors = stretch.at(found, "GALAXY", asked)
    assert factors[0] == pytest.approx(2.5, rel=0.1)
    assert factors[1] == pytest.approx(1.0, rel=0.1)
    assert (np.diff([factor for _, factor in found["GALAXY"]]) >= 0).all()
    assert np.array_equal(stretch.at(found, "STAR", asked), np.ones((2, 2)))
    assert np.isfinite(stretch.at(found, "GALAXY", np.array([np.nan]))).all()


def test_a_tenth_of_wild_offsets_hardly_widens_the_scatter() -> None:
    rng = np.random.default_rng(9)
    offset, sigma = 1e-4 * rng.standard_normal(4000), np.full(4000, 1e-6)
    clean = scatter.lacking(offset, sigma)
    assert clean == pytest.approx(1e-4, rel=0.05)
    offset[:400] *= 50
    assert scatter.lacking(offset, sigma) < 1.5 * clean


def test_the_factor_of_sigma_is_in_the_catalogue_and_is_kept(bare: Likelihood) -> None:
    data = Chunk(seen(light(bare, 0.31)[None], 1.0))
    plain = bare.predict(data)
    knots = {"GALAXY": ((1e-6, 3.0), (1e-2, 3.0))}
    wider = bare.calibrated_by(Calibration.restore(Calibration(stretch=knots).stored()))
    assert wider.calibration.stretch == knots
    found = wider.predict(data)
    galaxy = [c.spectype for c in found.classes].index("GALAXY")
    assert found.sigma[0, galaxy] == pytest.approx(3 * plain.sigma[0, galaxy])
    others = np.arange(len(found.classes)) != galaxy
    assert np.array_equal(found.sigma[0, others], plain.sigma[0, others], equal_nan=True)
    assert np.array_equal(found.z, plain.z, equal_nan=True)


def test_one_number_of_an_older_checkpoint_is_a_knot() -> None:
    kept = Calibration.restore({"scatter": {"QSO": 3e-4}})
    assert scatter.at(kept.scatter, "QSO", np.array([0.1, 5.0])).tolist() == [3e-4, 3e-4]
    again = Calibration.restore(kept.stored())
    assert again == kept


def test_tails_are_learned_where_there_are_any() -> None:
    rng = np.random.default_rng(10)
    sigma = rng.uniform(1e-4, 4e-4, 3000)
    normal, heavy = rng.standard_normal((2, 3000)) * sigma
    heavy[:300] += 2e-3 * rng.standard_normal(300)
    both = np.concatenate([normal, heavy]), np.concatenate([sigma, sigma])
    kinds, one = ["STAR"] * 3000 + ["QSO"] * 3000, np.ones(6000)
    found = wings.learn(kinds, *both, one)
    assert set(found) == {"QSO"}
    assert wings.learn(kinds, *both, one / 1e5) == {}  # so few say nothing
    assert found["QSO"] == (pytest.approx(0.1, abs=0.03), pytest.approx(2e-3, rel=0.2))


@pytest.mark.parametrize(("tail", "times"), [({}, 1.0), ({"GALAXY": (0.2, 2e-3 * 15**0.5)}, 2.0)])
def test_a_peak_that_calibration_widened_is_as_wide_in_p_of_z(
    shipped: Likelihood, tail: dict[str, wings.Wing], times: float
) -> None:
    """600 km/s are many steps of the scan, which does not know of them; ZERR knows of no tails."""
    knots = {"GALAXY": ((0.0, 2e-3),)}
    kept = dataclasses.replace(shipped.calibration, scatter=knots, wings=tail).stored()
    again = Calibration.restore(json.loads(json.dumps(kept)))
    said = shipped.calibrated_by(again).predict(Chunk(mixture(shipped)[:1]), PDF)
    assert said.zpdf is not None
    u, p = said.zpdf.marginal(0)
    mean = np.trapezoid(p * u, u)
    assert np.trapezoid(p, u) == pytest.approx(1, abs=1e-3)
    assert np.trapezoid(p * (u - mean) ** 2, u) ** 0.5 == pytest.approx(times * 2e-3, rel=0.02)
    z = said.z[0, said.best[0]]
    assert said.sigma[0, said.best[0]] == pytest.approx(2e-3 * (1 + z), rel=0.01)


def test_p_of_z_ends_where_the_range_does(shipped: Likelihood) -> None:
    """Tails beyond a limit are no part of it, and what is left holds 1."""
    wide = dataclasses.replace(shipped.calibration, wings={"GALAXY": (0.4, 0.01)})
    made = shipped.calibrated_by(wide).limited({"GALAXY": (0.29, 0.5)})
    said = made.predict(Chunk(mixture(shipped)[:1]), PDF)
    assert said.zpdf is not None
    u, p = said.zpdf.marginal(0)
    known = u[p > 0]
    assert np.log(1.29) - 1e-4 < known[0] < np.log(1.30) - 5e-3
    assert known[-1] > np.log(1.30) + 0.02
    assert np.trapezoid(p, u) == pytest.approx(1, abs=1e-3)
