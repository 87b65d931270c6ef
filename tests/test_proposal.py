"""The proposal: filters, bins, inputs, targets, training that resumes, and what is stored."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from zspec import ConfigError, SpectrumBatch, WaveGrid, checkpoint
from zspec.proposal import provenance, samples, training
from zspec.proposal import recipe as recipes
from zspec.proposal.augment import AugmentSettings, augment
from zspec.proposal.inputs import CHANNELS, channels
from zspec.proposal.model import Bins, ProposalModel
from zspec.proposal.network import Filters, NetworkSettings
from zspec.proposal.samples import Samples
from zspec.proposal.targets import BLANK, loss, shares
from zspec.proposal.validate import validate
from zspec.simulate import stream
from zspec.simulate.seeds import generator
from zspec.simulate.sources.learn import learn_quasars
from zspec.testing import shared
from zspec.training import find_recipe

GRID = WaveGrid.log(4000, 8000, 1e-3)
SMALL = NetworkSettings(
    channels=8, coarse=8, blocks=1, coarse_blocks=1, lines=4, filters=8, hidden=12, summary=6
)
RECIPE = {
    "grid": {"first": 4000, "last": 8000, "step": 1e-3},
    "network": dataclasses.asdict(SMALL),
    "data": {"survey": [{"name": "toy"}]},
    "augment": {"factor": 2.0, "cut": 0.0},
    "train": {"steps": 6, "batch": 16, "every": 3, "rate": 5e-3, "precision": "float32"},
}
LINES = (3000.0, 3700.0, 4700.0, 5000.0)
"""Å; of toy galaxies."""


def toy(n, seed, noise=0.1):
    """Galaxies with four lines at redshifts from 0.1 to 0.6, and a blank fibre in ten."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.1, 0.6, n)
    blank = np.arange(n) % 10 == 9
    rest = np.log(GRID.wave / (1 + z[:, None]))
    lines = sum(np.exp(-0.5 * ((rest - np.log(line)) / 0.003) ** 2) for line in LINES)
    flux = np.where(blank[:, None], 0.0, 1.0 + lines) + noise * rng.standard_normal(rest.shape)
    return Samples(
        flux=torch.from_numpy(flux).half(),
        error=torch.full(flux.shape, noise).half(),
        label=torch.from_numpy(np.where(blank, BLANK, 0)),
        ln_z=torch.from_numpy(np.where(blank, np.nan, np.log1p(z))),
        survey=torch.zeros(n, dtype=torch.int64),
        snr=torch.full((n,), 1 / noise),
    )


def made(**train):
    return recipes.parse({**RECIPE, "train": {**RECIPE["train"], **train}})


def untrained(seed=3):
    torch.manual_seed(seed)
    return ProposalModel(GRID, SMALL)


def batch_of(flux, error, grid=GRID):
    n = len(flux)
    ones = np.ones(n, np.float32)
    return SpectrumBatch(flux, error, error > 0, grid, np.arange(n, dtype=np.int64), ones)


def noisy(n, seed=0):
    rng = np.random.default_rng(seed)
    flux = rng.normal(2, 1, (n, len(GRID))).astype(np.float32)
    error = rng.uniform(0.5, 1.5, flux.shape).astype(np.float32)
    bad = rng.uniform(size=flux.shape) < 0.1
    return np.where(bad, 0, flux), np.where(bad, 0, error).astype(np.float32)


def test_filters_are_the_correlation_at_every_shift():
    torch.manual_seed(0)
    filters = Filters(lines=3, filters=4, features=25, first=-6, bins=40)
    x = torch.randn(2, 3, 25)
    found = filters(x)
    assert found.shape == (2, 4, 40)
    for shift in range(-6, 34):
        at = (torch.arange(25) - shift) % filters.size
        expected = torch.einsum("nci,hci->nh", x, filters.kernel[:, :, at])
        torch.testing.assert_close(found[:, :, shift + 6], expected, rtol=1e-4, atol=1e-5)


def test_filters_move_with_their_input():
    torch.manual_seed(0)
    filters = Filters(lines=2, filters=3, features=50, first=-2, bins=30)
    x = torch.zeros(1, 2, 50)
    x[..., 10:20] = torch.randn(2, 10)
    moved = torch.roll(x, 7, -1)
    torch.testing.assert_close(filters(moved)[..., 7:], filters(x)[..., :-7], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_filters_that_learn_or_are_loaded_anew_forget_what_they_kept():
    torch.manual_seed(0)
    first, second = (Filters(lines=2, filters=3, features=50, first=-2, bins=30) for _ in "ab")
    x = torch.randn(1, 2, 50)
    before = first(x)
    assert torch.equal(first(x), before)
    first.kernel += 1
    assert not torch.allclose(first(x), before)
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(x), second(x))


def test_bins_are_even_and_hold_their_classes():
    bins = Bins(GRID)
    assert np.allclose(np.diff(bins.edges), bins.width)
    assert bins.width == pytest.approx(2e-3 * math.log(10))
    middle = 0.5 * (bins.edges[1:] + bins.edges[:-1])
    assert abs(middle[-bins.first]) < 1e-12  # redshift 0 is the middle of a bin
    for inside, z in zip(bins.inside, (2.0, 5.5, 0.00667), strict=True):
        assert abs(middle[inside].max() - math.log1p(z)) <= bins.width
    assert not bins.inside[2, middle > 0.01].any()


def test_bins_need_a_log_grid():
    with pytest.raises(ConfigError, match="log grid"):
        Bins(WaveGrid.linear(4000, 1, 100))


def test_channels_know_no_unit():
    flux, error = (torch.from_numpy(x) for x in noisy(5))
    for factor in (1e-6, 1e6):
        torch.testing.assert_close(
            channels(flux * factor, error * factor), channels(flux, error), rtol=1e-3, atol=1e-3
        )


def test_bad_pixels_cannot_matter():
    flux, error = (torch.from_numpy(x) for x in noisy(5))
    wild = torch.where(error > 0, flux, 1e3)
    assert torch.equal(channels(wild, error), channels(flux, error))
    assert not channels(flux, torch.zeros_like(error)).any()
    bad = (error == 0)[:, None].expand(-1, len(CHANNELS), -1)
    assert not channels(flux, error)[bad].any()


def test_a_density_over_class_and_redshift():
    model = untrained()
    found = model.propose(batch_of(*noisy(7)))
    total = np.exp(found.log_q.astype(float)).sum((1, 2)) * model.bins.width
    assert np.allclose(total, 1, atol=1e-4)
    assert found.log_q.shape == (7, 3, len(model.edges) - 1)
    assert np.array_equal(np.isneginf(found.log_q[0]), ~model.bins.inside)
    assert ((found.blank >= 0) & (found.blank <= 1)).all()


def test_order_does_not_matter_and_nothing_is_a_batch():
    model = untrained()
    flux, error = noisy(5)
    flux[2], error[2] = 0, 0  # a row without data
    found, turned = (model.propose(batch_of(flux[::s], error[::s])) for s in (1, -1))
    assert np.isfinite(found.log_q[:, model.bins.inside]).all()
    np.testing.assert_allclose(found.features, turned.features[::-1], atol=1e-5)
    np.testing.assert_allclose(found.log_q, turned.log_q[::-1], atol=1e-4)
    empty = model.propose(batch_of(flux[:0], error[:0]))
    assert empty.log_q.shape == (0, *model.bins.inside.shape)
    assert empty.blank.shape == (0,)


def test_another_grid_is_refused():
    other = WaveGrid.log(4000, 7000, 1e-3)
    ones = np.ones((1, len(other)), np.float32)
    with pytest.raises(ConfigError, match="own grid"):
        untrained().propose(batch_of(ones, ones, other))


def test_stored_and_restored():
    model = untrained()
    model.learn_distance(torch.randn(60, 6), torch.arange(60) % 3)
    other = ProposalModel.restore(model.header(), model.tensors())
    data = batch_of(*noisy(4))
    assert other.grid == model.grid
    np.testing.assert_allclose(other.propose(data).log_q, model.propose(data).log_q, atol=0.02)
    with pytest.raises(ConfigError, match="centres"):
        ProposalModel.restore(
            model.header(), {k: v for k, v in model.tensors().items() if "." in k}
        )


def test_distance_is_mahalanobis_to_the_nearest_class():
    model = untrained()
    rng = torch.Generator().manual_seed(1)
    apart = torch.tensor([0.0, 50.0, 100.0])
    label = torch.arange(3000) % 3
    features = torch.randn(3000, 6, generator=rng) * 3 + apart[label][:, None]
    assert np.isinf(model.distance(features.numpy()[:2])).all()  # nothing is learned yet
    model.learn_distance(features, label)
    assert (model.distance(features.numpy()) ** 2).mean() == pytest.approx(6, rel=0.05)
    between = model.distance(np.full((1, 6), 25, np.float32))
    assert between[0] == pytest.approx(25 * math.sqrt(6) / 3, rel=0.05)


def test_distance_is_learned_on_the_cpu():
    """Wherever the model is: a GPU has no part in it, and may have no float64."""
    torch.manual_seed(2)
    model, features, label = untrained(), torch.randn(60, 6), torch.arange(60) % 3
    with torch.device("meta"):  # where what names no device would be made
        model.learn_distance(features, label)
    assert model.whitening.isfinite().all()
    assert model.distance(features.numpy()).max() < 10


def test_targets_are_blurred_truths():
    bins = Bins(GRID)
    ln_z = torch.tensor([0.3, 0.3001, 9.0, math.nan, 0.0])
    label = torch.tensor([0, 1, 1, BLANK, 2])
    target = shares(label, ln_z, bins)
    middle = torch.from_numpy(0.5 * (bins.edges[1:] + bins.edges[:-1])).float()
    assert target.sum(1).tolist() == pytest.approx([1, 1, 1, 0, 1])
    assert (target @ middle)[:2].tolist() == pytest.approx([0.3, 0.3001], abs=bins.width / 2)
    assert float(target[2] @ middle) == pytest.approx(math.log(6.5), abs=2 * bins.width)
    for row, kind in zip(target, label.tolist(), strict=True):
        assert not row[~torch.from_numpy(bins.inside)[kind]].any()


def test_loss_is_the_cross_entropy():
    bins = Bins(GRID)
    torch.manual_seed(0)
    logits = torch.randn(3, *bins.inside.shape).masked_fill(
        ~torch.from_numpy(bins.inside), -torch.inf
    )
    nothing = torch.randn(3)
    label = torch.tensor([1, 0, BLANK])
    target = torch.zeros(3, bins.count)
    target[0, 40], target[1, 20], target[1, 21] = 1, 0.25, 0.75
    every = torch.cat([logits.flatten(1), nothing[:, None]], 1).log_softmax(1)
    said = every[:, :-1].view_as(logits)
    expected = [said[0, 1, 40], 0.25 * said[1, 0, 20] + 0.75 * said[1, 0, 21], every[2, -1]]
    assert loss(logits, nothing, label, target).tolist() == pytest.approx(
        [-float(e) for e in expected]
    )


def test_augmentation_keeps_the_chi2():
    rng = generator([7], "cpu")
    error = torch.full((400, 300), 0.5)
    flux = 2 + error * torch.randn(error.shape, generator=rng)
    settings = AugmentSettings(
        noise=1.0, cut=0.5, gap=1.0, spikes=0.0, error=0.0, slope=0.0, offset=0.0
    )
    new, sigma = augment(flux, error, settings, rng)
    good = sigma > 0
    assert float((((new - 2) / sigma)[good] ** 2).mean()) == pytest.approx(1, abs=0.02)
    assert float(sigma[good].max()) > 3.5  # SNR falls by up to 8
    assert 0.5 < float(good.float().mean()) < 0.95
    assert not new[~good].any()


def test_augmentation_can_be_none():
    none = AugmentSettings(noise=0, cut=0, gap=0, spikes=0, error=0, slope=0, offset=0)
    flux, error = (torch.from_numpy(x) for x in noisy(5))
    new, sigma = augment(flux, error, none, generator([7], "cpu"))
    assert torch.equal(new, flux)
    assert torch.equal(sigma, error)


def test_augmentation_takes_off_too_much_sky():
    wrong = AugmentSettings(noise=0, cut=0, gap=0, spikes=0, error=0, slope=0, offset=0.5)
    error = torch.full((500, 40), 2.0)
    error[:, 7] = 0
    new, _ = augment(torch.zeros_like(error), error, wrong, generator([7], "cpu"))
    heights = torch.stack([new.amin(1), new.amax(1)]).abs().amax(0)
    assert heights.square().mean().sqrt() == pytest.approx(0.5 * 2, rel=0.1)
    steps = new[:, torch.arange(40) != 7].diff(dim=1).ne(0).sum(1)
    assert steps.max() == 1
    assert not new[:, 7].any()


def test_it_learns_toy_galaxies(tmp_path):
    recipe = made(steps=80, every=40, batch=32)
    model = training.fit(recipe, toy(400, 1), toy(50, 2), tmp_path)
    found = validate(model, toy(100, 3), ["toy"])
    assert found.near > 0.9
    assert found.right == 1
    assert found.blank > 0.9
    first, last = (tmp_path / "history.csv").read_text().splitlines()[1:]
    assert float(last.split(",")[4]) < float(first.split(",")[4])


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    known, unseen = toy(40, 1), toy(20, 2)

    def stop(progress):
        raise KeyboardInterrupt

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = training.fit(made(), known, unseen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        training.fit(made(), known, unseen, tmp_path / "parts", stop)
    resumed = training.fit(made(), known, unseen, tmp_path / "parts")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    with pytest.raises(ConfigError, match="another training"):
        training.fit(made(rate=1e-3), known, unseen, tmp_path / "parts")


def test_a_training_may_be_shortened(tmp_path):
    known, unseen = toy(40, 1), toy(20, 2)
    training.fit(made(steps=3), known, unseen, tmp_path)
    told = []
    training.fit(made(steps=4), known, unseen, tmp_path, told.append)
    assert [line.step for line in told[0].history] == [3, 4]


def test_every_spectrum_is_seen_once_a_pass():
    recipe = made(batch=10)
    for passed in range(2):
        rows = torch.cat([training.rows_of(recipe, 40, 4 * passed + step) for step in range(4)])
        assert sorted(rows.tolist()) == list(range(40))


def test_the_shipped_recipe():
    found = recipes.parse(find_recipe("zspec")["proposal"])
    assert {entry.name for entry in found.data.survey} == {"sdss", "desi", "4most", "csst"}
    assert "manifest" not in find_recipe(found.data.sources)  # no real spectrum
    small = find_recipe("zspec", ["tenth", "no-artefacts"])["proposal"]
    assert recipes.parse(small).train.steps == found.train.steps // 10
    assert not recipes.parse(small).data.artefacts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"step": 5}}, "train.steps"),
        ({"data": {}}, "at least one"),
        ({"data": {"survey": [{"name": "sdss", "train": 0}]}}, "at least 1"),
        ({"network": {"filters": 0}}, "at least 1"),
        ({"augment": {"cut": 2.0}}, r"\[0, 1\]"),
        ({"grid": {"first": 9000.0, "last": 4000.0}}, "increase"),
    ],
)
def test_a_wrong_recipe_is_one_line(changes, says):
    with pytest.raises(ConfigError, match=says) as caught:
        recipes.parse({**RECIPE, **changes})
    assert "\n" not in str(caught.value)


def test_mock_spectra_of_two_surveys(tmp_path):
    table = {
        "data": {
            "sources": "shipped",
            "survey": [
                {"name": "csst", "train": 70, "valid": 8},
                {"name": "sdss", "train": 64, "valid": 8, "settings": {"artefacts.blank": 0.5}},
            ],
        }
    }
    recipe = recipes.parse(table)
    known, unseen = samples.prepare(recipe, tmp_path, tmp_path)
    assert known.survey.bincount().tolist() == [70, 64]
    assert len(unseen) == 16
    blank = known.label == BLANK
    assert 15 < int(blank.sum()) < 50
    assert torch.equal(known.ln_z.isnan(), blank)
    assert not known.flux[known.error == 0].any()
    assert known.error.isfinite().all()
    again, _ = samples.prepare(recipe, tmp_path, tmp_path)  # read, not made
    assert torch.equal(again.flux, known.flux)
    stored = checkpoint.metadata(tmp_path / "train.safetensors")["of"]
    other = dataclasses.replace(recipe, seed=2)
    assert samples._identity(other, "train", None) != stored


def test_sources_of_another_recipe_are_not_reused(tmp_path, monkeypatch):
    monkeypatch.setattr("zspec.training.find_recipe", lambda name: {"learn": "sources", "of": name})
    monkeypatch.setattr("zspec.training.train", save_sources)
    one = recipes.parse({"data": {"sources": "one", "survey": [{"name": "sdss"}]}})
    other = dataclasses.replace(one, data=dataclasses.replace(one.data, sources="other"))
    made = []
    for recipe in (one, one, other):
        path = samples._sources(recipe, tmp_path, tmp_path)
        made.append(float(checkpoint.load(path)[0]["number"]))
    assert made[0] == made[1] != made[2]


def save_sources(recipe, data, path, overwrite=False):
    assert overwrite or not path.exists()
    checkpoint.save(path, {"number": torch.rand(1)}, {"holds": "sources"})


def test_what_a_file_was_made_of(tmp_path):
    """Recipe, every file it reads, and what else decides it."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "list.csv").write_text("a")
    (tmp_path / "own" / "spectra.fits").write_text("b")
    recipe = {"manifest": "own/list.csv", "seed": 1}
    was = provenance.identity(recipe, tmp_path, 3)
    assert was == provenance.identity(dict(recipe), tmp_path, 3)
    changed = [
        provenance.identity({**recipe, "seed": 2}, tmp_path, 3),
        provenance.identity(recipe, tmp_path, 4),
    ]
    (tmp_path / "own" / "spectra.fits").write_text("c")
    assert len({was, *changed, provenance.identity(recipe, tmp_path, 3)}) == 4


def test_sources_of_no_redshift_are_drawn_at_all(tmp_path):
    tensors, meta = checkpoint.load(checkpoint.shipped()["sources"])
    everywhere = torch.full_like(tensors["quasar.facts.z"], torch.nan)
    stored = {key: value for key, value in meta.items() if key not in ("format", "zspec")}
    path = tmp_path / "sources.safetensors"
    checkpoint.save(path, {**tensors, "quasar.facts.z": everywhere}, stored)
    found = next(stream("desi", seed=1, batch=64, sources=path))
    own = next(stream("desi", seed=1, batch=64))
    quasar = own.truth.spectype == "QSO"
    assert quasar.sum() > 5
    same = [np.array_equal(a, b) for a, b in zip(found.arms[0].flux, own.arms[0].flux, strict=True)]
    assert not np.array(same)[quasar].all()  # other sources than those near their redshift
    assert np.isfinite(found.arms[0].flux).all()
    assert np.ptp(found.truth.z[quasar]) > 1


def test_published_quasars_are_a_bank_of_their_own():
    entry = {**find_recipe("sources-published")["quasar"], "iterations": 2}
    family = learn_quasars(entry, shared("templates"), [])
    assert len(family.bank) > 40
    assert np.isnan(family.facts["z"]).all()
    assert family.groups == ("published",)
