"""The likelihood: exact where brute force can check it, and right with the bases that ship."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from zspec import checkpoint
from zspec.errors import ConfigError, InputError
from zspec.estimator import Chunk, Prediction
from zspec.estimators.likelihood import Likelihood
from zspec.flags import ZWarn
from zspec.likelihood import evidence, learn, nuisance, pixels, refine, scan
from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.interpolation import coefficients, sample, taps
from zspec.likelihood.normal import solve_normal, times
from zspec.likelihood.templates import read_template
from zspec.likelihood.train import learn_bases
from zspec.survey import Arm, Spectra
from zspec.testing import EstimatorContract

SDSS_WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å
Z = {"GALAXY": 0.31, "QSO": 2.2, "STAR": 2e-4}


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


class TestLikelihood(EstimatorContract):
    def make(self) -> Likelihood:
        return Likelihood.load(checkpoint.find("likelihood"))


def model(basis: Basis, z: float, wave: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Mean spectrum plus ``shape`` (K - 1,) standard deviations, at native wavelengths."""
    c = np.concatenate([[1.0], shape])
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    x = np.log10(wave / (1 + z)) / STEP
    return np.interp(x, rest, c @ basis.vectors, left=0.0, right=0.0)


def spectra(flux: np.ndarray, snr: float, seed: int, wave: np.ndarray = SDSS_WAVE) -> Spectra:
    """``flux`` (n, pixel) with noise of its median divided by ``snr``."""
    rng = np.random.default_rng(seed)
    flux = np.atleast_2d(flux)
    sigma = np.median(flux, axis=1, keepdims=True) / snr + 0 * flux
    noisy = flux + sigma * rng.standard_normal(flux.shape)
    arm = Arm("A", wave, noisy.astype(np.float32), (1 / sigma**2).astype(np.float32))
    return of(arm)


def of(*arms: Arm) -> Spectra:
    n = len(arms[0].flux)
    return Spectra(arms, np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int32))


def top(found: Prediction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.arange(len(found.best))
    kinds = np.array([found.classes[i].spectype for i in found.best])
    return kinds, found.z[rows, found.best], found.sigma[rows, found.best]


def mixed(shipped: Likelihood, snr: float = 12.0) -> Spectra:
    """One noisy draw of every basis."""
    rng = np.random.default_rng(3)
    flux = [
        model(b, Z[b.spectype], SDSS_WAVE, 0.3 * rng.standard_normal(len(b.mean) - 1))
        for b in shipped.bases
    ]
    return spectra(np.array(flux), snr, seed=4)


def test_noisy_draws_of_every_class_come_back(shipped: Likelihood) -> None:
    found = shipped.predict(Chunk(mixed(shipped)))
    kinds, z, sigma = top(found)
    expected = np.array([b.spectype for b in shipped.bases])
    truth = np.array([Z[k] for k in expected])
    allowed = np.where(expected == "QSO", 0.005, 5e-4)
    assert np.all(np.abs(z - truth) < allowed * (1 + truth))
    assert (kinds == expected).mean() > 0.85
    assert np.all(sigma > 0)
    assert np.allclose(found.prob.sum(1), 1, atol=1e-5)


def test_a_shift_in_log_wavelength_shifts_z(shipped: Likelihood) -> None:
    galaxy = shipped.bases[0]
    flux = model(galaxy, 0.2, SDSS_WAVE, np.zeros(len(galaxy.mean) - 1))
    base = spectra(flux, 15.0, seed=1)
    arm = base.arms[0]
    moved = dataclasses.replace(arm, wave=arm.wave * 10 ** (STEP * 37.3))
    first, second = (shipped.predict(Chunk(of(a))).z[0, 0] for a in (arm, moved))
    shift = np.log10((1 + second) / (1 + first)) / STEP
    assert shift == pytest.approx(37.3, abs=0.05)


def test_a_masked_pixel_cannot_matter(shipped: Likelihood) -> None:
    data = mixed(shipped)[:2]
    arm = data.arms[0]
    ivar = arm.ivar.copy()
    ivar[:, 100:140] = 0
    wild = arm.flux.copy()
    wild[:, 100:140] = 1e6
    wild[:, 120] = np.nan
    calm = shipped.predict(Chunk(of(dataclasses.replace(arm, ivar=ivar, good=None))))
    loud = shipped.predict(Chunk(of(dataclasses.replace(arm, ivar=ivar, flux=wild, good=None))))
    assert np.array_equal(calm.z, loud.z)
    assert np.array_equal(calm.chi2, loud.chi2)


def test_neither_order_nor_company_matters(shipped: Likelihood) -> None:
    data = mixed(shipped)
    together = shipped.predict(Chunk(data))
    arm = data.arms[0]
    back = dataclasses.replace(arm, flux=arm.flux[::-1], ivar=arm.ivar[::-1], good=None)
    turned = shipped.predict(Chunk(of(back)))
    assert np.allclose(together.z, turned.z[::-1], atol=1e-9, rtol=0)
    alone = np.array([shipped.predict(Chunk(data[i : i + 1])).z[0] for i in range(3)])
    assert np.allclose(together.z[:3], alone, atol=1e-9, rtol=0)


def test_arms_may_overlap_and_need_no_merging(shipped: Likelihood) -> None:
    galaxy = shipped.bases[0]
    waves = [np.arange(3600, 5801, 0.8), np.arange(5760, 7621, 0.8), np.arange(7520, 9824, 0.8)]
    arms = []
    for name, wave in zip("BRZ", waves, strict=True):
        flux = model(galaxy, 0.42, wave, np.zeros(len(galaxy.mean) - 1))
        arms += [dataclasses.replace(spectra(flux, 8.0, 7, wave).arms[0], name=name)]
    found = shipped.predict(Chunk(of(*arms)), frozenset({"model"}))
    kinds, z, _ = top(found)
    assert kinds[0] == "GALAXY"
    assert z[0] == pytest.approx(0.42, abs=5e-4)
    assert found.model is not None
    assert [m.shape[1] for m in found.model] == [len(w) for w in waves]
    residual = (arms[1].flux - found.model[1]) * np.sqrt(arms[1].ivar)
    assert residual.std() == pytest.approx(1, abs=0.1)


def test_a_broad_instrument_broadens_the_basis(shipped: Likelihood) -> None:
    galaxy = shipped.bases[0]
    wave = np.arange(4000, 9900, 8.5)
    fine = np.arange(3900, 10_000, 0.5)
    sharp = model(galaxy, 0.3, fine, np.zeros(len(galaxy.mean) - 1))
    lsf = np.exp(-0.5 * (np.arange(-100, 101) * 0.5 / 14) ** 2)  # sigma 14 Å
    flux = np.interp(wave, fine, np.convolve(sharp, lsf / lsf.sum(), mode="same"))
    arm = spectra(flux, 30.0, 5, wave).arms[0]
    told = dataclasses.replace(arm, resolution=np.full(len(wave), 14, np.float32))
    blind, aware = (shipped.predict(Chunk(of(a))) for a in (arm, told))
    assert top(aware)[1][0] == pytest.approx(0.3, abs=3e-3)
    assert aware.chi2[0] < blind.chi2[0]


def test_rows_without_data_are_nan_and_cost_nothing_else(shipped: Likelihood) -> None:
    data = mixed(shipped)[:3]
    arm = data.arms[0]
    ivar = arm.ivar.copy()
    ivar[1] = 0
    ivar[2, 5:] = 0  # five pixels are data, but no redshift
    found = shipped.predict(Chunk(of(dataclasses.replace(arm, ivar=ivar, good=None))))
    assert np.isnan(found.prob[1]).all()
    assert np.isnan(found.z[1]).all()
    assert found.candidates is not None
    assert (found.candidates.label[1] == -1).all()
    assert np.allclose(found.z[0], shipped.predict(Chunk(data[:1])).z[0], atol=1e-9, rtol=0)
    assert found.zwarn[2] & ZWarn.SMALL_DELTA_CHI2


def test_no_rows_at_all(shipped: Likelihood) -> None:
    found = shipped.predict(Chunk(mixed(shipped)[:0]))
    assert found.z.shape == (0, len(shipped.classes))


def test_candidates_are_different_redshifts_in_order(shipped: Likelihood) -> None:
    found = shipped.predict(Chunk(mixed(shipped)))
    listed = found.candidates
    assert listed is not None
    assert np.array_equal(listed.label[:, 0], found.best)
    assert np.all(found.deltachi2 > 0)
    share = np.nan_to_num(listed.prob)
    assert np.all(np.diff(share, axis=1) <= 1e-6)
    assert np.all(share.sum(1) <= 1 + 1e-5)


def steady(data: pixels.Native) -> np.ndarray:
    """(P,) variances of the prior of the polynomials of one spectrum: 10 % of each arm's flux."""
    out = []
    for one in data.apart:
        ivar, flux = one.ivar[0].numpy(), one.flux[0].numpy()
        level = np.average(flux, weights=ivar) ** 2 + 1 / ivar.sum()
        out += [0.01 * level * np.array([1, 3, 5])]
    return np.concatenate(out)


def brute_force(data: pixels.Native, basis: Basis, rest: np.ndarray, sums: pixels.Sums) -> float:
    """-2 ln evidence of one spectrum and shift, with basis and polynomials in one design matrix."""
    weight, weighted = sums.weight[0].numpy(), sums.weighted[0].numpy()
    ivar, flux = data.ivar[0].numpy(), data.flux[0].numpy()
    poly = data.polynomials[0].numpy().T
    crossed = pixels.on_grid(data, data.ivar * data.polynomials[0]).numpy()  # (P, length)
    amplitude = float(
        evidence.amplitude(
            torch.tensor(weighted @ rest[:, 0]), torch.tensor(weight @ rest[:, 0] ** 2)
        )
    )
    prior = basis.precision.numpy() / amplitude
    gram = poly.T @ (ivar[:, None] * poly) + np.diag(1 / steady(data))
    normal = np.block(
        [
            [rest.T @ (weight[:, None] * rest) + prior, rest.T @ crossed.T],
            [crossed @ rest, gram],
        ]
    )
    right = np.concatenate([rest.T @ weighted, poly.T @ (ivar * flux)])
    volume = np.linalg.slogdet(normal)[1] - np.linalg.slogdet(gram)[1]
    occam = volume + len(prior) * np.log(amplitude)
    return float(sums.square[0]) - right @ np.linalg.solve(normal, right) + occam


@pytest.mark.parametrize("cut", [None, 6000.0])
def test_fft_evidence_is_brute_force_evidence(shipped: Likelihood, cut: float | None) -> None:
    """With one arm, and with two that have polynomials of their own."""
    basis = shipped.bases[0]
    whole = spectra(model(basis, 0.1, SDSS_WAVE, np.zeros(9)), 5.0, 2).arms[0]
    arms = (whole,)
    if cut is not None:
        at = int(np.searchsorted(whole.wave, cut))
        arms = tuple(
            Arm(name, whole.wave[part], whole.flux[:, part], whole.ivar[:, part])
            for name, part in (("B", slice(0, at)), ("R", slice(at, None)))
        )
    data = pixels.native(arms)
    sums = pixels.gather(data)
    values = scan.scan(sums, nuisance.nuisance(data), basis)[0]
    start, length = sums.window.start, sums.window.length
    for at in (0, 500, 2000, len(values) - 1):
        rest = scan.placed(basis, start - basis.shifts[0] - at, length, 0.0).numpy().T
        expected = brute_force(data, basis, rest, sums)
        assert float(values[at]) == pytest.approx(expected, rel=1e-7, abs=1e-3)


def test_the_evidence_of_a_smooth_continuum_is_that_of_its_gaussian() -> None:
    """-2 ln of the density of the data, less that of noise and of the polynomials of classes."""
    rng, wave = np.random.default_rng(3), np.linspace(4000, 5000, 30)
    flux, ivar = 2 + rng.standard_normal((1, 30)), rng.uniform(0.5, 2, (1, 30))
    data = pixels.native((Arm("A", wave, flux, ivar),))
    poly, noise = data.polynomials[0].numpy(), np.diag(1 / data.ivar[0].numpy())
    prior = np.diag(steady(data))
    free = noise + poly.T @ (100 * prior) @ poly
    common = noise + poly.T @ prior @ poly
    held = data.flux[0].numpy()
    expected = held @ np.linalg.solve(free, held)
    expected += np.linalg.slogdet(free)[1] - np.linalg.slogdet(common)[1]
    assert float(nuisance.featureless(data)[0]) == pytest.approx(expected, rel=1e-9)


def test_a_step_between_arms_is_no_feature(shipped: Likelihood) -> None:
    basis = shipped.bases[0]
    whole = spectra(model(basis, 0.1, SDSS_WAVE, np.zeros(9)), 5.0, 2).arms[0]
    at = int(np.searchsorted(whole.wave, 6000.0))
    found = []
    for step in (0.0, 3.0):
        arms = (
            Arm("B", whole.wave[:at], whole.flux[:, :at], whole.ivar[:, :at]),
            Arm("R", whole.wave[at:], whole.flux[:, at:] + np.float32(step), whole.ivar[:, at:]),
        )
        given = Spectra(arms, np.arange(1), np.arange(1, dtype=np.int32))
        found.append(shipped.predict(Chunk(given)))
    assert found[0].best == found[1].best
    assert np.allclose(found[0].z[:, 0], found[1].z[:, 0], atol=1e-5)


def toy(vectors: np.ndarray) -> Basis:
    """A basis of one vector (1, pixel)."""
    return Basis(
        name="TOY",
        spectype="GALAXY",
        subtype="",
        k0=35_000,
        vectors=vectors,
        mean=np.ones(1),
        spread=np.zeros((1, 1)),
        z_range=(-0.005, 0.05),
        good_dz=0.0015,
    )


def test_the_final_fit_finds_the_sub_pixel_shift() -> None:
    rng = np.random.default_rng(0)
    line = np.exp(-0.5 * ((np.arange(3000)[:, None] - rng.uniform(0, 3000, 60)) / 1.5) ** 2)
    basis = toy(1 + line.sum(1)[None])
    spline = coefficients(torch.from_numpy(basis.vectors))
    wave = 10 ** ((np.arange(35_400, 37_600)) * STEP)
    weights = taps(torch.tensor([1 - 0.37], dtype=torch.float64))[0].numpy()
    at = np.arange(35_400, 37_600) - 35_000 - 101  # shift 100.37
    flux = sum(spline[0, at + q - 1].numpy() * weights[q] for q in range(4))
    data = pixels.native(spectra(flux, 100.0, 1, wave).arms)
    prepared, start = refine.prepare(data), torch.tensor([100.2], dtype=torch.float64)
    fit = refine.refine(prepared, basis, torch.tensor([0]), start, torch.tensor([True]))
    assert float(fit.shift) == pytest.approx(100.37, abs=5 * float(fit.sigma))
    assert float(fit.sigma) < 0.02
    assert bool(fit.settled)


def test_a_fit_far_from_a_broad_minimum_is_not_settled() -> None:
    """Steps are at most a pixel: short of what is left to go, though well below sigma."""
    x = np.arange(3000)
    vectors = 1 + np.exp(-0.5 * ((x - 1500) / 60) ** 2)[None]
    basis = toy(vectors)
    wave = 10 ** (np.arange(35_400, 37_600) * STEP)
    flux = vectors[0, 400 - 100 : 2600 - 100]  # shift 100
    prepared = refine.prepare(pixels.native(spectra(flux, 1.6, 1, wave).arms))
    start = torch.tensor([100.5, 125.0], dtype=torch.float64)
    fit = refine.refine(prepared, basis, torch.zeros(2).long(), start, torch.tensor([True] * 2))
    assert bool((fit.sigma > 2 * refine.MAX_STEP / refine.ENOUGH).all())  # a pixel is far less
    assert fit.settled.tolist() == [True, False]
    assert abs(float(fit.shift[0]) - 100) < 2 * float(fit.sigma[0])


def test_minima_keep_their_distance_and_edges_count() -> None:
    x = torch.arange(200, dtype=torch.float64)
    curve = 50 - 30 * torch.exp(-0.5 * ((x - 60.3) / 3) ** 2) - 20 * torch.exp(-0.5 * (x - 68) ** 2)
    found = refine.minima((curve - x / 100)[None], 10, 3, apart=15)
    assert float(found.shift[0, 0]) == pytest.approx(70.3, abs=0.05)
    assert float(found.shift[0, 1]) == 209
    assert found.value[0, 2].isinf()


def test_rarity_is_minus_two_log_density(shipped: Likelihood) -> None:
    galaxy, quasar = shipped.bases[:2]
    shift = torch.log10(1 + torch.tensor([2.0, 4.0, 7.0], dtype=torch.float64)) / STEP
    assert galaxy.rarity(shift).tolist() == [0, 0, 0]
    expected = [0, 2 * np.log(10) * 0.75, 2 * np.log(10) * 3.5]
    assert quasar.rarity(shift).tolist() == pytest.approx(expected)


def test_splines_run_through_their_values() -> None:
    values = torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inner = slice(1, -1)  # beyond its ends a spline's coefficients are 0
    assert torch.allclose(sample(coefficients(values))[:, inner], values[:, inner])
    fraction = torch.linspace(0, 0.99, 7, dtype=torch.float64)
    assert torch.allclose(taps(fraction).sum(-1), torch.ones(7, dtype=torch.float64))


def test_factorisation_recovers_a_subspace_from_gaps_and_phases() -> None:
    rng = np.random.default_rng(5)
    x = np.arange(300)
    true = torch.from_numpy(np.stack([1 + 0 * x, np.sin(x / 9.0), np.exp(-((x - 150) ** 2) / 90)]))
    c = torch.from_numpy(rng.normal([2, 0, 0], [0.3, 1, 1], (60, 3)))
    phase = torch.from_numpy(rng.uniform(0, 1, 60))
    weights = taps(phase)
    clean = torch.einsum("nk,nkp->np", c, learn.interpolate(coefficients(true), weights))
    flux = clean + 0.01 * torch.from_numpy(rng.standard_normal(clean.shape))
    weight = torch.from_numpy((rng.uniform(size=clean.shape) > 0.3) * 1e4)
    rows = learn.Rows(0, torch.where(weight > 0, flux, 0.0), weight, phase)
    vectors, found = learn.factorise(rows, 3, 30)
    again = torch.einsum(
        "nk,nkp->np", found.values, learn.interpolate(coefficients(vectors), weights)
    )
    inner = slice(5, -5)
    assert float((again - clean)[:, inner].std()) < 0.01


def write_template(path: Path, cards: dict[str, float | bool], vectors: np.ndarray) -> None:
    hdu = fits.PrimaryHDU(vectors)
    hdu.header["EXTNAME"] = "BASIS_VECTORS"
    hdu.header.update(cards)
    draws = fits.ImageHDU(np.random.default_rng(2).normal(1, 0.2, (40, len(vectors))))
    draws.header["EXTNAME"] = "ARCHETYPE_COEFF"
    fits.HDUList([hdu, draws]).writeto(path)


def test_templates_of_all_layouts_land_on_the_grid(tmp_path: Path) -> None:
    wave = 3000 + 0.1 * np.arange(20_000)
    line = 1 + np.exp(-0.5 * ((wave - 4000) / 3) ** 2)
    write_template(tmp_path / "linear.fits", {"CRVAL1": 3000.0, "CDELT1": 0.1}, line[None])
    table = fits.BinTableHDU.from_columns(
        [fits.Column("LAMBDA", "D", array=wave), fits.Column("FLUX_DENSITY", "D", array=line)]
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    for name in ("linear.fits", "table.fits"):
        found = read_template(tmp_path / name)
        peak = 10 ** ((found.k0 + found.vectors[0].argmax()) * STEP)
        assert peak == pytest.approx(4000, abs=0.5)
        assert found.vectors[0].max() == pytest.approx(2, abs=0.02)
        assert found.vectors[0][:500] == pytest.approx(1)
    log = fits.PrimaryHDU(np.ones((2, 100)))
    log.header.update({"COEFF0": 3.5, "COEFF1": 1e-4, "NAME0": "A0"})
    log.writeto(tmp_path / "eigen.fits")
    assert read_template(tmp_path / "eigen.fits").k0 == 35_000


def test_what_is_no_template_is_refused_in_one_line(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones(3)).writeto(tmp_path / "image.fits")
    for name in ("image.fits", "missing.fits"):
        with pytest.raises(InputError) as caught:
            read_template(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_recipe_becomes_bases(tmp_path: Path) -> None:
    wave = 3000 + 0.5 * np.arange(8000)
    vectors = np.stack([1 + 0 * wave, np.sin(wave / 40), np.cos(wave / 60)])
    write_template(tmp_path / "toy.fits", {"CRVAL1": 3000.0, "CDELT1": 0.5}, vectors)
    source = {"kind": "draws", "file": "toy.fits", "number": 30, "snr": 20.0}
    entry = {
        "name": "TOY", "spectype": "STAR", "subtype": "T", "z_range": [-0.005, 0.005],
        "good_dz": 0.0015, "wave": [3100, 6900], "level": [4000, 6000], "vectors": 3,
        "iterations": 5, "lsf": 1.0, "forest": "none", "sources": [source],
    }  # fmt: skip
    [basis] = learn_bases({"seed": 1, "basis": [entry]}, tmp_path, [])
    assert basis.vectors.shape == (3, round(np.log10(6900) / STEP) - round(np.log10(3100) / STEP))
    middle = basis.vectors[0, 1000:-1000]
    assert np.mean(middle) == pytest.approx(1, abs=0.2)
    entry["sources"] = [{**source, "kind": "drwas"}]
    with pytest.raises(ConfigError, match="did you mean 'draws'"):
        learn_bases({"seed": 1, "basis": [entry]}, tmp_path, [])


def test_negative_flux_is_flagged(shipped: Likelihood) -> None:
    data = mixed(shipped)[:1].arms[0]
    found = shipped.predict(Chunk(of(dataclasses.replace(data, flux=-data.flux, good=None))))
    assert found.zwarn is not None
    assert found.zwarn[0] & ZWarn.NEGATIVE_MODEL


def test_noise_alone_is_no_redshift(shipped: Likelihood) -> None:
    noise = np.random.default_rng(8).standard_normal((40, len(SDSS_WAVE))).astype(np.float32)
    found = shipped.predict(Chunk(of(Arm("A", SDSS_WAVE, noise, np.ones_like(noise)))))
    assert found.zwarn is not None
    assert (found.zwarn == 0).mean() <= 0.1


def test_save_and_load_are_a_round_trip(shipped: Likelihood, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    shipped.save(path)
    again = Likelihood.load(path)
    assert again.classes == shipped.classes
    data = Chunk(mixed(shipped)[:2])
    assert np.array_equal(again.predict(data).z, shipped.predict(data).z)


def test_what_ships_is_small() -> None:
    assert checkpoint.find("likelihood").stat().st_size < 5e6


@pytest.mark.parametrize("content", [b"", b"SIMPLE  =                    T"])
def test_foreign_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Likelihood.load(path)
    assert "\n" not in str(caught.value)


def test_another_estimators_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"a": torch.zeros(1)}, {"estimator": "other", "config": {}})
    with pytest.raises(ConfigError, match="other"):
        Likelihood.load(path)


def test_a_strong_shape_does_not_change_how_large_a_spectrum_is() -> None:
    """The prior costs the same whether lines stand up or down: their amplitude is that of both."""
    design = torch.zeros(1, 2, 100, dtype=torch.float64)
    design[:, 0], design[:, 1, :45] = 1.0, 2.0  # the mean spectrum, and a shape beneath it
    certain = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))[None]
    cost = []
    for sign in (1.0, -1.0):
        flux = 30 * (design[:, 0] + sign * design[:, 1])
        none = torch.zeros(1, 0, dtype=torch.float64)
        found = solve_normal(
            design @ design.mT, none[:, :, None].expand(1, 0, 2), times(design, flux), none, certain
        )
        cost.append(float(found.penalty))
    assert cost[0] == pytest.approx(cost[1], abs=0.1)


def test_few_spectra_leave_more_room_for_the_next() -> None:
    """The same scatter of five and of 500 spectra: (N + 1) / (N - K) times the variance."""
    values = torch.from_numpy(np.random.default_rng(2).normal(1.0, 0.1, (5, 2)))
    level, sizes = torch.ones(2, dtype=torch.bool), []
    for copies in (1, 100):
        rows = values.repeat(copies, 1)
        found = learn.Coefficients(rows, rows.mean(0), torch.cov(rows.T))
        vectors, _, _ = learn.canonical(torch.eye(2, dtype=torch.float64), found, level)
        sizes.append(np.linalg.norm(vectors[1]))
    assert sizes[0] / sizes[1] == pytest.approx(np.sqrt((6 / 3) / (501 / 498)))


def test_a_class_that_no_pixel_sees_stops_no_other(shipped: Likelihood) -> None:
    """Stars' bases end at 10990 Å: pixels beyond are fitted by the others."""
    wave = 10 ** np.arange(np.log10(12000.0), np.log10(12400.0), 1e-4)
    rng = np.random.default_rng(4)
    flux = 1 + 0.1 * rng.standard_normal((2, len(wave)))
    arm = Arm("Y", wave, flux.astype(np.float32), np.full(flux.shape, 100.0, np.float32))
    rows = np.arange(2)
    data = Spectra((arm,), rows.astype(np.int64), rows.astype(np.int32))
    ((_, _, found),) = shipped.solutions(data.arms)
    assert bool((found.fitted & found.value.isfinite()).any(1).all())
