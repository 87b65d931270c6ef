"""Other people's templates through the engine, limits of redshift, and bases of one's own."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from zspec import checkpoint, mock_spectra
from zspec.catalog import read as read_catalog
from zspec.cli.app import build
from zspec.errors import ConfigError, InputError
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.flags import ZWarn
from zspec.likelihood import forest
from zspec.likelihood.basis import STEP
from zspec.likelihood.published import read_folder
from zspec.likelihood.train import train
from zspec.survey import Arm, Spectra
from zspec.testing import shared

WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


def template(path: Path, rrtype: str, vectors: np.ndarray, **cards: object) -> None:
    """A file as redrock's are, on log λ from 10^2.9 Å."""
    hdu = fits.PrimaryHDU(vectors)
    hdu.header.update(CRVAL1=2.9, CDELT1=1e-4, LOGLAM=1, RRTYPE=rrtype, EXTNAME="BASIS_VECTORS")
    hdu.header.update(cards)
    hdu.writeto(path)


def flat(count: int = 2) -> np.ndarray:
    """(count, pixel) a bump at 4000 Å, and slopes."""
    wave = 10 ** (2.9 + 1e-4 * np.arange(11_000))
    bump = np.exp(-0.5 * ((wave - 4000) / 30) ** 2)
    return np.array([1 + bump, *(wave / 4000) ** np.arange(1, count)[:, None]])


def observed(shipped: Likelihood, index: int, z: float, noise: float = 0.1) -> Spectra:
    """The mean object of a shipped basis."""
    basis = shipped.bases[index]
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    flux = np.interp(np.log10(WAVE / (1 + z)) / STEP, rest, basis.vectors[0], left=0, right=0)
    flux = flux / np.median(flux) + noise * np.random.default_rng(2).standard_normal(len(WAVE))
    ivar = np.full((1, len(WAVE)), noise**-2, np.float32)
    arm = Arm("A", WAVE, flux[None].astype(np.float32), ivar)
    return Spectra((arm,), np.arange(1), np.arange(1, dtype=np.int32))


def test_the_mean_forest_is_that_of_the_papers() -> None:
    wave = np.array([1100.0, 1215.0, 1216.0])
    # Kamble+2020, eq. of their abstract: tau = 5.54e-3 (1 + z)^3.182, here at 1 + z_pixel
    expected = np.exp(-5.54e-3 * (wave[:2] * 4 / 1215.67) ** 3.182)
    assert forest.transmission("Kamble20", wave, 3.0)[:2] == pytest.approx(expected)
    assert forest.transmission("Kamble20", wave, 3.0)[2] == 1
    alone = np.exp(-0.0023 * (930.0 * 4 / 1215.67) ** 3.64)  # Calura+2012, eq. 5
    assert forest.transmission("Calura12", np.array([930.0]), 3.0)[0] < 0.95 * alone


def test_all_of_redrocks_templates_become_bases() -> None:
    bases = read_folder(shared("templates"))
    assert {basis.spectype for basis in bases} == {"GALAXY", "QSO", "STAR"}
    quasars = sorted(b.z_range for b in bases if b.spectype == "QSO" and "HIZ" in b.name)
    assert len(quasars) > 10
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(quasars))
    assert quasars[0][0] == pytest.approx(1.4)
    assert all(np.isfinite(basis.vectors).all() for basis in bases)


def test_slices_of_a_quasar_share_its_prior_like_one_basis() -> None:
    from zspec.likelihood import posterior

    bases = [b for b in read_folder(shared("templates")) if b.spectype == "QSO"]
    prior = posterior.measure(bases)[0] / 2 - np.log(10) * bases[0].density[0][1]
    assert np.exp(-float(prior)) == pytest.approx(1 / 2)  # two templates, HIZ and LOZ


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"RRIGM": "Inoue14", "VERSION": "3"}, "RRIGM is 'Inoue14'"),
        ({"VERSION": "9"}, "RRIGM is 'missing'"),
    ],
)
def test_a_forest_that_is_not_known_is_said(tmp_path: Path, cards: dict, message: str) -> None:
    template(tmp_path / "rrtemplate-QSO.fits", "QSO", flat(), **cards)
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path)


def test_a_folder_without_templates_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no template"):
        read_folder(tmp_path)
    template(tmp_path / "rrtemplate-X.fits", "COMET", flat())
    with pytest.raises(InputError, match="RRTYPE is 'COMET'"):
        read_folder(tmp_path)


def test_a_template_of_ones_own_finds_its_redshift(tmp_path: Path) -> None:
    template(
        tmp_path / "rrtemplate-GALAXY-mine.fits", "GALAXY", flat(), RRIGM="None", RRSUBTYP="BUMP"
    )
    fitter = Likelihood.of_templates(tmp_path)
    assert [c.name for c in fitter.classes] == ["GALAXY_BUMP"]
    assert not fitter.calibrated
    flux = 1 + np.exp(-0.5 * ((WAVE / 1.4 - 4000) / 30) ** 2)
    noisy = flux + 0.05 * np.random.default_rng(3).standard_normal(len(WAVE))
    arm = Arm("A", WAVE, noisy[None].astype(np.float32), np.full((1, len(WAVE)), 400, np.float32))
    found = fitter.predict(Chunk(Spectra((arm,), np.arange(1), np.arange(1, dtype=np.int32))))
    assert found.z[0, 0] == pytest.approx(0.4, abs=1e-3)
    assert found.zconf is None or np.isnan(found.zconf).all()


def test_a_narrower_range_changes_nothing_but_what_it_leaves_out(shipped: Likelihood) -> None:
    data = observed(shipped, 0, 0.3, 0.5)
    whole = shipped.predict(Chunk(data))
    narrow = shipped.limited({"GALAXY": (0.1, 0.6)}).predict(Chunk(data))
    assert narrow.z[0, 0] == pytest.approx(whole.z[0, 0], abs=1e-7)
    assert narrow.sigma[0, 0] == pytest.approx(whole.sigma[0, 0], rel=1e-4)
    assert narrow.zwarn is not None
    assert narrow.zwarn[0] == 0
    assert narrow.prob.sum() == pytest.approx(1, abs=1e-6)
    outside = shipped.limited({"GALAXY": (0.31, 0.6)}).predict(Chunk(data))
    assert outside.z[0, 0] >= 0.31 - 1e-9


def test_the_end_of_a_chosen_range_is_a_limit(shipped: Likelihood) -> None:
    only = Likelihood(shipped.bases[:1], calibration=shipped.calibration)
    found = only.limited({"GALAXY": (0.0, 0.295)}).predict(Chunk(observed(shipped, 0, 0.3)))
    assert found.zwarn is not None
    assert found.zwarn[0] & ZWarn.Z_FITLIMIT


def test_limits_that_make_no_sense_are_said(shipped: Likelihood) -> None:
    with pytest.raises(ConfigError, match="unknown class 'GALAXI'; did you mean 'GALAXY'"):
        shipped.limited({"GALAXI": (0, 1)})
    with pytest.raises(ConfigError, match="no redshift of GALAXY lies between 3 and 4"):
        shipped.limited({"GALAXY": (3, 4)})
    assert shipped.limited({"QSO": (0.5, 4)}) is shipped.limited({"QSO": (0.5, 4)})


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A real galaxy's file."""
    return shared("sdss/spectra/spec-0266-51602-0013.fits")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--z-range", "QSO=1"], "expected CLASS=LOW,HIGH"),
        (["--z-range", "QSO=2,1"], "LOW must be above -1 and below HIGH"),
        (["--z-range", "BLOB=0,1"], "unknown class"),
        (["--templates", "nowhere"], "holds no template"),
        (["--templates", "x", "--model", "likelihood"], "does not go with --templates x: give one"),
    ],
)
def test_wrong_words_are_one_line(
    one: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = CliRunner().invoke(
        build(), ["predict", str(one), "-o", str(tmp_path / "z.fits"), *words]
    )
    assert result.exception is not None
    assert message in str(result.exception)
    assert not (tmp_path / "z.fits").exists()


def test_redrocks_templates_run_from_the_command_line(one: Path, tmp_path: Path) -> None:
    out = tmp_path / "z.fits"
    words = ["predict", str(one), "-o", str(out), "--templates", str(shared("templates"))]
    result = CliRunner().invoke(build(), [*words, "--z-range", "QSO=0.1,2.5"])
    assert result.exit_code == 0, result.output
    made = read_catalog(out)
    row = made.redshifts[0]
    assert row["SPECTYPE"] == "GALAXY"
    assert abs(row["Z"] - 0.12132) < 0.0015
    parts = [text for card, text in made.header.items() if card.startswith("PART")]
    assert "rrtemplate-QSO-HIZ-v1.1.fits 1.1" in parts
    assert len(parts) == len(list(shared("templates").glob("rrtemplate-*.fits")))


def labelled(folder: Path) -> Path:
    """SDSS files of a made-up class, quasars of two kinds, with a manifest."""
    from zspec.plugins import survey

    made = mock_spectra({"BR": (WAVE, WAVE * 2.3e-4)}, 8, 5, snr=20.0, classes=("QSO",))
    folder.mkdir(exist_ok=True)
    with (folder / "mine.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "row", "z", "class", "subclass"])
        for i in range(8):
            survey("sdss").write(folder / f"spec-{i}.fits", made[i : i + 1])
            assert made.truth is not None
            writer.writerow([f"spec-{i}.fits", 0, made.truth.z[i], "QSO", "ODD"])
    return folder / "mine.csv"


RECIPE = {
    "estimator": "likelihood",
    "seed": 1,
    "include": ["likelihood"],
    "calibrate": False,
    "basis": [
        {
            "name": "QSO_ODD",
            "spectype": "QSO",
            "subtype": "ODD",
            "subclasses": ["ODD"],
            "z_range": [0.3, 4.0],
            "wave": [1000, 7000],
            "level": [2000, 3000],
            "vectors": 3,
            "iterations": 5,
        }
    ],
}


def test_a_users_class_joins_the_shipped_ones(tmp_path: Path, shipped: Likelihood) -> None:
    labelled(tmp_path)
    out = tmp_path / "mine.safetensors"
    train({**RECIPE, "manifest": "mine.csv"}, tmp_path, out)
    made = Likelihood.load(out)
    assert [b.name for b in made.bases] == [*(b.name for b in shipped.bases), "QSO_ODD"]
    assert not made.calibrated  # ZCONF was learned without the new class
    assert made.calibration.model_error == shipped.calibration.model_error
    spectra = next(iter(_read(tmp_path / "spec-0.fits")))
    found = made.predict(Chunk(spectra))
    assert spectra.truth is None or found.classes[found.best[0]].spectype == "QSO"


def _read(path: Path) -> list[Spectra]:
    from zspec.api import read

    return list(read(path, "sdss"))


def test_files_that_know_their_class_need_no_manifest(tmp_path: Path) -> None:
    labelled(tmp_path)
    files = [f"spec-{i}.fits" for i in range(8)]
    entry = {key: value for key, value in RECIPE["basis"][0].items() if key != "subclasses"}
    recipe = {**RECIPE, "spectra": files, "survey": "sdss", "include": [], "basis": [entry]}
    train(recipe, tmp_path, tmp_path / "own.safetensors")
    made = Likelihood.load(tmp_path / "own.safetensors")
    assert [b.name for b in made.bases] == ["QSO_ODD"]
    assert made.meta["figures"]["real_spectra"] == 8


def test_too_few_spectra_are_said_with_what_there_is(tmp_path: Path) -> None:
    labelled(tmp_path)
    entry = {**RECIPE["basis"][0], "subclasses": ["BAL"]}
    recipe = {**RECIPE, "manifest": "mine.csv", "basis": [entry]}
    with pytest.raises(ConfigError, match=r"0 spectra for 3 vectors; .* QSO ODD \(8\)"):
        train(recipe, tmp_path, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="exclude each other"):
        train({**recipe, "spectra": "."}, tmp_path, tmp_path / "x.safetensors")
