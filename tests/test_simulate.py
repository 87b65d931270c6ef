"""Instruments, noise, artefacts, files and the stream; sources have tests of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zspec import ConfigError, OutputError, open_fits, plugins
from zspec.cli.app import build
from zspec.simulate import response, stream
from zspec.simulate.artefacts import Artefact
from zspec.simulate.files import write_mocks
from zspec.simulate.instrument import KINDS, kind_of, read_instrument
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import BLOCK, MOCK, NUMBER, simulator
from zspec.simulate.supply import pieces

FIBRES = ("sdss", "desi", "4most")
QUIET = {
    "artefacts.blank": "0",
    "artefacts.missing_arm": "0",
    "artefacts.cosmics": "0",
    "artefacts.bad_columns": "0",
    "artefacts.lost": "0",
    "exposure.scatter": "0",
    "sky.scatter": "0",
    "calibration.tilt": "0",
    "calibration.step": "0",
}


def instrument(name, **settings):
    given = QUIET | {key.replace("__", "."): value for key, value in settings.items()}
    path = plugins.survey(name).simulation / "instrument.toml"
    return read_instrument(path, given)


def objects(made, flux, n=1):
    """n objects of one flux, a number or (wave,)."""
    rows = torch.as_tensor(np.broadcast_to(flux, (n, len(made.wave))).astype(np.float32))
    truth = {"SPECTYPE": np.full(n, "GALAXY"), "LABEL": np.full(n, "x"), "Z": np.zeros(n)}
    return Objects(made.wave, rows, truth)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- the line spread


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
def test_no_photon_is_lost_or_made(scale):
    wave = 4000 + np.cumsum(1 + 0.3 * np.sin(np.arange(800) / 40))
    sigma = scale * (1 + (wave - 4000) / 1600)
    fine = response.fine_grid([wave], [sigma])
    matrix = response.spread(wave, np.interp(fine, wave, sigma), fine)
    left, right = response.bounds(wave)
    step = np.log(fine[1] / fine[0])
    inside = (fine > wave[60]) & (fine < wave[-60])
    landed = (matrix.T @ (right - left))[inside]
    assert np.allclose(landed, fine[inside] * 2 * np.sinh(step / 2), rtol=1e-12)


def test_a_flat_spectrum_stays_flat():
    wave = np.arange(4000.0, 6000.0, 0.8)
    sigma = np.full(len(wave), 0.7)
    fine = response.fine_grid([wave], [sigma])
    matrix = response.spread(wave, np.full(len(fine), 0.7), fine)
    assert np.allclose((matrix @ np.ones(len(fine)))[9:-9], 1, atol=2e-5)


@pytest.mark.parametrize("name", FIBRES)
def test_a_line_is_as_wide_as_the_instrument_says(name):
    made = instrument(name, sky__residual="0", sky__shift="0")
    optics, cameras = made.optics("cpu"), made.spec.cameras
    for camera, part in zip(cameras, optics.cameras, strict=True):
        centre = camera.wave[len(camera.wave) // 2 + 3]
        at = int(np.argmin(np.abs(made.wave.numpy() - centre)))
        line = torch.zeros(len(made.wave), 1)
        line[at] = 1
        seen = (optics.spread @ line)[part, 0].double().numpy()
        left, right = response.bounds(camera.wave)
        share = seen * (right - left) / np.sum(seen * (right - left))
        mean = np.sum(share * camera.wave)
        width = np.sqrt(np.sum(share * (camera.wave - mean) ** 2))
        place = float(made.wave[at])
        pixel = (right - left)[np.argmin(np.abs(camera.wave - place))]
        want = np.hypot(np.interp(place, *camera.lsf.T), pixel / np.sqrt(12))
        assert mean == pytest.approx(place, abs=0.01 * pixel)
        assert width == pytest.approx(want, rel=0.01)


# --- noise


@pytest.mark.parametrize("name", FIBRES)
def test_noise_is_what_the_error_says(name):
    made = instrument(name, sky__known="1", sky__shift="0")
    flux = 4.0
    seen = made.observe(objects(made, flux, 64), [3]).spectra
    for arm in seen.arms:
        inner = slice(len(arm.wave) // 8, -len(arm.wave) // 8)
        air = 1.0
        if made.spec.transmission is not None:
            air = np.interp(arm.wave, *made.spec.transmission.T)
            inner = slice(2000, 11000)  # where the air takes next to nothing
        pull = ((arm.flux - flux * air) * np.sqrt(arm.ivar))[:, inner][arm.usable[:, inner]]
        assert abs(np.mean(pull)) < 0.1  # errors from counts: fewer counts weigh more
        assert np.std(pull) == pytest.approx(1, abs=0.05)


def test_more_light_is_more_signal_and_more_noise():
    made = instrument("desi")
    faint, bright = (made.observe(objects(made, f, 8), [5]).spectra for f in (1.0, 100.0))
    for a, b in zip(faint.arms, bright.arms, strict=True):
        snr_a, snr_b = (np.median(f * np.sqrt(x.ivar)) for f, x in ((1, a), (100, b)))
        assert 10 < snr_b / snr_a < 100  # the root of the light at the least, the light at most
        assert np.median(a.ivar) > np.median(b.ivar)


def test_longer_is_deeper_by_the_root_of_time():
    short, long = (instrument("sdss", exposure__count=c) for c in ("4.0", "16.0"))
    errors = [
        np.median(made.observe(objects(made, 0.0, 8), [5]).spectra.arms[0].ivar[:, 1500:2200])
        for made in (short, long)
    ]
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.03)


def test_the_error_does_not_tell_the_source():
    """A line of many photons widens the error only as its noisy counts do."""
    made = instrument("desi")
    arm = 1
    wave = made.spec.cameras[arm].wave
    flux = 1 + 5.0 * np.exp(-0.5 * ((made.wave.numpy() - 6200) / 2.0) ** 2)
    clean = made.optics("cpu").spread @ objects(made, flux).flux.T
    seen = made.observe(objects(made, flux, 128), [8]).spectra.arms[arm]
    near = np.abs(wave - 6200) < 2
    scatter = np.std(1 / seen.ivar[:, near], axis=0) / np.mean(1 / seen.ivar[:, near], axis=0)
    assert np.all(scatter > 0.005)  # it changes from draw to draw: it was measured
    assert clean[made.optics("cpu").cameras[arm]][near].max() > 4


def test_residuals_stand_where_the_sky_lines_are():
    loud, quiet = (
        instrument("desi", sky__residual=r, sky__shift="0", sky__known="0") for r in ("0.2", "0")
    )
    optics = loud.optics("cpu")
    spread = [
        np.std(made.observe(objects(made, 0.0, 64), [2]).spectra.arms[2].flux, axis=0)
        for made in (loud, quiet)
    ]
    lines = optics.lines[optics.cameras[2], 0].numpy()
    strong = lines > np.quantile(lines, 0.99)
    weak = lines < np.quantile(lines, 0.2)
    assert np.median(spread[0][strong] / spread[1][strong]) > 3
    assert np.median(spread[0][weak] / spread[1][weak]) == pytest.approx(1, abs=0.1)


def test_bright_sky_is_masked_where_asked():
    masked, whole = (instrument("sdss", sky__bright=b) for b in ("10.0", "0.0"))
    shares = [
        made.observe(objects(made, 1.0, 16), [2]).spectra.arms[0].usable[:, 200:4400].mean()
        for made in (masked, whole)
    ]
    assert shares[0] < shares[1] - 0.02


def test_calibration_bends_the_flux():
    made = instrument("desi", calibration__tilt="0.3")
    seen = made.observe(objects(made, 300.0, 32), [4])
    ratio = [np.median(seen.spectra.arms[k].flux, axis=1) for k in (0, 2)]
    assert np.corrcoef(np.log(ratio[1] / ratio[0]), seen.truth["TILT"])[0, 1] > 0.99


# --- artefacts


@pytest.mark.parametrize(
    ("setting", "bit"),
    [
        ("blank", Artefact.BLANK),
        ("missing_arm", Artefact.MISSING_ARM),
        ("bad_columns", Artefact.BAD_COLUMN),
    ],
)
def test_each_rate_can_be_set_and_is_told(setting, bit):
    made = instrument("desi", **{f"artefacts__{setting}": "0.5", "artefacts__found": "0"})
    seen = made.observe(objects(made, 20.0, 256), [6])
    share = np.mean((seen.truth["ARTEFACT"] & int(bit)) != 0)
    assert share == pytest.approx(0.5, abs=0.12)
    assert set(np.unique(seen.truth["ARTEFACT"])) == {0, int(bit)}


def test_blank_fibres_have_no_light_and_no_truth():
    made = instrument("desi", artefacts__blank="0.5")
    seen = made.observe(objects(made, 20.0, 64), [6])
    blank = (seen.truth["ARTEFACT"] & int(Artefact.BLANK)) != 0
    middle = np.median(seen.spectra.arms[1].flux, axis=1)
    assert np.all(np.abs(middle[blank]) < 0.5)
    assert np.all(middle[~blank] > 19)
    assert np.all(np.isnan(seen.spectra.truth.z) == blank)
    assert np.all((seen.spectra.truth.spectype == "") == blank)
    assert np.all((seen.spectra.truth.label == "") == blank)


def test_a_missing_arm_has_no_data():
    made = instrument("desi", artefacts__missing_arm="0.5")
    seen = made.observe(objects(made, 20.0, 64), [6])
    empty = np.sum([~arm.usable.any(axis=1) for arm in seen.spectra.arms], axis=0)
    assert np.array_equal(empty == 1, seen.truth["ARTEFACT"] == int(Artefact.MISSING_ARM))


def test_cosmic_rays_stand_out_and_masked_ones_are_gone():
    left = instrument(
        "4most",
        artefacts__cosmics="20",
        artefacts__cosmic_electrons="300",
        artefacts__found="0",
        sky__shift="0",
    )
    seen = left.observe(objects(left, 5.0, 16), [6])
    arm = seen.spectra.arms[0]
    worst = np.max((arm.flux - 5) * np.sqrt(arm.ivar), axis=1)
    assert np.mean(worst > 8) > 0.9
    assert np.all(seen.truth["ARTEFACT"] == int(Artefact.COSMIC))
    found = instrument("desi", artefacts__cosmics="20", artefacts__found="1", sky__shift="0")
    seen = found.observe(objects(found, 5.0, 16), [6])
    assert np.all(seen.truth["ARTEFACT"] == 0)
    lost = sum((~arm.usable).sum() for arm in seen.spectra.arms)
    assert lost > 16 * 20  # three pixels each, some on top of each other


# --- settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"artefacts.cosmic": "1"}, "did you mean 'artefacts.cosmics'"),
        ({"artefacts.blank": "2"}, "artefacts.blank = 2.0: out of range"),
        ({"artefacts.blank": "many"}, "expected a value like"),
        ({"kinds.blank": "1"}, "unknown setting"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read_instrument(plugins.survey("desi").simulation / "instrument.toml", settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind = 'fiber'", "did you mean 'fibre'"),
        ("kind = ", "is no TOML"),
        (
            "kind = 'fibre'\nreference = 'x'\n[telescope]\narea = 'big'",
            "telescope.area = 'big': expected number",
        ),
        ("kind = 'fibre'\nreferences = 'x'", "did you mean 'reference'"),
        (
            "kind = 'fibre'\nreference = 'x'\n[telescope]\narea = 1",
            "key 'telescope.fibre' is missing",
        ),
        ("kind = 'fibre'\n[output]\nspacing = 'logg'", "'logg': expected linear or log"),
        ("kind = 'fibre'\ntransmission = [[2, 1], [1, 1]]", "with rising x"),
        ("kind = 'fibre'\ntransmission = [[1, 1, 1]]", r"transmission\[0\] = .* expected 2 values"),
    ],
)
def test_a_wrong_instrument_is_one_line(tmp_path, text, words):
    (tmp_path / "instrument.toml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_instrument(tmp_path / "instrument.toml")
    assert "\n" not in str(caught.value)


def test_every_survey_that_ships_can_be_simulated():
    for name in (*FIBRES, "csst"):
        assert kind_of(plugins.survey(name).simulation / "instrument.toml") in KINDS


# --- with sources: the same numbers, files, stream


@pytest.mark.parametrize("name", FIBRES)
def test_spectrum_i_depends_on_seed_and_i_alone(name):
    n = BLOCK + 22 if name == "sdss" else 40
    whole = next(pieces(simulator(plugins.survey(name), 7), n, n))
    parts = list(pieces(simulator(plugins.survey(name), 7), 15, 40))
    assert [len(p.spectra) for p in parts] == [15, 15, 10]
    start = 0
    for part in parts:
        rows = slice(start, start + len(part.spectra))
        for a, b in zip(part.spectra.arms, whole.spectra.arms, strict=True):
            assert np.array_equal(a.flux, b.flux[rows])
            assert np.array_equal(a.ivar, b.ivar[rows])
        assert np.array_equal(part.spectra.ids, whole.spectra.ids[rows])
        assert np.array_equal(part.truth["MAG"], whole.truth["MAG"][rows])
        start = rows.stop
    other = next(pieces(simulator(plugins.survey(name), 8), 4, 4))
    assert not np.array_equal(other.spectra.arms[0].flux, whole.spectra.arms[0].flux[:4])


@pytest.mark.parametrize(
    ("name", "per_file"), [("sdss", 5), ("sdss", 1), ("desi", 5), ("4most", 1)]
)
def test_what_is_written_is_read_back(name, per_file, tmp_path):
    survey = plugins.survey(name)
    n = 3 if per_file == 1 else 10
    source = simulator(survey, 11, settings={"artefacts.blank": "0.2"})
    *files, truth = write_mocks(source, n, tmp_path / "mocks", per_file, {"SEED": 11})
    assert len(files) == -(-n // per_file)
    made = next(pieces(source, n, n))
    options = survey.Options(telluric="keep") if name == "4most" else None
    read = [chunk for file in files for chunk in survey.read(file, options=options)]
    assert np.array_equal(np.concatenate([c.ids for c in read]), made.spectra.ids)
    for k, arm in enumerate(made.spectra.arms):
        flux, ivar = (
            np.concatenate([getattr(c.arms[k], what) for c in read]) for what in ("flux", "ivar")
        )
        assert np.allclose(read[0].arms[k].wave, arm.wave, rtol=1e-9)
        assert np.allclose(flux, arm.flux, rtol=1e-5, atol=1e-6)
        assert np.allclose(ivar, arm.ivar, rtol=1e-5)
        lsf = np.atleast_2d(read[0].arms[k].resolution)[0]
        limit = 0.3 if name == "4most" else 0.01  # one number for all wavelengths there
        assert np.max(np.abs(lsf / arm.resolution - 1)) < limit
    known = np.concatenate([c.truth.z for c in read])
    assert np.allclose(known, made.spectra.truth.z, equal_nan=True)
    with open_fits(truth) as file:
        assert file.header(0)["SEED"] == 11
        assert np.allclose(file.column("TRUTH", "Z"), known, equal_nan=True)
        assert file.column("TRUTH", "TARGETID").tolist() == made.spectra.ids.tolist()
        assert set(file.column("TRUTH", "FILE")) == {path.name for path in files}
        assert {"LABEL", "SPECTYPE", "MAG", "SNR", "SED", "ARTEFACT"} <= set(file.columns("TRUTH"))


def test_labels_come_back_where_the_layout_has_them(tmp_path):
    for name in ("sdss", "4most"):
        survey = plugins.survey(name)
        source = simulator(survey, 3, settings={"artefacts.blank": "0"})
        *files, _ = write_mocks(source, 6, tmp_path / name, 6)
        read = next(survey.read(files[0]))
        made = next(pieces(source, 6, 6)).spectra.truth
        assert read.truth.label.tolist() == made.label.tolist()
        assert read.truth.spectype.tolist() == made.spectype.tolist()


def test_mocks_are_not_written_over(tmp_path):
    source = simulator(plugins.survey("desi"), 3)
    write_mocks(source, 1, tmp_path)
    with pytest.raises(OutputError, match="holds mocks already"):
        write_mocks(source, 1, tmp_path)


def test_the_stream_goes_on_and_never_repeats():
    batches = stream("sdss", seed=5, batch=48)
    seen = [next(batches) for _ in range(4)]
    ids = np.concatenate([one.ids for one in seen])
    assert (ids - ids[0]).tolist() == list(range(4 * 48))
    flux = np.concatenate([one.arms[0].flux for one in seen])
    assert len(np.unique(flux, axis=0)) == len(flux)
    labels = np.concatenate([one.truth.label for one in seen])
    known = labels != ""
    assert len(np.unique(labels[known])) == 13


def test_ids_say_which_sample_and_which_spectrum():
    """No two samples of objects share an id; how they are observed does not matter."""
    desi, sdss = plugins.survey("desi"), plugins.survey("sdss")
    samples = [
        simulator(desi, 1),
        simulator(sdss, 1),
        simulator(desi, 2),
        simulator(desi, 1, flat=True),
        simulator(desi, 1, split="test"),
        simulator(desi, 1, population=sdss.simulation / "population.toml"),
    ]
    first = [int(one.ids(0, 1)[0]) for one in samples]
    assert len({one >> NUMBER for one in first}) == len(samples)
    assert all(MOCK <= one < 2 * MOCK and one % (1 << NUMBER) == 0 for one in first)
    assert samples[0].ids(70, 2).tolist() == [first[0] + 70, first[0] + 71]
    deeper = simulator(desi, 1, settings={"exposure.count": "4.0"})
    assert deeper.ids(0, 3).tolist() == samples[0].ids(0, 3).tolist()


def test_parts_of_the_sources_share_none():
    survey = plugins.survey("desi")
    seds = {
        part: set(next(pieces(simulator(survey, 5, split=part), BLOCK, BLOCK)).truth["SED"])
        for part in ("train", "valid", "test")
    }
    assert not seds["train"] & seds["test"]
    assert not seds["train"] & seds["valid"]
    assert not seds["valid"] & seds["test"]


def test_a_survey_without_a_simulation_says_so():
    survey = plugins.survey("desi")
    bare = type("Bare", (type(survey),), {"simulation": None})()
    with pytest.raises(ConfigError, match="brings no instrument"):
        simulator(bare, 1)


def test_seeds_and_parts_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="seed -1"):
        simulator(plugins.survey("desi"), -1)
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        simulator(plugins.survey("desi"), 1, split="trian")


def test_an_instrument_is_immutable():
    made = instrument("desi")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.spec.artefacts.blank = 1.0  # type: ignore[misc]
    assert Path(plugins.survey("desi").simulation).is_dir()


def test_only_slitless_surveys_have_images(tmp_path):
    command = ["simulate", "--survey", "desi", "-n", "2", "--image", "-o", str(tmp_path / "m")]
    result = CliRunner().invoke(build(), command)
    assert isinstance(result.exception, ConfigError)
    assert "slitless surveys have images" in str(result.exception)
    assert not (tmp_path / "m").exists()
