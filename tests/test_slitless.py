"""The slitless spectrograph: light, shapes, extraction, neighbours, and the way through a file."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner
from zspec_csst import CSST, band_pixels

from zspec import ConfigError, WaveGrid, ZWarn, open_fits
from zspec.cli.app import build
from zspec.simulate import restframe
from zspec.simulate.instrument import read_instrument
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import simulator
from zspec.simulate.slitless import Slitless
from zspec.simulate.slitless.dispersion import Band, Deposit, disperse, electrons
from zspec.simulate.slitless.extraction import collapse, equivalent_sigma, weigh_rows
from zspec.simulate.slitless.morphology import (
    break_strength,
    ellipticities,
    indices,
    sizes,
)
from zspec.simulate.slitless.profile import (
    FWHM,
    INDICES,
    Shapes,
    pixel_image,
    refining,
    sersic_density,
)
from zspec.simulate.slitless.scene import Light, ideal_image
from zspec.simulate.supply import pieces
from zspec.survey import make_options

TOML = CSST.simulation / "instrument.toml"
CLEAN = {"contamination.neighbours": "0", "contamination.zero_orders": "0"}


@cache
def instrument(**settings: str) -> Slitless:
    return read_instrument(TOML, {k.replace("__", "."): v for k, v in settings.items()})


@cache
def isolated() -> Slitless:
    return read_instrument(TOML, CLEAN)


def objects(n=6, magnitude=20.5, seed=3, wave=None):
    """Galaxies of one magnitude near 7600 Å."""
    wave = isolated().wave if wave is None else wave
    lam = wave.numpy()
    flux, z = [], []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        z.append(rng.uniform(0.05, 0.9))
        made = restframe.galaxy(lam / (1 + z[-1]), z[-1], rng)
        flux.append(made / made[(lam > 7300) & (lam < 7900)].mean())
    level = 10 ** (-0.4 * (magnitude + 48.6)) * 2.998e18 / 7600**2 * 1e17
    text = np.full(n, "GALAXY")
    truth = {"LABEL": text, "SPECTYPE": text, "SUBTYPE": text, "Z": np.array(z)}
    truth |= {"MAG": np.full(n, magnitude), "SED": text, "EBV": np.zeros(n)}
    return Objects(wave, torch.tensor(np.array(flux) * level, dtype=torch.float32), truth)


def first(given: Objects, n: int) -> Objects:
    return Objects(given.wave, given.flux[:n], {k: v[:n] for k, v in given.truth.items()})


def shapes(r_eff=6.0, index=1.0, axis_ratio=0.5, angle=0.6, row=0.2, column=0.0) -> Shapes:
    values = (r_eff, index, axis_ratio, angle, row, column)
    return Shapes(*torch.broadcast_tensors(*(torch.tensor(v).float().view(-1) for v in values)))


def integrated(r_eff, index, q, angle, fwhm, half, fine=15):
    """A Sérsic image by brute force: fine cells, a sampled PSF, sums over pixels."""
    size = (2 * half + 1) * fine
    y, x = np.mgrid[:size, :size] / fine - (size - 1) / 2 / fine
    cells = np.zeros((size, size))
    for dx in (np.arange(3) - 1) / 3 / fine:
        for dy in (np.arange(3) - 1) / 3 / fine:
            u = (x + dx) * np.cos(angle) + (y + dy) * np.sin(angle)
            v = -(x + dx) * np.sin(angle) + (y + dy) * np.cos(angle)
            cells += sersic_density(np.hypot(u, v / q) / r_eff, index) / (
                9 * q * r_eff**2 * fine**2
            )
    seen = gaussian_filter(cells, fwhm / FWHM * fine, truncate=6, mode="constant")
    return seen.reshape(2 * half + 1, fine, 2 * half + 1, fine).sum(axis=(1, 3))


@pytest.mark.parametrize(
    ("r_eff", "index", "q", "angle"), [(4, 1, 1, 0), (6, 1, 0.4, 1.2), (3, 2.55, 0.5, 0.3)]
)
def test_pixels_hold_the_integral_of_the_profile(r_eff, index, q, angle):
    expected = integrated(r_eff, index, q, angle, 4.05, 20)
    made = pixel_image(shapes(r_eff, index, q, angle, row=0.0), 4.05, 20, 20)[0].numpy()
    assert np.abs(made - expected).sum() < 2e-3
    assert np.abs(made - expected).max() < 2e-3 * expected.max()


def test_a_concentrated_profile_is_right_to_a_percent():
    expected = integrated(4, 4, 0.6, 0.7, 4.05, 20, fine=25)
    made = pixel_image(shapes(4, 4, 0.6, 0.7, row=0.0), 4.05, 20, 20)[0].numpy()
    assert np.abs(made - expected).sum() < 1e-2


def test_a_point_source_is_the_psf():
    image = pixel_image(shapes(r_eff=0.0, row=0.0), 4.05, 20, 20)
    assert image.sum().item() == pytest.approx(1, abs=1e-5)
    sigma = equivalent_sigma(image.sum(1)).item()
    assert sigma == pytest.approx(np.sqrt((4.05 / FWHM) ** 2 + 1 / 12), rel=1e-4)


def test_sub_pixels_are_those_of_a_shifted_image():
    image = pixel_image(shapes(r_eff=3.0), 4.05, 20, 20)
    fine = image @ refining(20, 3)
    assert fine.sum().item() == pytest.approx(3 * image.sum().item(), rel=1e-5)
    for third in (1, 2):
        shifted = pixel_image(shapes(r_eff=3.0, column=-third / 3), 4.05, 20, 20)
        difference = fine[..., third::3] - shifted[..., :-1]
        assert difference.abs().max() < 1e-3 * image.max()


def test_every_photon_is_an_electron_somewhere():
    """Σ image = Σ over λ of flux × photons × area × time × throughput."""
    band = isolated().design.used[0]
    lam = isolated().wave.numpy()
    given = objects(3)
    light = Deposit(band, lam, isolated().design.area_time)(given.flux)
    per_angstrom = electrons(band, lam, isolated().design.area_time)
    expected = np.trapezoid(given.flux.numpy() * per_angstrom, lam, axis=1)
    np.testing.assert_allclose(light.sum(1).numpy(), expected, rtol=1e-4)


def test_the_sum_of_an_image_is_the_sum_of_its_light():
    band = Band("T", 5000.0, 5.0, 200, 0.1, 5200.0, 300.0, (0.0, 0.3, 0.0), 0.1)
    lam = 5000 * np.exp(2e-4 * np.arange(1200))
    deposit = Deposit(band, lam, 1e7)
    light = deposit(torch.rand(2, len(lam)))  # all of it lies well within the band
    image = pixel_image(shapes(r_eff=[0.0, 2.0]), 4.05, 20, 20)
    made = disperse(deposit.window(light, band.pixels, 20, 0), image @ refining(20, 3))
    np.testing.assert_allclose(made.sum((1, 2)), light.sum(1), rtol=5e-5)


def test_a_line_lies_where_it_should():
    band = Band("T", 5000.0, 7.0, 200, 0.1, 4900.0, 2000.0, (0.3, 0.3), 0.1)
    lam = 4900 * np.exp(2e-4 * np.arange(1500))
    deposit = Deposit(band, lam, 1e7)
    image = pixel_image(shapes(row=0.0), 4.05, 20, 20).sum(1, keepdim=True) @ refining(20, 3)
    for line in (5555.0, 5557.3, 5560.1):
        flux = np.exp(-0.5 * ((lam - line) / 3) ** 2)
        light = deposit(torch.tensor(flux, dtype=torch.float32)[None])
        seen = disperse(deposit.window(light, 200, 20, 0), image)[0, 0].numpy()
        assert (seen * band.wave()).sum() / seen.sum() == pytest.approx(line, abs=0.05)


def test_extraction_of_the_image_is_the_spectrum():
    """The one-dimensional path against the two-dimensional one, with neighbours."""
    settings = {"contamination.neighbours": "0.7", "contamination.zero_orders": "0.7"}
    made = read_instrument(TOML, {**settings, "images": "true"})
    given = objects(8)
    scene = made.arrange(given, [5])
    seen = made.observe(given, [5])
    for number, band in enumerate(made.design.used):
        light = Light(scene, given.flux, band, made.deposits[number])
        ideal = ideal_image(scene, light)
        unit = torch.tensor(electrons(band, band.wave(), made.design.area_time) * band.step)
        through = (collapse(ideal, scene.weights.rows) / unit).numpy()
        np.testing.assert_allclose(seen.clean[number], through, rtol=2e-3, atol=2e-4)
        image = torch.tensor(seen.images[f"{band.name}_IMAGE"])
        extracted = (collapse(image, scene.weights.rows) / unit).numpy()
        error = seen.spectra.arms[number].ivar ** -0.5
        assert np.max(np.abs(extracted - seen.spectra.arms[number].flux) / error) < 2e-3


def test_noise_of_an_image_is_that_of_its_pixels():
    """Although its sum over rows is given: variance, no correlation, and negative counts."""
    made = read_instrument(TOML, {**CLEAN, "images": "true"})
    given = objects(6, magnitude=22.0)
    scene, seen = made.arrange(given, [9]), made.observe(given, [9])
    light = Light(scene, given.flux, made.design.used[1], made.deposits[1])
    noise = seen.images["GI_IMAGE"] - ideal_image(scene, light).numpy()
    pull = noise / np.sqrt(seen.images["GI_VARIANCE"])
    assert pull.std() == pytest.approx(1, abs=0.01)
    assert abs(pull.mean()) < 0.01
    assert abs((pull[:, 1:] * pull[:, :-1]).mean()) < 0.01
    assert (seen.images["GI_IMAGE"] < 0).mean() > 0.3
    assert (seen.spectra.arms[0].flux < 0).mean() > 0.1


def test_images_do_not_change_spectra():
    given = objects(3)
    plain = isolated().observe(given, [1])
    with_images = read_instrument(TOML, {**CLEAN, "images": "true"}).observe(given, [1])
    assert not plain.images
    assert sorted(with_images.images) == ["GI_IMAGE", "GI_VARIANCE", "GV_IMAGE", "GV_VARIANCE"]
    for a, b in zip(plain.spectra.arms, with_images.spectra.arms, strict=True):
        np.testing.assert_array_equal(a.flux, b.flux)


def test_a_row_depends_on_the_seed_and_its_number_alone():
    given = objects(7)
    whole, part = instrument().observe(given, [2, 4]), instrument().observe(first(given, 4), [2, 4])
    other = instrument().observe(first(given, 4), [2, 5])
    for a, b, c in zip(whole.spectra.arms, part.spectra.arms, other.spectra.arms, strict=True):
        np.testing.assert_allclose(a.flux[:4], b.flux, rtol=1e-5, atol=1e-6)
        assert not np.allclose(a.flux[:4], c.flux)
    for name, column in whole.truth.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column[:4], part.truth[name], rtol=1e-4, atol=1e-7)
    again = instrument().observe(given, [2, 4])
    np.testing.assert_array_equal(again.spectra.arms[0].flux, whole.spectra.arms[0].flux)


def test_nothing_is_observed_of_nothing():
    none = instrument().observe(first(objects(2), 0), [1])
    assert len(none.spectra) == 0
    assert [arm.flux.shape for arm in none.spectra.arms] == [(0, 337), (0, 445)]


def test_errors_are_those_of_the_noise():
    given = objects(64, magnitude=21.0)
    seen = isolated().observe(given, [8])
    for clean, arm in zip(seen.clean, seen.spectra.arms, strict=True):
        pull = (arm.flux - clean) * np.sqrt(arm.ivar)
        assert pull.std() == pytest.approx(1, abs=0.02)
        assert abs(pull.mean()) < 0.02
        assert abs((pull * np.sqrt(arm.ivar)).mean() / np.sqrt(arm.ivar).mean()) < 0.02


def test_flux_is_that_of_the_source():
    """The continuum comes back whatever the shape, and wings beyond the rows are corrected."""
    given = objects(16)
    seen = isolated().observe(given, [3])
    lam = given.wave.numpy()
    for clean, arm in zip(seen.clean, seen.spectra.arms, strict=True):
        middle = (arm.wave > arm.wave[0] + 400) & (arm.wave < arm.wave[-1] - 400)
        inside = (lam > arm.wave[0] + 400) & (lam < arm.wave[-1] - 400)
        truth = np.trapezoid(given.flux.numpy()[:, inside], lam[inside], axis=1)
        found = np.trapezoid(clean[:, middle], arm.wave[middle], axis=1)
        np.testing.assert_allclose(found, truth, rtol=0.03)


def test_a_source_broadens_its_own_spectrum():
    widths = []
    for r_eff in (0.0, 3.0, 6.0, 12.0):
        image = pixel_image(shapes(r_eff, axis_ratio=1.0), 4.05, 28, 28)
        rows = weigh_rows(image, isolated().design.extraction).rows
        widths.append(equivalent_sigma(collapse(image, rows)).item())
    assert np.all(np.diff(widths) > 0.3)
    assert widths[0] == pytest.approx(np.hypot(4.05 / FWHM, 12**-0.5), rel=1e-3)


def test_lines_are_as_wide_as_the_file_says():
    made = isolated()
    wave = made.wave
    given = objects(4, wave=wave)
    line = torch.exp(-0.5 * ((wave - 8000.0) / 1.5) ** 2).float()
    given = dataclasses.replace(given, flux=1e3 * line.expand(4, -1).contiguous())
    seen = made.observe(given, [6])
    arm, clean = seen.spectra.arms[1], seen.clean[1]
    pixel = arm.wave[1] - arm.wave[0]
    found = equivalent_sigma(torch.tensor(clean)).numpy() * pixel
    expected = np.sqrt(arm.resolution[:, 200] ** 2 + pixel**2 / 12 + 1.5**2)
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_a_wrong_zero_point_moves_lines_and_is_told():
    made = read_instrument(TOML, {**CLEAN, "morphology.offset": "1.0"})
    line = torch.exp(-0.5 * ((made.wave - 8000.0) / 1.5) ** 2).float()
    given = dataclasses.replace(objects(5), flux=1e3 * line.expand(5, -1).contiguous())
    seen = made.observe(given, [6])
    wave = seen.spectra.arms[1].wave
    core = seen.clean[1].astype(np.float64) ** 3  # wings end at the edge of the stamp, off centre
    found = (core * wave).sum(1) / core.sum(1)
    assert np.abs(seen.truth["WAVEOFF"]).max() > 0.3
    np.testing.assert_allclose(found - 8000, seen.truth["WAVEOFF"] * 8.5437, atol=0.2)


def test_optimal_weights_beat_a_box():
    given = objects(24, magnitude=21.5)
    box = read_instrument(TOML, {**CLEAN, "extraction.method": "box"}).observe(given, [1])
    best = isolated().observe(given, [1])
    assert np.all(best.truth["SNR_GI"] > box.truth["SNR_GI"])
    assert np.median(best.truth["SNR_GI"] / box.truth["SNR_GI"]) < 1.3


def test_sizes_and_ellipticities_are_distributed_as_published():
    late = isolated().design.morphology.late
    uniform = (np.arange(20000) + 0.5) / 20000
    drawn = sizes(late, np.full(20000, 23.0), uniform, 99.0)
    assert np.median(drawn) == pytest.approx(1.678 * np.exp(-1.145), rel=2e-3)
    a = np.median(drawn) / 1.1343  # p(r) ∝ r exp(-(r/a)^(4/3)): its mean is a Γ(9/4) / Γ(3/2)
    assert drawn.mean() == pytest.approx(a * 1.13300 / 0.88623, rel=2e-3)
    assert sizes(late, np.array([20.0]), np.array([0.5]), 99.0) > np.median(drawn)
    cut = sizes(late, np.full(20000, 23.0), uniform, 0.8)
    assert cut.max() == pytest.approx(0.8, rel=1e-3)
    assert np.median(cut) == pytest.approx(np.median(drawn[drawn < 0.8]), rel=2e-3)
    early = isolated().design.morphology.early
    drawn = indices(early, uniform)
    assert INDICES[1] <= drawn.min() < drawn.max() <= INDICES[-1] + 1e-9
    assert np.median(drawn) == pytest.approx(early.index, rel=0.05)
    flat = ellipticities(late, uniform)
    assert 0 < flat.min() < flat.max() < 0.804
    assert flat.mean() > ellipticities(early, uniform).mean()


def test_a_break_makes_a_galaxy_early():
    given = objects(2)
    lam = given.wave.numpy() / 1.4
    flux = np.stack([np.where(lam < 3975, 1.0, 2.0), np.ones_like(lam)]) / lam**2
    truth = {**given.truth, "Z": np.full(2, 0.4)}
    made = Objects(given.wave, torch.tensor(flux, dtype=torch.float32), truth)
    np.testing.assert_allclose(break_strength(made), [2, 1], rtol=0.01)


def test_stars_are_points():
    given = objects(3)
    given.truth["SPECTYPE"] = np.array(["STAR", "QSO", "GALAXY"])
    seen = isolated().observe(given, [4])
    assert list(seen.truth["R_EFF"][:2]) == [0, 0]
    assert seen.truth["R_EFF"][2] > 0
    assert seen.spectra.arms[1].resolution[2, 0] > seen.spectra.arms[1].resolution[0, 0]


def test_contamination_is_injected_counted_and_flagged():
    settings = {"contamination.neighbours": "0.5", "contamination.zero_orders": "0.3"}
    made = read_instrument(TOML, {**settings, "contamination.known": "0"})
    given = objects(60)
    seen, alone = made.observe(given, [1]), isolated().observe(given, [1])
    neighbour, zero_order = seen.truth["NEIGHBOUR"], seen.truth["ZERO_ORDER"]
    assert 0.3 < neighbour.mean() < 0.7
    assert 0.15 < zero_order.mean() < 0.5
    hit = neighbour | zero_order
    np.testing.assert_array_equal(seen.truth["ARTEFACT"] > 0, hit)
    extra = seen.clean[1] - alone.clean[1]
    assert np.all(np.abs(extra[~hit]).max(axis=1) < 1e-3)
    share = seen.truth["CONTAM_TRUE_GI"]
    assert np.all(share[~hit] == 0)
    assert np.all(share[hit] >= 0)
    assert share[hit].max() > 0.3
    # a zero order is a narrow bump: most of its light lies within 15 pixels
    only = np.flatnonzero(zero_order & ~neighbour & (share > 0.02))
    peak = extra[only].argmax(axis=1)
    near = np.abs(np.arange(extra.shape[1]) - peak[:, None]) <= 15
    assert np.all((extra[only] * near).sum(1) > 0.6 * extra[only].sum(1))
    worst = np.maximum(seen.truth["CONTAM_TRUE_GV"], share)
    np.testing.assert_array_equal(
        (seen.spectra.zwarn & int(ZWarn.CONTAMINATED)) != 0, worst > made.design.contamination.flag
    )


def test_the_adapter_reads_back_what_was_written(tmp_path):
    settings = {"contamination.neighbours": "0.6"}
    seen = read_instrument(TOML, settings).observe(objects(12), [1]).spectra
    path = tmp_path / "mock.fits"
    CSST().write(path, seen)
    (back,) = CSST().read(path)
    assert (back.zwarn > 0).any()
    assert (back.zwarn == 0).any()
    np.testing.assert_array_equal(back.zwarn, seen.zwarn)
    np.testing.assert_array_equal(back.ids, seen.ids)
    np.testing.assert_allclose(back.truth.z, seen.truth.z)
    np.testing.assert_array_equal(back.truth.label, seen.truth.label)
    for a, b in zip(back.arms, seen.arms, strict=True):
        np.testing.assert_allclose(a.wave, b.wave, rtol=1e-9)
        np.testing.assert_allclose(a.flux, b.flux, rtol=2e-6)
        np.testing.assert_allclose(a.ivar, b.ivar, rtol=2e-6)
        np.testing.assert_allclose(a.resolution, b.resolution, rtol=1e-6)
    (strict,) = CSST().read(path, options=make_options(CSST(), {"contamination": "0.9"}))
    assert (strict.zwarn > 0).sum() < (back.zwarn > 0).sum()


def test_arms_are_the_pixels_of_the_survey():
    arms = isolated().observe(objects(2), [1]).spectra.arms
    assert [arm.name for arm in arms] == ["GV", "GI"]
    for arm in arms:
        np.testing.assert_allclose(arm.wave, band_pixels(arm.name), atol=1e-3)
    assert isinstance(CSST.grid, WaveGrid)


def test_gu_is_a_third_band():
    made = read_instrument(TOML, {"use": '["GU", "GV", "GI"]'})
    seen = made.observe(objects(2, wave=made.wave), [1])
    assert [arm.name for arm in seen.spectra.arms] == ["GU", "GV", "GI"]
    assert np.all(seen.truth["SNR_GU"] < seen.truth["SNR_GI"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extraction.method": "sum"}, "optimal or box expected"),
        ({"contamination.neighbours": "2.0"}, "a share expected"),
        ({"use": '["GX"]'}, "unknown band 'GX'"),
        ({"use": "[]"}, "use names no band"),
        ({"extraction.smooth": "4"}, "an odd number"),
    ],
)
def test_wrong_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_instrument(TOML, settings)
    assert "\n" not in str(caught.value)


def test_a_band_must_see_something(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(TOML.read_text().replace("pixels = 445", "pixels = 900"))
    with pytest.raises(ConfigError, match="band GI has pixels without throughput"):
        read_instrument(path)


def test_unknown_keys_are_refused(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(TOML.read_text().replace("area = ", "aera = "))
    with pytest.raises(ConfigError, match=r"did you mean 'telescope\.area'"):
        read_instrument(path)


def test_the_command_writes_spectra_images_and_truth(tmp_path):
    folder = tmp_path / "mocks"
    command = ["simulate", "--survey", "csst", "-n", "5", "--seed", "3", "-o", str(folder)]
    result = CliRunner().invoke(build(), [*command, "--image", "--per-file", "3"])
    assert result.exit_code == 0, result.output
    parts = [next(CSST().read(path)) for path in sorted(folder.glob("csst-mock-*.fits"))]
    assert [len(part) for part in parts] == [3, 2]
    with open_fits(folder / "truth.fits") as file:
        truth = {k: file.column(1, k) for k in ("Z", "R_EFF", "CONTAM_TRUE_GI", "SNR_GI")}
    np.testing.assert_allclose(np.concatenate([p.truth.z for p in parts]), truth["Z"])
    with open_fits(folder / "images-00000.fits") as file:
        assert file.image("GI_IMAGE").shape == (3, 57, 445)
        units = {hdu.name: hdu.header.get("BUNIT") for hdu in file.hdus if "_" in hdu.name}
    assert units["GV_IMAGE"] == units["GI_IMAGE"] == "electron"
    assert units["GV_VARIANCE"] == units["GI_VARIANCE"] == "electron2"
    observed = simulator(CSST(), 3).block(0)
    np.testing.assert_allclose(parts[0].arms[1].flux, observed.spectra.arms[1].flux[:3], rtol=2e-6)


def test_training_draws_noise_on_what_is_noise_free():
    observed = next(pieces(simulator(CSST(), 5, flat=True, split="train"), 10))
    for clean, arm in zip(observed.clean, observed.spectra.arms, strict=True):
        assert clean.shape == arm.flux.shape
        assert np.all(np.isfinite(clean))
        pull = (arm.flux - clean) * np.sqrt(arm.ivar)
        assert pull.std() == pytest.approx(1, abs=0.06)


def test_the_population_is_as_faint_as_published():
    """P2, figure 3: GI peaks near 2, most of GV lies below 1."""
    source = simulator(CSST(), 7)
    truths = [source.block(number).truth for number in range(3)]
    gi, gv = (np.concatenate([t[f"SNR_{band}"] for t in truths]) for band in ("GI", "GV"))
    assert 1.4 < np.median(gi) < 2.6
    assert (gv < 1).mean() > 0.5
    z = np.concatenate([t["Z"] for t in truths])
    assert 0 < z.min() < z.max() < 1.1
