"""Calibration of a regression: maps, what they promise, and what they store."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr

from zspec import ConfigError, InputError, catalog
from zspec.calibrate import learn
from zspec.calibration.maps import METHODS, Calibration, covariate, hats
from zspec.calibration.table import write_maps
from zspec.cli import main

N = 20_000


def draw(n=N, seed=0, width=2.0, shift=0.0):
    """t of an estimator whose sigma is too small by ``width``, and x of SNR 0.3 to 30."""
    rng = np.random.default_rng(seed)
    x = covariate(np.exp(rng.uniform(np.log(0.3), np.log(30), n)))
    return shift + width * rng.standard_normal(n), x


def covered(calibration, t, x, share):
    return float(np.mean(np.abs(calibration.cdf(t, x) - 0.5) <= share / 2))


@pytest.mark.parametrize(
    ("method", "width", "near"),
    [
        ("beta", 0.7, 0.015),
        ("beta", 1.0, 0.01),
        ("beta", 2.0, 0.035),  # Φ(t / 2) is no beta map of Φ(t), but nearly
        ("temperature", 2.0, 0.01),
        ("isotonic", 2.0, 0.01),
        ("isotonic", 0.5, 0.01),
    ],
)
def test_sigma_becomes_honest(method, width, near):
    t, x = draw(width=width)
    found = learn(t, x, method)
    assert float(np.median(found.widening(x[:1]))) == pytest.approx(width, rel=0.07)
    fresh, x = draw(seed=1, width=width)
    for share in (0.6827, 0.95):
        assert covered(found, fresh, x, share) == pytest.approx(share, abs=near)


def test_outliers_need_a_map_that_is_not_a_beta():
    """One in twenty is far off: the isotonic map keeps its promise at 68 and at 95 %."""
    rng = np.random.default_rng(5)

    def t_of(n):
        return np.where(rng.random(n) < 0.05, 20, 0.7) * rng.standard_normal(n)

    t, x, fresh = t_of(N), np.zeros(N), t_of(N)
    for share in (0.6827, 0.95):
        assert covered(learn(t, x, "isotonic"), fresh, x, share) == pytest.approx(share, abs=0.01)
    assert covered(learn(t, x, "beta"), fresh, x, 0.6827) > 0.6827 + 0.03


@pytest.mark.parametrize("method", ["beta", "isotonic"])
def test_a_skewed_and_shifted_error_is_mapped_too(method):
    rng = np.random.default_rng(2)
    t, x = rng.gumbel(0.4, 0.8, N), np.zeros(N)
    found = learn(t, x, method)
    fresh = rng.gumbel(0.4, 0.8, N)
    for share in (0.6827, 0.95):
        assert covered(found, fresh, x, share) == pytest.approx(share, abs=0.02)
    assert np.median(found.cdf(fresh, x)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("method", "near"), [("beta", 0.03), ("temperature", 0.02), ("isotonic", 0.025)]
)
def test_with_snr_as_covariate_each_bin_is_covered(method, near):
    def t_of(seed):
        t, x = draw(seed=seed, width=1.0)
        return t * (0.7 + 0.3 * x), x

    t, x = t_of(3)
    fresh, at = t_of(4)
    whole, by_snr = learn(t, x, method), learn(t, x, method, knots=5)
    edges = np.quantile(at, [0, 0.25, 0.5, 0.75, 1])

    def worst(calibration, share):
        bins = [(at >= a) & (at <= b) for a, b in pairwise(edges)]
        return max(abs(covered(calibration, fresh[b], at[b], share) - share) for b in bins)

    for share in (0.6827, 0.95):
        assert worst(by_snr, share) < near
    assert worst(whole, 0.6827) > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_a_map_rises_from_zero_to_one_and_quantiles_are_its_inverse(method):
    t, x = draw(n=2000, width=1.5)
    found = learn(t, x, method, knots=3)
    grid = np.linspace(-20, 20, 401)
    for value in (0.2, 1.0, 3.0):
        at = np.full(len(grid), value)
        cdf = found.cdf(grid, at)
        assert np.all(np.diff(cdf) >= 0)
        assert cdf[0] == pytest.approx(0, abs=1e-3)
        assert cdf[-1] == pytest.approx(1, abs=1e-3)
        for p in (0.025, 0.5, 0.8):
            back = found.cdf(found.quantile(p, at[:1]), at[:1])
            assert float(back[0]) == pytest.approx(p, abs=1e-6)


def test_beta_of_honest_errors_is_the_identity():
    t, x = draw(n=100_000, width=1.0)
    found = learn(t, x)
    np.testing.assert_allclose(found.values[0], [1, 1, 0], atol=0.03)


def test_beta_has_the_form_of_its_paper():
    found = Calibration("beta", (), ((0.7, 1.3, -0.2),))
    p = ndtr(np.array([-1.0, 0.3]))
    odds = np.exp(-0.2) * p**0.7 / (1 - p) ** 1.3
    expected = 1 / (1 + 1 / odds)  # Kull+2017, eq. 4
    np.testing.assert_allclose(found.cdf(np.array([-1.0, 0.3]), np.zeros(2)), expected)


def test_temperature_is_the_root_mean_square():
    t, x = draw(width=1.7)
    (row,) = learn(t, x, "temperature").values
    assert np.exp(row[0]) == pytest.approx(np.sqrt(np.mean(t**2)), rel=1e-4)


def test_probability_within_a_distance_is_a_frequency():
    t, x = draw(width=1.5)
    found = learn(t, x, "isotonic")
    fresh, x = draw(seed=7, width=1.5)
    said = found.within(np.full(N, 1.2), x).mean()
    assert said == pytest.approx(np.mean(np.abs(fresh) < 1.2), abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_stored_as_json(method):
    t, x = draw(n=2000)
    found = learn(t, x, method, knots=4)
    assert Calibration.restore(json.loads(json.dumps(found.stored()))) == found


@pytest.mark.parametrize(
    "stored",
    [
        {"method": "beta", "knots": [], "values": [[1.0]]},
        {"method": "magic", "knots": [], "values": []},
        {"knots": []},
        {"method": "temperature", "knots": [0, 1], "values": [[1.0]]},
    ],
)
def test_damaged_numbers_are_refused(stored):
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.restore(stored)


def test_nan_is_left_out_and_too_few_are_refused():
    t, x = draw(n=200)
    expected = learn(t, x)
    assert learn(np.append(t, np.nan), np.append(x, 1.0)) == expected
    with pytest.raises(InputError, match="too few"):
        learn(t[:10], x[:10])


def test_wrong_methods_are_refused():
    t, x = draw(n=200)
    with pytest.raises(ConfigError, match="did you mean 'beta'"):
        learn(t, x, "betta")


def test_covariate_of_bad_snr_is_zero():
    np.testing.assert_array_equal(covariate(np.array([-3.0, np.nan, 0.0])), 0)


def test_hats_interpolate():
    weights = hats(np.array([-1.0, 0.5, 1.0, 9.0]), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights[1], [0.5, 0.5, 0])
    np.testing.assert_allclose(weights[3], [0, 0, 1])


def catalogue(path, seed, width=2.0, n=600):
    """A catalogue of galaxies and quasars whose ZERR is too small by ``width`` for galaxies."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.1, 1, n)
    kind = np.where(np.arange(n) % 3 == 0, "QSO", "GALAXY")
    sigma = np.full(n, 1e-3)
    error = sigma * np.where(kind == "QSO", 1.0, width) * rng.standard_normal(n)
    values = {
        "TARGETID": np.arange(n),
        "FILE": np.full(n, "a.fits"),
        "ROW": np.arange(n),
        "SPECTYPE": kind,
        "Z": z + error,
        "ZERR": sigma,
        "SNR": rng.uniform(1, 20, n),
        "Z_TRUE": z,
        "CLASS_TRUE": kind,
    }
    blank = {c.name: np.zeros(n, c.dtype) for c in catalog.REDSHIFTS}
    made = catalog.typed((*catalog.REDSHIFTS, *catalog.TRUTH), blank | values)
    tables = {"REDSHIFTS": catalog.table((*catalog.REDSHIFTS, *catalog.TRUTH), made)}
    catalog.write(catalog.Catalog(tables, {"ZSPECVER": "0", "CALIB": False}), path)
    return path


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command; its exit status, stdout and stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["zspec", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        text = capsys.readouterr()
        return caught.value.code or 0, text.out, text.err

    return call


def test_the_command_learns_and_uses_maps(tmp_path, run):
    known, new = catalogue(tmp_path / "a.fits", 1), catalogue(tmp_path / "b.fits", 2)
    maps, out = tmp_path / "maps.json", tmp_path / "c.fits"
    status, text, _ = run("calibrate", known, "-o", maps, "--method", "temperature", "--json")
    assert status == 0
    found = {row["label"]: row for row in json.loads(text)["coverage"]}
    assert found["GALAXY"]["widening"] == pytest.approx(2, rel=0.1)
    assert found["QSO"]["widening"] == pytest.approx(1, rel=0.15)
    assert found["GALAXY"]["before"][0] == pytest.approx(0.38, abs=0.06)
    assert found["GALAXY"]["after"][0] == pytest.approx(0.68, abs=0.06)
    status, text, _ = run("calibrate", new, "--map", maps, "-o", out)
    assert status == 0
    assert "600 of 600" in text
    made = catalog.read(out)
    galaxy = np.asarray(made.redshifts["SPECTYPE"]) == "GALAXY"
    assert np.allclose(made.redshifts["ZERR"][galaxy], 2e-3, rtol=0.1)
    d = np.abs(made.redshifts["Z"] - made.redshifts["Z_TRUE"])
    good = d / (1 + np.asarray(made.redshifts["Z_TRUE"])) < 0.0015
    assert np.mean(made.redshifts["ZCONF"][galaxy]) == pytest.approx(
        np.mean(good[galaxy]), abs=0.06
    )
    assert made.header["CALIB"] is True
    status, _, err = run("calibrate", out, "--map", maps, "-o", tmp_path / "d.fits")
    assert status == 2
    assert "calibrated already, by maps.json" in err


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, run):
    known, maps = catalogue(tmp_path / "a.fits", 1), tmp_path / "maps.json"
    stars = tmp_path / "stars.json"
    write_maps(stars, {"STAR": Calibration()}, {})
    for words, message in (
        ((known, "-o", maps, "--method", "betta"), "did you mean 'beta'"),
        ((known, "-o", known), "exists"),
        ((known, "-o", tmp_path / "c.fits", "--map", known), "no file of calibrations"),
        ((known, "-o", maps, "--knots", "40"), "no class has"),
        ((known, "-o", tmp_path / "no" / "maps.json"), "cannot be written"),
        ((known, "-o", tmp_path / "c.fits", "--map", stars), "maps are for STAR"),
    ):
        status, _, err = run("calibrate", *words)
        assert status == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert not maps.exists()
