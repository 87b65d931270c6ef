"""The slitless network of matched filters: places stay places, and two readings remain two."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from slitless_toy import BLUE, GRID, RED, recipe, spectra, trained, training_set

from zspec import Chunk, ConfigError, checkpoint, plugins
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.simulate.simulator import simulator
from zspec.slitless import training
from zspec.slitless.filters import CORE, MARGIN, FilterNetwork, FilterSettings, describe, even
from zspec.slitless.recipe import parse
from zspec.testing import EstimatorContract
from zspec.training import find_recipe

STEP = 4e-3
SMALL = {"channels": 8, "coarse": 8, "kernels": 8, "hidden": 8, "summary": 8, "step": STEP}
WAVE = np.concatenate([BLUE, RED])


def small(**more):
    given = {"network": {"kind": "filters", "filters": SMALL}, **more}
    return recipe(point={"rate": 1e-2, "batch": 32, **given.pop("point", {})}, **given)


def network(seed=1):
    torch.manual_seed(seed)
    return FilterNetwork(torch.from_numpy(WAVE), FilterSettings(**SMALL), (0.0, 0.6)).eval()


@pytest.fixture(scope="module")
def estimator():
    said = small(point={"epochs": 5}, calibration={"method": "isotonic"})
    return SlitlessBNN(said, GRID, trained(said, n=512), {"surveys": ["toy"]})


class TestContract(EstimatorContract):
    def make(self):
        said = small()
        return SlitlessBNN(said, GRID, trained(said, n=64))

    def spectra(self):
        return spectra(6, 9)[0]


def test_the_even_grid_keeps_constants_and_places():
    made = even(WAVE, STEP)
    x = math.log(4000) + STEP * np.arange(made.shape[1])
    np.testing.assert_allclose(np.ones(len(WAVE)) @ made, (x <= math.log(RED[-1])).astype(float))
    # linear between pixels: ln λ itself comes back, in the overlap of the bands too
    inside = x <= math.log(RED[-1])
    np.testing.assert_allclose((np.log(WAVE) @ made)[inside], x[inside], rtol=1e-12)


def test_no_light_is_made_up_between_bands():
    wave = np.concatenate([np.arange(4000.0, 5000, 20), [3000.0, 3020.0]])
    made = even(wave, STEP)
    x = np.exp(math.log(3000) + STEP * np.arange(made.shape[1]))
    gap = (x > 3020) & (x < 4000)
    assert gap.sum() > 20
    assert not made[:, gap].any()


def peaks(*where, first=-MARGIN, bins=200):
    """Logits of Gaussian peaks (redshift, mass, width in bins)."""
    index = np.arange(bins) + first
    p = np.full(bins, 1e-12)
    for z, mass, width in where:
        shape = np.exp(-0.5 * ((index - math.log1p(z) / STEP) / width) ** 2)
        p += mass * shape / shape.sum()
    return torch.from_numpy(np.log(p))[None]


@pytest.mark.parametrize("z", [0.0, 0.1234, 0.31415])
def test_a_density_is_described_to_a_part_of_a_bin(z):
    z_found, ln_width, entropy, *beyond = describe(peaks((z, 1, 1.2)), -MARGIN, STEP)[0].tolist()
    assert z_found == pytest.approx(z, abs=0.1 * STEP if z else STEP)
    if z:  # at the end of the range half of the peak is missing
        assert math.exp(ln_width) == pytest.approx(1.237 * STEP * (1 + z), rel=0.02)
        assert entropy == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 1.2**2), rel=0.01)
    assert list(beyond) == sorted(beyond, reverse=True)


def test_two_readings_give_one_of_them_and_the_width_says_so():
    said = describe(peaks((0.1, 0.6, 1), (0.5, 0.4, 1)), -MARGIN, STEP)[0]
    assert float(said[0]) == pytest.approx(0.1, abs=STEP)
    apart = math.log(1.5 / 1.1)
    assert float(said[1].exp()) == pytest.approx(math.sqrt(0.4) * apart * 1.1, rel=0.02)
    assert float(said[3 + 5].exp()) == pytest.approx(0.4, rel=0.02)  # beyond 32 bins


def test_the_loss_is_cross_entropy_shared_by_two_bins():
    made, x = network(), training_set(4, 3).observed()
    place = torch.tensor([3.0, 10.25, 20.5, 60.75])
    z = torch.expm1((place + made.first) * made.step)
    with torch.no_grad():
        log_p = made.logits(x)[0].log_softmax(1)
        expected = 0.0
        for row, where in enumerate(place.tolist()):
            low, share = int(where), where % 1
            expected -= (1 - share) * float(log_p[row, low]) + share * float(log_p[row, low + 1])
        assert float(made.loss(x, z)) == pytest.approx(expected / 4, rel=1e-4)


def test_all_redshifts_of_the_range_have_a_bin():
    made = network()
    x = training_set(2, 3).observed()
    for z in (0.0, 0.6):
        with torch.no_grad():
            assert math.isfinite(float(made.loss(x, torch.full((2,), z))))
    ends = np.expm1((made.first + np.array([0, made.bins - 1])) * made.step)
    assert ends[0] < 0 < 0.6 < ends[1]


def test_what_lies_in_a_bad_pixel_cannot_matter_and_nothing_is_finite():
    made, part = network(), training_set(3, 3)
    part.error[0] = part.flux[0] = 0
    part.error[1, 20:40] = part.flux[1, 20:40] = 0
    x = part.observed()
    other = x.clone()
    other[1, 0, 20:40] = 7
    with torch.no_grad():
        torch.testing.assert_close(made.features(other), made.features(x), rtol=0, atol=0)
        assert bool(torch.isfinite(made.features(x)).all())


def test_it_learns_places_from_few_spectra_and_says_how_well(estimator):
    """A bin is 0.004 wide; the toy's lines allow a tenth of it."""
    made, _ = spectra(400, 3)
    said = estimator.predict(Chunk(made, GRID))
    d = (said.z[:, 0] - made.truth.z) / (1 + made.truth.z)
    assert 1.48 * np.median(np.abs(d - np.median(d))) < 0.002
    inside = np.abs(said.z[:, 0] - made.truth.z) < said.sigma[:, 0]
    # calibrated on 128 spectra: sqrt(0.68 * 0.32 / 128) is 0.04
    assert np.mean(inside) == pytest.approx(0.68, abs=0.12)


def test_a_head_stays_within_its_peak_and_counts_sigma_in_widths(estimator):
    point, units = estimator.model.members[0].point, estimator.model.units
    features = point.features(training_set(8, 5).observed())
    far = torch.tensor([50.0, 0.0]).expand(8, 2)
    mean, sigma = point.answer(far, features, units)
    reach = CORE * STEP * (1 + features[:, 0])
    torch.testing.assert_close(mean, features[:, 0] + reach)
    wider = features.clone()
    wider[:, 1] += math.log(3)
    torch.testing.assert_close(point.answer(far, wider, units)[1], 3 * sigma)


def test_two_readings_are_never_averaged(estimator):
    """A spectrum whose density has two peaks gets one of them, whatever the head has learned."""
    point, units = estimator.model.members[0].point, estimator.model.units
    said = describe(peaks((0.1, 0.55, 1), (0.5, 0.45, 1)), -MARGIN, STEP).float()
    features = torch.cat([said, torch.zeros(1, SMALL["summary"])], 1)
    raw = estimator.weights[0].run(estimator.model.members[0].head.normal(features))
    mean, sigma = point.answer(raw, features, units)
    assert float((mean - 0.1).abs().max()) < (CORE + 1) * STEP * 1.1
    assert mean.shape == sigma.shape == (20, 1)


def test_saved_and_loaded_it_says_the_same(estimator, tmp_path):
    estimator.save(tmp_path / "a.safetensors")
    tensors, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert not any("to_ln" in name or "place" in name for name in tensors)
    loaded = SlitlessBNN.load(tmp_path / "a.safetensors")
    chunk = Chunk(spectra(8, 2)[0], GRID)
    found, again = estimator.predict(chunk), loaded.predict(chunk)
    np.testing.assert_array_equal(found.z, again.z)
    np.testing.assert_array_equal(found.sigma, again.sigma)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path):
    said, kept = small(), tmp_path / "state.safetensors"
    whole, stopped = trained(said, n=64), set()

    def stop(fit):
        if fit.name not in stopped:
            stopped.add(fit.name)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trained(said, n=64, kept=kept, told=stop)
    resumed = trained(said, n=64, kept=kept, told=stop)
    assert resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_the_networks_of_another_kind_are_refused(estimator):
    train, valid = training_set(32, 1), training_set(32, 2)
    with pytest.raises(ConfigError, match="another shape"):
        training.fit(recipe(), GRID, train, valid, "cpu", start=estimator.model)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "pyramid"}, "expected residual or filters"),
        ({"filters": {"step": 0.0}}, "step must lie"),
        ({"filters": {"kernels": 0}}, "at least 1"),
        ({"filters": {"kernel": 4}}, "did you mean 'network.filters.kernels'"),
    ],
)
def test_a_wrong_network_is_one_line(network, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse({"estimator": "slitless-bnn", "data": {"survey": "x"}, "network": network})
    assert "\n" not in str(caught.value)


def test_only_the_small_recipe_leaves_the_papers_network():
    names = ("slitless-bnn", "slitless-bnn-small")
    kinds = [parse(find_recipe(name)).network.kind for name in names]
    assert kinds == ["residual", "filters"]


def test_the_weights_that_ship_are_worth_it_and_are_no_default():
    """Measured on far more: benchmarks/results/slitless_bnn.md."""
    model = checkpoint.load_estimator("slitless-bnn")
    observed = simulator(plugins.survey("csst"), seed=3, split="test").block(0)
    faint = (observed.truth["SNR"] < 1) | (observed.truth["ARTEFACT"] != 0)
    z = observed.spectra.truth.z[~faint]
    said = model.predict(Chunk(observed.spectra, model.grid))
    d = (said.z[~faint, 0] - z) / (1 + z)
    assert len(z) > 20
    assert 1.48 * np.median(np.abs(d - np.median(d))) < 0.006
    assert 0.5 < np.mean(np.abs(d) * (1 + z) < said.sigma[~faint, 0]) < 0.85
    assert checkpoint.default("csst") != "slitless-bnn"
