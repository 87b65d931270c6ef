"""Simulated sources: redshifts, magnitudes, labels, forest, splits and determinism."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import extinction
import numpy as np
import pytest
import torch

from zspec import ConfigError, plugins, training
from zspec.checkpoint import models, shipped
from zspec.likelihood.templates import Template
from zspec.simulate.sources import draw, forest, read_population
from zspec.simulate.sources.bridging import bridged
from zspec.simulate.sources.broadlines import measure
from zspec.simulate.sources.density import best_bandwidth, kernels
from zspec.simulate.sources.drawing import COLUMNS, NUMBERS
from zspec.simulate.sources.families import Family, load, part_of
from zspec.simulate.sources.learn import dn4000
from zspec.simulate.sources.lines import LINES, add_lines, rule
from zspec.simulate.sources.plan import snr_at
from zspec.simulate.sources.population import Depth, Population
from zspec.simulate.sources.quasars import trough
from zspec.simulate.sources.render import fine, redden, rungs, shift
from zspec.simulate.sources.starlearn import number_of

LIGHT = 299792.458
GRID = (math.log(3600.0), 1e-4, 10300)
SURVEYS = ("sdss", "desi", "4most")


def population(survey: str, flat: bool = False) -> Population:
    folder = plugins.surveys().found[survey][0].__module__.split(".")[0]
    path = Path(__file__).parents[1] / "plugins" / folder / "simulation" / "population.toml"
    return read_population(path, flat)


def only(survey: str, label: str, **changes: object) -> Population:
    whole = population(survey)
    classes = tuple(dataclasses.replace(c, **changes) for c in whole.classes if c.label == label)
    return dataclasses.replace(whole, classes=classes[:1])


@pytest.fixture(scope="module")
def mocks():
    return draw(population("sdss", flat=True), 320, [3], GRID)


@pytest.mark.parametrize("survey", SURVEYS)
def test_every_label_is_drawn_with_all_columns(survey):
    targets = population(survey, flat=True)
    made = draw(targets, 256, [1], GRID)
    assert set(made.truth["LABEL"]) == set(targets.labels)
    assert set(made.truth) == {*COLUMNS, *NUMBERS}
    assert {len(column) for column in made.truth.values()} == {256}
    assert made.flux.shape == (256, GRID[2])
    assert made.flux.dtype == torch.float32
    assert bool(torch.isfinite(made.flux).all())
    assert float(made.flux.min()) >= 0
    for one in targets.classes:
        mine = made.truth["LABEL"] == one.label
        assert set(made.truth["SPECTYPE"][mine]) == {one.spectype}


def test_class_systems_are_those_of_the_paper():
    sizes = {survey: len(population(survey).labels) for survey in SURVEYS}
    assert sizes == {"sdss": 13, "desi": 3, "4most": 10}


def test_magnitudes_are_exact(mocks):
    low, high = population("sdss").band
    wave = mocks.wave.numpy()
    at = (wave >= low) & (wave <= high)
    flux = mocks.flux.numpy().astype(float)[:, at] * 1e-17
    reference = 3631e-23 * LIGHT * 1e13 / wave[at] ** 2
    photons = np.trapezoid(flux * wave[at], wave[at]) / np.trapezoid(reference * wave[at], wave[at])
    assert -2.5 * np.log10(photons) == pytest.approx(mocks.truth["MAG"], abs=2e-3)


def test_emission_lines_lie_where_z_says(mocks):
    chosen = np.nonzero(mocks.truth["SUBTYPE"] == "STARBURST")[0]
    assert len(chosen) > 10
    for i in chosen:
        place = (math.log(5008.24 * (1 + mocks.truth["Z"][i])) - GRID[0]) / GRID[1]
        window = mocks.flux[i, round(place) - 25 : round(place) + 26]
        assert abs(int(window.argmax()) - 25) <= 1


def test_a_star_moves_as_its_velocity_says():
    spectra = []
    for speed in (0.0, 300.0):
        knots = ((speed - 0.01, 1.0), (speed + 0.01, 1.0))
        spectra.append(draw(only("sdss", "STAR K3", velocity=knots, ebv=0.0), 8, [5], GRID))
    still, moved = (s.flux - s.flux.mean(1, keepdim=True) for s in spectra)
    lag = 300.0 / LIGHT / GRID[1]  # 10.007 pixels
    size = GRID[2] - 60
    scores = [float((still[:, :size] * moved[:, k : k + size]).sum()) for k in range(8, 13)]
    best = int(np.argmax(scores))
    a, b, c = scores[best - 1 : best + 2]
    peak = 8 + best + 0.5 * (a - c) / (a - 2 * b + c)
    assert peak == pytest.approx(lag, abs=0.05)
    assert spectra[1].truth["Z"] == pytest.approx(300.0 / LIGHT, rel=1e-4)


def test_a_quasar_is_stretched_by_its_redshift():
    spectra = []
    quasars = load()["quasar"]
    whole = measure(quasars.bank, quasars)[1].all(1)  # whatever the survey sees of them
    bank = torch.where(whole[:, None], quasars.bank, quasars.bank[whole][:1])
    far = {**quasars.facts, "z": np.full(len(bank), 9, np.float32)}  # from both: the same are drawn
    still = torch.zeros_like(quasars.kernel)
    plain = dataclasses.replace(quasars, bank=bank, facts=far, kernel=still)
    families = {**load(), "quasar": plain}
    for at in (0.8, 1.8 * math.exp(2000 * GRID[1]) - 1):
        one = only("desi", "QSO", z=((at, 1.0), (at + 1e-9, 1.0)), bal=0.0, ebv=0.0)
        spectra.append(draw(one, 8, [5], GRID, families=families).flux)
    ratio = spectra[1][:, 2000:] / spectra[0][:, :-2000]
    assert float((ratio / ratio.median(1, keepdim=True).values - 1).abs().max()) < 1e-3


def test_labels_obey_the_rule(mocks):
    truth = mocks.truth
    hbeta, oiii, halpha, nii = (truth[f"EW_{n}"] for n in ("HBETA", "OIII", "HALPHA", "NII"))
    with np.errstate(invalid="ignore"):
        active = np.log10(oiii / hbeta) > 0.7 - 1.2 * (np.log10(nii / halpha) + 0.4)
    for name, expected in (
        ("GALAXY AGN", active),
        ("GALAXY STARBURST", ~active & (halpha > 50)),
        ("GALAXY STARFORMING", ~active & (halpha <= 50)),
    ):
        mine = truth["LABEL"] == name
        assert mine.sum() > 5
        assert expected[mine].all()
        assert set(truth["SUBTYPE"][mine]) == {name.split()[1]}
    assert set(truth["SUBTYPE"][truth["LABEL"] == "GALAXY nan"]) == {""}
    assert set(truth["SUBTYPE"][truth["LABEL"] == "QSO BROADLINE"]) == {"BROADLINE"}


def test_the_rule_itself():
    ew = torch.tensor([[10.0, 40.0, 30.0, 20.0], [20, 20, 60, 10], [5, 4, 20, 6], [5, 4, 20, 6]])
    error = torch.ones(4, 4)
    error[3] = 5.0
    wide = torch.tensor([False, False, True, False])
    assert rule(ew, error, wide) == ["AGN", "STARBURST", "STARFORMING BROADLINE", ""]
    error[:, 2] = math.inf  # Hα is not seen: nothing can be said
    assert rule(ew, error, wide) == ["", "", "BROADLINE", ""]


def test_an_object_depends_on_its_number_and_the_seed_alone():
    targets = population("sdss")
    few, many, other = (draw(targets, n, s, GRID) for n, s in ((70, [4]), (130, [4]), (70, [5])))
    assert torch.equal(few.flux, many.flux[:70])
    for name, column in few.truth.items():
        np.testing.assert_array_equal(column, many.truth[name][:70])
    assert not torch.equal(few.flux, other.flux)
    assert len(draw(targets, 0, [4], GRID)) == 0


def test_parts_share_no_source():
    targets = population("desi")
    found = {
        part: set(draw(targets, 192, [1], GRID, seds=part).truth["SED"])
        for part in ("train", "valid", "test")
    }
    assert not found["train"] & found["test"]
    assert not found["train"] & found["valid"]
    assert not found["valid"] & found["test"]
    every = [part_of(sed) for sed in load()["star"].seds]
    assert every.count("train") / len(every) == pytest.approx(0.8, abs=0.02)
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        draw(targets, 1, [1], GRID, seds="trian")


def test_flat_is_flat():
    truth = draw(population("4most", flat=True), 960, [2], (GRID[0], 1e-3, 1040)).truth
    counts = np.unique(truth["LABEL"], return_counts=True)[1]
    assert counts.min() > 60
    assert counts.max() < 140
    z = truth["Z"][truth["LABEL"] == "COSMO_AGN"]
    assert np.histogram(z, (0.9, 1.675, 2.45, 3.225, 4.0))[0].min() > 8


def test_forest_has_the_mean_of_its_formula():
    ln_wave = GRID[0] + GRID[1] * torch.arange(GRID[2], dtype=torch.float64)
    rng = np.random.default_rng(0)
    n, z = 400, torch.full((400,), 3.2, dtype=torch.float64)
    white = rng.standard_normal((n, GRID[2] + forest.margin(GRID[1])), dtype=np.float32)
    made = forest.random_transmission(ln_wave, z, torch.from_numpy(white)).mean(0)
    rest = ln_wave.exp() / 4.2
    lya = (rest > 1040) & (rest < 1200)
    absorber = ln_wave.exp()[lya] / 1215.67 - 1
    wanted = torch.exp(-0.00554 * (1 + absorber) ** 3.182)
    assert float((made[lya] / wanted).mean()) == pytest.approx(1, abs=0.02)
    mean = forest.mean_transmission(rest[None], z[:1])[0]
    lyb = (rest > 980) & (rest < 1020)
    assert float((made[lyb] / mean[lyb]).mean()) == pytest.approx(1, abs=0.03)
    assert bool((made[rest > 1216] == 1).all())


def test_forest_varies_as_real_ones_do():
    # k P(k) / pi of the flux contrast is 0.067 at z = 3 and k = 0.009 s/km (Palanque-Delabrouille+
    # 2013); the limits allow for the scatter of 200 lines of sight and for the lognormal shape
    count, step = 2000, 7e-5
    ln_wave = math.log(4480.0) + step * torch.arange(count, dtype=torch.float64)
    white = np.random.default_rng(1).standard_normal((200, count + forest.margin(step)))
    z = torch.full((200,), 3.3, dtype=torch.float64)  # Lyα alone, at z = 2.7 to 3.2
    made = forest.random_transmission(ln_wave, z, torch.from_numpy(white).float())
    contrast = made / made.mean(0) - 1
    power = torch.fft.rfft(contrast).abs().square().mean(0) * (step * LIGHT) / count
    k = 2 * math.pi * torch.fft.rfftfreq(count, d=step * LIGHT)
    near = (k > 0.007) & (k < 0.011)
    assert 0.05 < float((power * k / math.pi)[near].mean()) < 0.085


def test_bal_quasars_come_in_the_share_asked_for():
    one = only("desi", "QSO", bal=0.4)
    found = draw(one, 320, [7], (GRID[0], 1e-3, 1030)).truth["BAL"]
    assert 0.31 < found.mean() < 0.49  # 3 sigma
    wave = torch.linspace(1000, 2000, 2001)
    made = trough(wave, np.random.default_rng(0))
    assert float(made.min()) < 0.8
    assert bool((made[wave > 1900] > 0.999).all())


def test_lines_keep_flux_place_and_width():
    step = 1e-4
    flux = torch.zeros(2, 4000)
    centre = torch.tensor([[8.6 + 0.123456], [8.6 + 0.2]], dtype=torch.float64)
    sigma = torch.tensor([[120.0], [150.0]], dtype=torch.float64)
    area = torch.tensor([[5.0], [2.0]], dtype=torch.float64)
    add_lines(flux, 8.6, step, centre, area, sigma)
    x = 8.6 + step * torch.arange(4000, dtype=torch.float64)
    total = (flux * x.exp() * step).sum(1)
    assert total.tolist() == pytest.approx([5.0, 2.0], rel=1e-3)
    mean = (flux * x).sum(1) / flux.sum(1)
    assert mean.tolist() == pytest.approx(centre[:, 0].tolist(), abs=2e-6)
    spread = ((flux * (x - mean[:, None]) ** 2).sum(1) / flux.sum(1)).sqrt() * LIGHT
    assert spread.tolist() == pytest.approx([120.0, 150.0], rel=2e-3)
    add_lines(flux, 8.6, step, centre + 5, area, sigma)  # beyond the end: nothing is added
    assert (flux * x.exp() * step).sum(1).tolist() == pytest.approx([5.0, 2.0], rel=1e-3)


def toy_family(values: torch.Tensor) -> Family:
    facts = {"group": np.zeros(1, np.float32)}
    one = torch.ones(1, 1)
    return Family("galaxy", 3.5, 1e-4, values[None], one, one[None], facts, ("toy",))


def test_a_line_is_as_broad_as_its_dispersion():
    pixel = math.log(10) * 1e-4 * LIGHT
    x = torch.arange(4000.0)
    family = toy_family(torch.exp(-0.5 * ((x - 2000) * pixel / 150.0) ** 2))
    ln_wave = math.log(10) * 3.6 + 5e-5 * torch.arange(9000, dtype=torch.float64)
    grid = fine(family, 5e-5, True, "cpu")
    for sigma in (70.0, 120.0, 300.0):
        rest = rungs(torch.tensor([sigma])) @ grid.vectors
        line = shift(rest, grid, ln_wave, torch.zeros(1, dtype=torch.float64))[0].double()
        line = line.clamp(min=0)
        mean = (line * ln_wave).sum() / line.sum()
        width = ((line * (ln_wave - mean) ** 2).sum() / line.sum()).sqrt() * LIGHT
        assert float(width) == pytest.approx(math.hypot(150.0, sigma), rel=0.01)
        assert float(mean) == pytest.approx(math.log(10) * (3.5 + 0.2), abs=2e-6)


def test_reddening_is_fitzpatricks():
    wave = torch.exp(torch.linspace(math.log(3600), math.log(10000), 9000, dtype=torch.float64))
    made = redden(torch.ones(1, 9000), wave, torch.tensor([0.2], dtype=torch.float64))[0]
    wanted = 10 ** (-0.4 * extinction.fitzpatrick99(wave.numpy(), 0.62, 3.1))
    assert made.numpy() == pytest.approx(wanted, rel=1e-3)


def test_bridging_takes_lines_away_and_nothing_else():
    index = np.arange(35500, 38500)
    smooth = 1 + ((index - 37000) / 3000) ** 2
    width = 1.2
    lines = sum(
        np.exp(-0.5 * ((index - np.log10(line) / 1e-4) / width) ** 2) for line in LINES.values()
    )
    made = bridged(Template(35500, np.stack([smooth + lines, smooth])))
    inner = slice(60, -60)
    assert made[0, inner] == pytest.approx(smooth[inner], abs=2e-3)
    assert made[1] == pytest.approx(smooth, abs=1e-6)


def test_the_break_of_a_step():
    wave = torch.linspace(3500, 4500, 4001, dtype=torch.float64)
    step = torch.where(wave < 3975, 1.0, 1.6)[None] / wave**2  # flat in f_nu on both sides
    assert dn4000(step, wave)[0] == pytest.approx(1.6, rel=1e-3)


def test_types_as_numbers():
    assert number_of("A0") == 2.0
    assert number_of("F3/F5V (30743)") == 3.3
    assert math.isnan(number_of("CV"))


def test_kernels_follow_the_data():
    rng = torch.Generator().manual_seed(0)
    wide = torch.randn(300, 2, generator=rng, dtype=torch.float64)
    clumps = wide.sign() * 3 + 0.1 * torch.randn(300, 2, generator=rng, dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    scale = torch.cov(clumps.T).diag().sqrt().diag()
    assert best_bandwidth(clumps, scale) < best_bandwidth(wide, eye)
    made = kernels(torch.cat([clumps, clumps[:3]]), np.array([0] * 300 + [1] * 3), 2)
    assert float(made[0].abs().max()) > 0
    assert float(made[1].abs().max()) == 0  # three rows tell no spread


def test_what_ships_is_small_and_can_be_learned_again():
    assert shipped()["sources"].stat().st_size < 8e6
    assert "sources" not in models()  # nothing predicts with them
    recipe = training.find_recipe("sources")
    assert callable(training.learner(recipe["learn"]))
    with pytest.raises(ConfigError, match="did you mean 'sources'"):
        training.learner("sorces")


WHOLE = """
band = [1, 2]
ebv = 0.1
window = [1, 2]
depth = {magnitude = 20, snr = 1, sky = 20}
"""


def test_a_population_that_is_not_there_is_said_to_be_so(tmp_path):
    with pytest.raises(ConfigError, match=r"nosuch: cannot be read \(No such file or directory\)"):
        read_population(tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("band = [1, 2]\nclass = []", r"key 'ebv' is missing"),
        (WHOLE, r"at least one \[\[class\]\]"),
        ("bnd = [1, 2]\n[[class]]\nlabel='A'", "did you mean 'band'"),
        ("[[class]]\nlabel='A'", r"key 'classes\[0\].spectype' is missing"),
        ("[[class]]\nlable='A'", r"did you mean 'classes\[0\].label'"),
        ("[[class]]\nmagnitude=4", r"classes\[0\].magnitude = 4: expected list"),
        ("[[class]]\nmagnitude=[[1, 0], [2]]", r"magnitude\[1\] = \[2\]: expected 2 values"),
        ("[[class]]\nlabel=1", r"label = 1: expected text"),
        ("[[class]]\nspectype='GALAXI'", "'GALAXI': expected GALAXY or QSO or STAR"),
        ("[[class]]\nfamily='galaxies'", "'galaxies': expected galaxy or quasar or star"),
        ("band = ", "is no TOML"),
    ],
)
def test_a_wrong_population_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "population.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_population(path)
    assert "\n" not in str(caught.value)


def test_impossible_draws_are_refused():
    targets = population("sdss")
    with pytest.raises(ConfigError, match="not on the grid"):
        draw(targets, 1, [1], (math.log(3600.0), 1e-4, 1000))
    nothing = only("sdss", "STAR K3", types=(8.0, 8.1))
    with pytest.raises(ConfigError, match="none of the star sources"):
        draw(nothing, 1, [1], GRID)
    blind = dataclasses.replace(only("sdss", "GALAXY AGN"), depth=Depth(20.0, 1e-6, 19.5))
    with pytest.raises(ConfigError, match="the rule gave no 'AGN'"):
        draw(blind, 1, [1], GRID)


def test_quasars_have_lines_where_they_are_seen():
    """Sources are extrapolations far from their own redshift, and some of those have troughs."""
    population = read_population(plugins.survey("sdss").simulation / "population.toml")
    family = load()["quasar"]
    far = measure(family.bank, family)[1]
    assert not far.all()  # there is something to avoid
    only = tuple(c for c in population.classes if c.family == "quasar")
    quasars = dataclasses.replace(population, classes=only, ebv=0.0)
    wave = torch.exp(torch.linspace(math.log(3500), math.log(10500), 6000, dtype=torch.float64))
    made = draw(quasars, 64, [4], wave, seds="test")
    z, plain = torch.from_numpy(made.truth["Z"]), made.truth["BAL"] == 0
    looked = 0
    for low, high in ((1800, 2000), (2680, 2910)):  # C III], Mg II
        for flux, one in zip(made.flux[plain], z[plain], strict=True):
            at = (wave / (1 + one) > low) & (wave / (1 + one) < high)
            if wave[0] < low * (1 + one) and high * (1 + one) < wave[-1]:
                ends = torch.cat([flux[at][:20], flux[at][-20:]]).mean()
                assert flux[at].min() > 0.4 * ends
                looked += 1
    assert looked > 40


@pytest.mark.parametrize("survey", ["sdss", "desi", "4most"])
def test_flat_magnitudes_reach_from_faint_to_bright(survey):
    """The SNR that the depth gives to the ends of each class: 1 to 50, about."""
    population = read_population(plugins.survey(survey).simulation / "population.toml", flat=True)
    for one in population.classes:
        bright, faint = snr_at(
            population.depth, np.array([one.magnitude[0][0], one.magnitude[-1][0]])
        )
        assert faint < 2
        assert bright > (4 if one.share < 0.2 else 35)  # the faint part of a class is faint
