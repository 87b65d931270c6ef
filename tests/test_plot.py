"""``zspec plot``: what is drawn, and what is said where something cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from zspec import catalog, checkpoint, lines, plotting
from zspec.catalog import Catalog
from zspec.cli.app import build
from zspec.errors import ConfigError, InputError, OutputError
from zspec.inspection import gather
from zspec.inspection.models import add_models
from zspec.inspection.targets import has_data, smooth
from zspec.plotting import View
from zspec.plotting.panels import facts
from zspec.plotting.redshifts import masses
from zspec.simulate.restframe import BALMER

pytest.importorskip("matplotlib")

EXAMPLE = Path(__file__).parent.parent / "examples" / "coadd-example.fits"


@pytest.fixture(scope="module")
def zcat(tmp_path_factory):
    """A catalogue of the example with p(z), beside its spectra."""
    folder = tmp_path_factory.mktemp("plot")
    shutil.copy(EXAMPLE, folder)
    path = folder / "zcat.fits"
    words = ["predict", str(folder / EXAMPLE.name), "-o", str(path), "--zpdf"]
    assert CliRunner().invoke(build(), words).exit_code == 0
    return path


@pytest.fixture(scope="module")
def targets(zcat):
    fitter = checkpoint.load_estimator("likelihood")
    return [add_models(target, fitter, 2) for target in gather(zcat)]


def run(*words):
    return CliRunner().invoke(build(), [str(word) for word in words])


def test_models_are_those_of_the_catalogue(targets):
    """χ² of what is drawn is CHI2; the runner-up's is not smaller by more than it is worth."""
    for target in filter(has_data, targets):
        models = target.solutions[0].model
        pairs = zip(target.arms, models, strict=True)
        chi2 = sum(float((a.ivar[0] * (a.flux[0] - m) ** 2).sum()) for a, m in pairs)
        assert chi2 == pytest.approx(target.row["CHI2"], rel=1e-3)
    assert sum(map(has_data, targets)) == 11


def test_candidates_and_density_are_of_the_row(targets, zcat):
    """The answer is first and not listed twice; p(z) integrates to 1 and peaks at it."""
    for target in filter(has_data, targets):
        assert target.solutions[0].z == target.row["Z"]
        places = [(one.label, round(one.z, 6)) for one in target.solutions]
        assert len(set(places)) == len(places) > 1
        u, p = target.density
        assert np.trapezoid(p, u) == pytest.approx(1, abs=1e-3)
    assert targets[-1].solutions == ()
    assert targets[-1].density is None


def test_masses_are_integrals():
    """Of a triangle of area 1, over bins that cut it, lie beyond it, and split its sides."""
    u, p = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0])
    found = masses(u, p, np.array([-3.0, -1.0, 0.5, 1.0, 1.5, 5.0]))
    np.testing.assert_allclose(found, [0, 0.125, 0.375, 0.375, 0.125], atol=1e-12)


def test_smoothing_ignores_bad_pixels():
    """A spike without ivar has no weight; a constant stays; nothing is made up far from data."""
    flux, ivar = np.ones(200), np.ones(200)
    flux[50], ivar[50], ivar[100:] = 1e9, 0, 0
    flux[100:] = 7
    found = smooth(flux, ivar, 2.0)
    np.testing.assert_allclose(found[:100], 1)
    assert np.isnan(found[110:]).all()
    assert np.isnan(smooth(flux, ivar, 0.0)[50])


def test_lines_are_in_vacuum_and_agree():
    """Every line has a source; hydrogen and the common doublets are where the simulator has them.

    In air they would lie 1 to 2 Å bluer.
    """
    waves = np.array([line.wave for line in lines.LINES])
    assert np.all(np.diff(waves) > 0)
    assert {line.source for line in lines.LINES} <= {"SDSS", "NIST", "Morton", "Kirkpatrick"}
    for wave in (*BALMER[-4:], 5008.24, 4960.30, 6585.27, 8544.44, 1215.67):
        assert np.min(np.abs(waves - wave)) < 0.02, wave
    for spectype in ("GALAXY", "QSO", "STAR"):
        assert len(lines.of(spectype)) > 10
    assert lines.of("") == lines.LINES


def test_a_picture_shows_what_it_should(targets):
    """Flux, error, both models and lines at the redshift, in the main panel; words beside."""
    target = next(t for t in targets if t.row["SPECTYPE"] == "GALAXY" and t.row["Z"] > 0.1)
    figure = plotting.single(target, View(0.0))
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["flux", "error"]
    assert [label.split(":")[0] for label in labels[2:]] == ["runner-up", "model"]
    halpha = 6564.61 * (1 + target.row["Z"])
    verticals = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]
    assert np.min(np.abs(np.array(verticals, float) - halpha)) < 0.01
    said = "\n".join(text.get_text() for text in figure.axes[-1].texts)
    assert f"z = {target.row['Z']:.6f}" in said


def test_flags_are_in_words(targets):
    said = " ".join(facts(targets[-1]))
    assert "UNPLUGGED: The fibre was broken" in said
    assert "ZWARN = 0" in facts(next(t for t in targets if not t.row["ZWARN"]))


def test_without_density_or_models_it_says_so(targets):
    target = replace(targets[3], density=None)
    target = replace(target, solutions=tuple(replace(s, model=None) for s in target.solutions))
    figure = plotting.single(target, View())
    assert "no p(z)" in figure.axes[1].get_title(loc="left")
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any("not drawn" in text for text in texts)


def test_one_picture_and_pages(zcat, targets, tmp_path, monkeypatch):
    """A target is one picture, all are sheets; a PDF has a page for each that is asked for."""
    monkeypatch.chdir(tmp_path)
    assert run("plot", zcat, "--target", targets[2].id, "--model", "none").exit_code == 0
    assert (tmp_path / f"zcat-{targets[2].id}.png").read_bytes().startswith(b"\x89PNG")
    done = run("plot", zcat, "--model", "none", "-o", "all.png")
    assert done.output.count("written") == 2  # 12 on sheets of 8
    assert (tmp_path / "all-2.png").exists()
    done = run("plot", zcat, "--row", 0, "--row", 11, "--each", "--model", "none", "-o", "two.pdf")
    assert done.exit_code == 0, done.output
    pdf = (tmp_path / "two.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Count 2" in pdf
    assert not list(tmp_path.glob(".part*"))


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--target", "7"], ConfigError, "has no TARGETID 7"),
        (["--row", "12"], ConfigError, "has rows 0 to 11"),
        (["--class", "QUASAR"], ConfigError, "no row is left"),
        (["--wave", "7000,6000"], ConfigError, "expected two wavelengths"),
        (["-o", "a.jpg"], OutputError, "ends with .png or .pdf"),
        (["-o", "no/a.png"], OutputError, "no such folder"),
        (["gone.fits", "-o", "a.png"], InputError, "gone.fits: no such file"),
    ],
)
def test_mistakes_are_one_line(zcat, tmp_path, monkeypatch, words, kind, message):
    monkeypatch.chdir(tmp_path)
    error = run("plot", zcat, *words).exception
    assert isinstance(error, kind)
    assert message in str(error)
    assert "\n" not in str(error)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_picture_stays(zcat, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    assert "--overwrite" in str(run("plot", zcat, "--row", 0, "-o", path).exception)
    assert path.read_bytes() == b"mine"


def test_a_row_that_the_file_lacks_is_said(zcat, tmp_path):
    made: Catalog = catalog.read(zcat)
    made.redshifts["ROW"][3] = 77
    path = tmp_path / "zcat.fits"
    catalog.write(made, path)
    with pytest.raises(InputError, match="has no row 77"):
        list(gather(path, [3]))
