"""The slitless network: inputs, training, resuming, and the promises of an estimator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from slitless_toy import BLUE, GRID, recipe, sampled, spectra, trained, training_set

from zspec import Chunk, ConfigError, InputError, Truth, ZWarn, checkpoint
from zspec.calibration.maps import covariate
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.simulate.sources.families import part_of
from zspec.slitless import samples, training
from zspec.slitless.fit import factor
from zspec.slitless.heads import HeadSettings
from zspec.slitless.inputs import BAD_ERROR, observe, scale, signal_to_noise
from zspec.slitless.network import PointNetwork, log_cosh
from zspec.slitless.recipe import DataSettings, NetworkSettings, Recipe, parse
from zspec.testing import EstimatorContract, compare


@pytest.fixture(scope="module")
def estimator():
    said = recipe()
    return SlitlessBNN(said, GRID, trained(said), {"surveys": ["toy"]})


class TestContract(EstimatorContract):
    def make(self):
        said = recipe()
        return SlitlessBNN(said, GRID, trained(said))

    def spectra(self):
        return spectra(6, 9)[0]


def test_a_bad_pixel_has_no_flux_and_a_large_error():
    flux, error = torch.ones(2, 5), torch.full((2, 5), 0.5)
    error[0, 2], flux[0, 2] = 0, 0
    error[1] = 0
    flux[1] = 0
    out = scale(flux, error)
    assert out[0, :, 2].tolist() == [0, BAD_ERROR]
    assert bool((out[1, 0] == 0).all())
    assert bool((out[1, 1] == BAD_ERROR).all())
    assert bool((out[0, 1, [0, 1, 3, 4]] == 0.5).all())


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e15])
def test_the_unit_of_flux_does_not_matter(unit):
    made, _ = spectra(5, 3)
    flux, error = torch.from_numpy(made.arms[0].flux), torch.from_numpy(made.arms[0].ivar) ** -0.5
    torch.testing.assert_close(scale(flux * unit, error * unit), scale(flux, error))


def test_pixels_at_the_edge_of_a_band_do_not_set_the_level():
    flux, error = torch.ones(1, 50), torch.full((1, 50), 0.1)
    expected = scale(flux, error)[0, :, :40]
    flux[0, 40:], error[0, 40:] = 1e4, 1e5
    torch.testing.assert_close(scale(flux, error)[0, :, :40], expected, rtol=1e-2, atol=1e-3)
    assert bool((scale(flux, error)[0, 1, 40:] == BAD_ERROR).all())


def test_fresh_noise_is_that_of_the_error_and_none_on_bad_pixels():
    error = torch.tensor([[0.5, 2.0, 0.0]]).expand(20_000, 3)
    drawn = observe(torch.zeros(20_000, 3), error)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.5, 2.0, 0.0]), rtol=0.03, atol=0)


def test_noise_on_noisy_spectra_is_larger_by_root_two():
    made, clean = spectra(3000, 5)
    for known, expected in ((clean, 1.0), (None, 2**0.5)):
        part = sampled(made, known)
        pure = sampled(made, clean).clean
        fresh = observe(part.clean, part.error)
        pull = ((fresh - pure) / part.error).std()
        assert float(pull) == pytest.approx(expected, rel=0.01)


def test_snr_is_a_median_over_good_pixels():
    flux, error = (
        torch.tensor([[1.0, 2, 9, 0], [0, 0, 0, 0]]),
        torch.tensor([[1.0, 1, 1, 0], [0] * 4]),
    )
    assert signal_to_noise(flux, error).tolist() == [2.0, 0.0]


def test_each_band_keeps_its_own_light():
    made, _ = spectra(2, 6)
    part = sampled(made)
    blue = part.flux[:, : len(BLUE)] / part.error[:, : len(BLUE)]
    expected = made.arms[0].flux * np.sqrt(made.arms[0].ivar)
    np.testing.assert_allclose(blue.numpy(), expected, rtol=1e-4)


def test_spectra_without_truth_cannot_train():
    made, _ = spectra(3, 1, truth=False)
    with pytest.raises(InputError, match="no truth"):
        sampled(made)


def test_other_classes_are_not_trained_on():
    made, clean = spectra(6, 1)
    kinds = np.array(["GALAXY", "STAR", "QSO", "GALAXY", "", "GALAXY"])
    mixed = dataclasses.replace(made, truth=Truth(kinds, made.truth.z))
    np.testing.assert_array_equal(sampled(mixed, clean).z, made.truth.z[[0, 3, 5]])
    np.testing.assert_array_equal(sampled(mixed, clean, "QSO").z, made.truth.z[[2]])


def test_files_fall_into_the_sets_of_the_simulator_by_their_sources(monkeypatch, tmp_path):
    """Twenty sources, ten spectra each: no source is in two sets."""
    made, _ = spectra(200, 1)
    names = np.array([f"sed-{i % 20}" for i in range(200)])
    made = dataclasses.replace(made, table={"SED": names})
    (tmp_path / "a.fits").touch()
    monkeypatch.setattr("zspec.sources.read", lambda source: (None, iter([made])))
    settings = DataSettings("toy", files=("*.fits",), noise="noisy")
    train, valid = samples.load(settings, tmp_path, GRID, 1, "GALAXY")
    for found, part in ((train, "train"), (valid, "valid")):
        expected = made.truth.z[[part_of(name) == part for name in names]]
        np.testing.assert_array_equal(found.z, expected)
        assert 10 <= len(found) <= 180


def test_the_network_is_the_papers():
    network = PointNetwork(
        torch.linspace(4000, 10000, 782), NetworkSettings().channels, 32, 0.2, False
    )
    convolutions = [m for m in network.blocks.modules() if isinstance(m, torch.nn.Conv1d)]
    assert len(network.blocks) == 8
    assert sum(m.kernel_size == (3,) for m in convolutions) == 16
    assert network.stem[0].weight.shape == (32, 2, 7)
    assert network.dropout.p == 0.2
    assert network.point(network.features(torch.randn(3, 2, 782))).shape == (3,)


def test_without_position_features_hardly_know_where_and_with_it_they_do():
    """Global pooling forgets a place but for the padding at the edges."""
    moved = []
    for position in (False, True):
        torch.manual_seed(1)
        network = PointNetwork(torch.linspace(4000, 10000, 800), (8,) * 8, 8, 0, position).eval()
        x = torch.zeros(2, 2, 800)
        x[0, 0, 300], x[1, 0, 500] = 5, 5
        with torch.no_grad():
            seen = network.features(x)
        moved.append(float((seen[0] - seen[1]).norm() / seen.norm()))
    assert moved[0] < 1e-5 < 1e-3 < moved[1]


def test_log_cosh_is_exact_and_does_not_overflow():
    x = torch.tensor([-3.0, 0.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(log_cosh(x), torch.cosh(x).log().mean())
    assert float(log_cosh(torch.tensor([1e4]))) == pytest.approx(1e4, rel=1e-3)


def test_schedules():
    assert factor("constant", 0.7) == 1
    rates = [factor("cosine", x) for x in (0, 0.05, 0.5, 1)]
    assert rates[1] == 1
    assert rates[0] < 0.02
    assert rates[3] == pytest.approx(0.01)
    assert 0.01 < rates[2] < 1


def test_training_lowers_the_loss_and_learns_redshifts():
    said = recipe(
        point={"epochs": 8, "rate": 1e-2},
        bayes={"epochs": 6, "realisations": 2},
        calibration={"method": "isotonic"},
    )
    made = trained(said, n=512)
    point = [row["valid"] for row in made.history["point 1"]]
    assert min(point) < 0.3 * point[0]
    z = training_set(128, 2).z
    scatter = 1.48 * ((z - z.median()) / (1 + z)).abs().median()
    assert made.figures["nmad"] < 0.4 * float(scatter)
    fresh = training_set(1000, 3)
    passes = made.model.run(fresh.observed(), made.model.draw(said.seed))
    t = ((fresh.z - passes.z) / passes.sigma).numpy()
    below = made.calibration.cdf(t, covariate(fresh.snr().double().numpy()))
    # learned on 128 spectra: sqrt(0.68 * 0.32 / 128) is 0.04
    assert np.mean(np.abs(below - 0.5) < 0.6827 / 2) == pytest.approx(0.68, abs=0.12)
    assert np.mean(np.abs(below - 0.5) < 0.95 / 2) == pytest.approx(0.95, abs=0.05)


def test_a_loss_that_is_not_finite_ends_a_training_in_one_line():
    with pytest.raises(ConfigError, match=r"point 1: the loss is nan.*lower its rate"):
        trained(recipe(point={"rate": 1e30, "schedule": "constant"}), n=64)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path):
    said, kept = recipe(), tmp_path / "state.safetensors"
    whole = trained(said)

    def stop(fit):
        if (fit.name, fit.epoch) in {("point 1", 1), ("head 1", 1)} - stopped:
            stopped.add((fit.name, fit.epoch))
            raise KeyboardInterrupt

    stopped = set()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trained(said, kept=kept, told=stop)
        assert kept.is_file()
    resumed = trained(said, kept=kept, told=stop)
    assert not kept.exists()
    assert resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert resumed.calibration == whole.calibration


def test_the_state_of_another_training_is_refused(tmp_path):
    kept = tmp_path / "state.safetensors"

    def stop(fit):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(recipe(), kept=kept, told=stop)
    for said, n in ((recipe(seed=5), 256), (recipe(), 255)):
        with pytest.raises(ConfigError, match="another training, or on other data"):
            trained(said, n, kept=kept)


def test_training_leaves_the_generator_of_the_caller_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trained(recipe(point={"epochs": 1}, bayes={"epochs": 1}), n=64)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["dropout", "gaussian"])
def test_other_heads_and_ensembles_have_the_same_interface(kind, tmp_path):
    members = 2 if kind == "gaussian" else 1
    said = recipe(head={"kind": kind}, network={"members": members}, point={"epochs": 1})
    made = SlitlessBNN(said, GRID, trained(said, n=64))
    made.save(tmp_path / "a.safetensors")
    loaded = SlitlessBNN.load(tmp_path / "a.safetensors")
    chunk = Chunk(spectra(8, 2)[0], GRID)
    found, again = made.predict(chunk), loaded.predict(chunk)
    np.testing.assert_array_equal(found.z, again.z)
    assert np.all(found.extra["Z_EPISTEMIC"] > 0)


def test_heads_can_be_compared_on_the_same_features(estimator):
    said = recipe(head={"kind": "dropout"})
    train, valid = training_set(64, 1), training_set(64, 2)
    made = training.fit(said, GRID, train, valid, "cpu", start=estimator.model)
    assert list(made.history) == ["head 1"]
    chunk = Chunk(spectra(5, 3)[0], GRID)
    found, before = SlitlessBNN(said, GRID, made).predict(chunk), estimator.predict(chunk)
    np.testing.assert_array_equal(found.extra["Z_POINT"], before.extra["Z_POINT"])
    assert np.all(found.z != before.z)
    other = recipe(network={"channels": [4, 4, 4, 4, 8, 8, 8, 8]})
    with pytest.raises(ConfigError, match="another shape"):
        training.fit(other, GRID, train, valid, "cpu", start=estimator.model)


def test_parts_of_the_uncertainty_add_up(estimator):
    said = estimator.predict(Chunk(spectra(20, 8)[0], GRID))
    parts = np.hypot(said.extra["Z_EPISTEMIC"], said.extra["Z_ALEATORIC"])
    np.testing.assert_allclose(parts, said.sigma[:, 0], rtol=1e-6)
    assert np.all((said.zconf >= 0) & (said.zconf <= 1))
    assert estimator.calibrated


def test_another_seed_draws_other_passes(estimator):
    chunk = Chunk(spectra(20, 8)[0], GRID)
    other = SlitlessBNN(dataclasses.replace(estimator.recipe, seed=99), GRID, estimator.trained)
    before, after = estimator.predict(chunk), other.predict(chunk)
    np.testing.assert_array_equal(before.extra["Z_POINT"], after.extra["Z_POINT"])
    assert np.any(before.z != after.z)


def test_garbage_is_out_of_distribution(estimator):
    made, _ = spectra(16, 8)
    rng = np.random.default_rng(0)
    arms = tuple(
        dataclasses.replace(arm, flux=arm.flux * np.sign(rng.standard_normal(arm.flux.shape)))
        for arm in made.arms
    )
    flag = int(ZWarn.OUT_OF_DISTRIBUTION)
    fine = estimator.predict(Chunk(made, GRID)).zwarn & flag
    odd = estimator.predict(Chunk(dataclasses.replace(made, arms=arms), GRID)).zwarn & flag
    assert np.mean(fine > 0) < 0.2
    assert np.all(odd > 0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"network": {"chanels": [1]}}, "did you mean 'network.channels'"),
        ({"network": {"channels": [4, 4]}}, "eight numbers"),
        ({"head": {"kind": "flipout"}}, "expected mnf or dropout or gaussian"),
        ({"point": {"epochs": "many"}}, "expected whole number"),
        ({"data": {"survey": "x", "files": ["a"]}}, "noisy"),
        ({"calibration": 3}, "must be a table"),
        ({"label": {"z_range": [0.0]}}, "expected 2 values"),
        ({"default_for": "csst"}, "expected list"),
        ({"data": {}}, "'data.survey' is missing"),
    ],
)
def test_a_wrong_recipe_is_one_line(more, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse({"estimator": "slitless-bnn", "data": {"survey": "x"}, **more})
    assert "\n" not in str(caught.value)


def test_defaults_are_the_papers():
    said = Recipe("slitless-bnn", DataSettings("csst"))
    assert (said.point.epochs, said.point.batch, said.point.scale) == (100, 1024, 1.0)
    assert (said.bayes.realisations, said.head.passes, said.head.flows) == (50, 200, 2)
    assert HeadSettings().flow_hidden == 50


def test_density_on_request_is_the_calibrated_distribution(estimator):
    made, _ = spectra(12, 8)
    said = estimator.predict(Chunk(made, GRID), frozenset({"zpdf"}))
    np.testing.assert_allclose(said.zpdf.mass, 1, rtol=1e-5)
    flux = Chunk(made, GRID).batch
    snr = signal_to_noise(torch.from_numpy(flux.flux), torch.from_numpy(flux.error))
    x = covariate(snr.double().numpy())
    calibration = estimator.trained.calibration
    for row in range(12):
        u, p = said.zpdf.marginal(row)
        below = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2 * np.diff(u))])
        median = np.expm1(np.interp(0.5, below, u))
        raw = said.sigma[row, 0] / calibration.widening(x)[row]
        expected = said.z[row, 0] + raw * calibration.quantile(0.5, x)[row]
        assert median == pytest.approx(expected, abs=0.1 * said.sigma[row, 0])
    assert estimator.predict(Chunk(made, GRID)).zpdf is None


def test_a_row_without_data_has_no_density(estimator):
    made = compare.blank(spectra(4, 8)[0], row=1)
    said = estimator.predict(Chunk(made, GRID), frozenset({"zpdf"}))
    assert said.zpdf.row.tolist() == [0, 2, 3]
    assert np.isnan(said.z[1, 0])
    assert said.zwarn[1] == 0


def test_a_survey_can_have_a_model_of_its_own(estimator, tmp_path, monkeypatch):
    made = SlitlessBNN(estimator.recipe, GRID, estimator.trained, {"default_for": ["toy"]})
    made.save(tmp_path / "own.safetensors")
    monkeypatch.setattr(checkpoint, "shipped", lambda: {"own": tmp_path / "own.safetensors"})
    assert checkpoint.default("toy") == "own"
    assert checkpoint.default("other") == checkpoint.default(None) == checkpoint.DEFAULT
