"""Reasons to distrust that depend on the best model, and the worst cases that users tell of."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import torch

from zspec import checkpoint
from zspec.api import read
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.flags import ZWarn
from zspec.likelihood import emission, pixels, refine, validate
from zspec.likelihood.basis import LIGHT, STEP, Basis
from zspec.likelihood.calibration import Calibration
from zspec.survey import Arm, Spectra
from zspec.testing import shared

WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å
RIGHT = {"GALAXY": 1000, "QSO": 3000, "STAR": 1000}  # km/s


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


def mean(basis: Basis, z: float) -> np.ndarray:
    """The mean object of a class, of median 1."""
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    flux = np.interp(np.log10(WAVE / (1 + z)) / STEP, rest, basis.vectors[0], left=0, right=0)
    return np.asarray(flux / np.median(flux))


def line(wave: float, z: float, sigma: float) -> np.ndarray:
    """A Gaussian of height 1 and ``sigma`` in km/s."""
    return np.asarray(np.exp(-0.5 * ((WAVE / (wave * (1 + z)) - 1) * LIGHT / sigma) ** 2))


def seen(flux: np.ndarray, sigma: float, seed: int = 0) -> Spectra:
    """``flux`` (n, pixel) with white noise, in one arm."""
    flux = np.atleast_2d(flux)
    noisy = flux + sigma * np.random.default_rng(seed).standard_normal(flux.shape)
    arm = Arm("A", WAVE, noisy.astype(np.float32), np.full(flux.shape, sigma**-2, np.float32))
    return Spectra((arm,), np.arange(len(flux)), np.arange(len(flux), dtype=np.int32))


def zwarn(fitter: Likelihood, data: Spectra) -> np.ndarray:
    found = fitter.predict(Chunk(data)).zwarn
    assert found is not None
    return found


@pytest.mark.parametrize(("spectype", "wave"), [("QSO", 1549.06), ("GALAXY", 5008.24)])
def test_the_sign_and_the_noise_of_a_line_are_measured(spectype: str, wave: float) -> None:
    lines = emission.LINES[spectype]
    shape = line(wave, 2.0 if spectype == "QSO" else 0.3, lines.sigma)
    model = np.stack([1 + shape, 1 - shape, 1 + 0 * shape]) + WAVE / 5000
    data = pixels.native(seen(model, 0.1).arms)
    z = torch.full((3,), 2.0 if spectype == "QSO" else 0.3, dtype=torch.float64)
    snr = emission.significance(data, torch.from_numpy(model), z, lines)
    found = snr[:, lines.waves.index(wave)]
    expected = 10 * np.sqrt((shape**2).sum())  # of a matched filter
    assert found[0] == pytest.approx(expected, rel=0.1)
    assert found[1] == pytest.approx(-expected, rel=0.1)
    assert abs(float(found[2])) < 0.02 * expected


def test_a_line_without_data_says_nothing() -> None:
    data = pixels.native(seen(np.ones(len(WAVE)), 0.1).arms)
    z = torch.tensor([0.3], dtype=torch.float64)
    lines = emission.LINES["GALAXY"]
    for_ever = torch.ones(1, len(WAVE), dtype=torch.float64)
    assert emission.significance(data, for_ever, 20 * z, lines).isinf().all()
    data.ivar[:, np.abs(WAVE / (5008.24 * 1.3) - 1) * LIGHT < 400] = 0
    oxygen2, oxygen3 = emission.significance(data, for_ever, z, lines)[0].isinf().tolist()
    assert oxygen3
    assert not oxygen2


def test_a_galaxy_whose_forbidden_lines_are_negative_is_told(shipped: Likelihood) -> None:
    usual = mean(shipped.bases[0], 0.3)
    dark = usual - 3 * line(5008.24, 0.3, 200) - line(4960.3, 0.3, 200) - 3 * line(3728.5, 0.3, 250)
    first, second = zwarn(shipped, seen(np.stack([usual, dark]), 0.05))
    assert not first & ZWarn.NEGATIVE_EMISSION
    assert second & ZWarn.NEGATIVE_EMISSION


@pytest.mark.parametrize("noise", [0.3, 0.7, 1.5])
def test_what_no_basis_can_fit_is_out_of_distribution(shipped: Likelihood, noise: float) -> None:
    fringes = np.array([10 + 3 * np.sin(WAVE / scale) for scale in (12, 25, 50)])
    assert (zwarn(shipped, seen(fringes, noise)) & ZWarn.OUT_OF_DISTRIBUTION).all()
    galaxy = seen(mean(shipped.bases[0], 0.3), noise / 10)
    assert not (zwarn(shipped, galaxy) & ZWarn.OUT_OF_DISTRIBUTION).any()


def test_errors_that_are_too_small_are_no_sign_of_a_strange_spectrum(shipped: Likelihood) -> None:
    galaxy = seen(mean(shipped.bases[0], 0.3), 0.2)
    arm = dataclasses.replace(galaxy.arms[0], ivar=1.4 * galaxy.arms[0].ivar)  # chi2 of 1.4 a pixel
    found = zwarn(shipped, dataclasses.replace(galaxy, arms=(arm,)))
    assert not (found & ZWarn.OUT_OF_DISTRIBUTION).any()


@pytest.mark.parametrize(("snr", "many", "height"), [(3, 5, 40), (3, 20, 20), (10, 1, 150)])
def test_cosmic_rays_make_no_spectrum_strange(
    shipped: Likelihood, snr: float, many: int, height: float
) -> None:
    flux = mean(shipped.bases[0], 0.3)
    flux[np.random.default_rng(3).integers(200, 3500, many)] += height / snr
    found = zwarn(shipped, seen(flux, 1 / snr))
    assert not (found & ZWarn.OUT_OF_DISTRIBUTION).any()


def test_spikes_are_outliers_in_short_runs() -> None:
    far = torch.zeros(2, 20, dtype=torch.bool)
    far[0, [0, 5, 6, 7, 19]] = True
    far[1, 3:7] = True
    far[1, 10] = True
    spikes = refine._spikes(far)
    assert torch.equal(spikes[0], far[0])
    assert spikes[1].nonzero()[:, 0].tolist() == [10]
    assert torch.equal(refine._spikes(far[:, :2]), far[:, :2])


def test_the_limit_of_an_older_checkpoint_is_left_out(shipped: Likelihood) -> None:
    kept = {**shipped.calibration.stored(), "misfit": 9.0}
    assert Calibration.restore(kept) == shipped.calibration


def test_without_limits_nothing_is_out_of_distribution(shipped: Likelihood) -> None:
    known = dataclasses.replace(shipped.calibration, unexplained=np.inf, own=(-np.inf, np.inf))
    fringes = seen(10 + 3 * np.sin(WAVE / 25), 0.7)
    found = zwarn(shipped.calibrated_by(known), fringes)
    assert not (found & ZWarn.OUT_OF_DISTRIBUTION).any()
    assert "unexplained" not in known.stored()  # JSON has no infinity


def test_the_threshold_of_blank_sky_is_that_of_an_exponential_tail() -> None:
    rng = np.random.default_rng(1)
    deltas = rng.exponential(3.0, 20_000)
    limit = validate.threshold(deltas)
    assert limit == pytest.approx(3 * np.log(1 / validate.BLANK), rel=0.05)
    assert (deltas > limit).mean() == pytest.approx(validate.BLANK, rel=0.3)


def draws(basis: Basis, z: np.ndarray, seed: int) -> np.ndarray:
    """(n, pixel) objects of a class with shapes drawn from half of its scatter, of median 1."""
    rng = np.random.default_rng(seed)
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    shapes = np.column_stack(
        [np.ones(len(z)), 0.5 * rng.standard_normal((len(z), len(basis.mean) - 1))]
    )
    flux = [
        np.interp(np.log10(WAVE / (1 + one)) / STEP, rest, c @ basis.vectors, left=0, right=0)
        for one, c in zip(z, shapes, strict=True)
    ]
    return np.array([f / np.median(f) for f in flux])


def judged(
    fitter: Likelihood, data: Spectra, spectype: str, z: np.ndarray
) -> tuple[np.ndarray, ...]:
    """(found wrong with ZWARN 0, right) for objects of one spectype."""
    found = fitter.predict(Chunk(data))
    assert found.zwarn is not None
    row = np.arange(len(z))
    kinds = np.array([found.classes[i].spectype for i in found.best])
    off = np.abs(np.log1p(found.z[row, found.best]) - np.log1p(z)) * LIGHT
    right = (kinds == spectype) & (off < RIGHT[spectype])
    return (found.zwarn == 0) & ~right, right


def test_faint_galaxies_of_low_redshift_are_right_or_doubted(shipped: Likelihood) -> None:
    """Elsewhere they land at z = 1.2 to 1.7 or among the stars, with ZWARN 0."""
    z = np.linspace(0.02, 0.35, 24)
    for sigma in (0.3, 1.0):
        wrong, right = judged(shipped, seen(draws(shipped.bases[0], z, 7), sigma, 8), "GALAXY", z)
        assert not wrong.any()
    assert right.mean() > 0.5  # at the lower SNR too


def test_stars_are_not_taken_for_galaxies(shipped: Likelihood) -> None:
    for basis in (b for b in shipped.bases if b.name in ("STAR_F", "STAR_G", "STAR_K", "STAR_M")):
        z = np.linspace(-5e-4, 5e-4, 6)
        wrong, right = judged(shipped, seen(draws(basis, z, 3), 0.3, 4), "STAR", z)
        assert not wrong.any(), basis.name
        assert right.mean() > 0.6, basis.name


@pytest.mark.parametrize("z", [1.4, 1.5, 1.6])
def test_there_is_no_seam_between_quasars_of_low_and_high_redshift(
    shipped: Likelihood, z: float
) -> None:
    """redrock has two quasar bases, which meet at 1.4 to 1.6; here one goes all the way."""
    places = z + np.linspace(-0.04, 0.04, 5)
    wrong, right = judged(shipped, seen(draws(shipped.bases[1], places, 5), 0.3, 6), "QSO", places)
    assert right.mean() > 0.7
    assert not wrong.any()


def real(kind: str, subclass: str, count: int) -> list[tuple[float, Spectra]]:
    """Real SDSS spectra with a label, and their redshifts."""
    data = shared("sdss")
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        lines = [
            row
            for row in csv.DictReader(handle)
            if row["label_ok"] == "1"
            and row["class"] == kind
            and subclass in row["subclass"]
            and row["file"].startswith("spectra/spec-")
        ]
    return [(float(row["z"]), next(read(data / row["file"]))) for row in lines[:count]]


@pytest.mark.parametrize(
    ("kind", "subclass"),
    [("GALAXY", "AGN"), ("QSO", "BROADLINE"), ("GALAXY", "STAR"), ("STAR", "")],
)
def test_real_spectra_with_noise_are_right_or_doubted(
    shipped: Likelihood, kind: str, subclass: str
) -> None:
    """Among galaxies with lines of an active nucleus class and redshift are judged apart."""
    rng = np.random.default_rng(11)
    wrong = clear = 0
    for z, one in real(kind, subclass, 12):
        for factor in (1, 4):
            found = shipped.predict(Chunk(validate.weakened(one, factor, rng)))
            assert found.zwarn is not None
            off = abs(np.log1p(found.z[0, found.best[0]]) - np.log1p(z)) * LIGHT
            clear += int(found.zwarn[0] == 0)
            wrong += int(found.zwarn[0] == 0 and off > RIGHT[kind])
    assert clear > 12
    assert wrong <= 0.05 * clear
