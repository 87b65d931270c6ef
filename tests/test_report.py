"""``zspec report``: every plot is drawn where it can be, and named where it cannot."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from zspec import write_fits
from zspec.cli.app import build
from zspec.errors import ConfigError, OutputError
from zspec.evaluation.document import document
from zspec.evaluation.frame import from_table
from zspec.evaluation.measure import Bootstrap, Settings
from zspec.evaluation.sample import Choice, Columns, assemble
from zspec.metrics import choose
from zspec.report import PLOTS, draw, style, write

PNG = b"\x89PNG\r\n\x1a\n"
QUICK = Bootstrap(replicates=50)
ALL = Settings(choose([]), bootstrap=QUICK)
EVIL = "<script>alert(1)</script>"


def named(*names):
    return [plot for plot in PLOTS if plot.name in names]


@pytest.fixture(autouse=True, scope="module")
def coarse_pictures():
    """Pictures that nobody looks at need few pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(style.STYLE, "savefig.dpi", 25)
        patch.setitem(style.STYLE, "figure.constrained_layout.use", False)
        yield


@pytest.fixture(scope="module")
def full():
    """A sample with a class that would be a script, and its report."""
    made = table()
    made["SPECTYPE"] = np.where(made["SPECTYPE"] == "QSO", EVIL, made["SPECTYPE"].astype("U30"))
    sample = sample_of(made)
    return sample, draw(sample, ALL)


def table(n=400):
    """All that a catalogue can hold, of honest and failed redshifts of three classes."""
    rng = np.random.default_rng(4)
    true = np.array(["GALAXY", "QSO", "STAR"])[np.arange(n) % 3]
    z_true = np.where(true == "STAR", rng.normal(0, 1e-4, n), rng.uniform(0, 3, n))
    snr = rng.lognormal(1, 1, n)
    sigma = 1e-3 / snr
    z = rng.normal(z_true, sigma)
    z[:4] = 1.0
    conf = rng.uniform(0.3, 1, n)
    return Table(
        {
            "TARGETID": np.arange(n),
            "SPECTYPE": np.where(rng.uniform(size=n) < 0.1, "QSO", true),
            "Z": z,
            "ZERR": sigma,
            "ZERR_RAW": sigma / 2,
            "PROB": conf,
            "PROB_RAW": conf**0.5,
            "ZCONF": conf,
            "ZWARN": np.where(conf < 0.5, 4, 0) | np.where(sigma > 3e-4, 1 << 27, 0),
            "SNR": snr,
            "MAG": 22 - snr,
            "ZCRB": sigma,
            "Z_TRUE": z_true,
            "CLASS_TRUE": true,
        }
    )


def sample_of(made, **columns):
    return assemble(from_table("t", made), None, Columns(**columns), Choice())


def test_every_plot_of_a_full_catalogue(full):
    _, made = full
    assert made.left_out == ()
    assert [p.name for p in made.pictures] == [plot.name for plot in PLOTS]
    for picture in made.pictures:
        assert picture.png.startswith(PNG)
        assert re.search(r"\b400 objects", picture.caption), picture.name


def test_many_rows_are_drawn_as_densities(monkeypatch):
    monkeypatch.setattr(style, "POINTS", 50)
    monkeypatch.setattr("zspec.report.redshifts.SHOWN", 100)
    made = draw(sample_of(table()), ALL, named("redshift", "bias", "sigma", "t"))
    assert len(made.pictures) == 4
    captions = {p.name: p.caption for p in made.pictures}
    assert "Drawn: 100 rows by chance" in captions["bias"]


def test_plots_whose_columns_are_missing_are_named_with_the_reason():
    bare = table()["Z", "Z_TRUE"]
    made = draw(sample_of(bare), ALL)
    assert [p.name for p in made.pictures] == ["redshift", "bias", "against-z"]
    reasons = dict(made.left_out)
    assert len(reasons) == len(PLOTS) - 3
    assert reasons["Metrics against magnitude"] == "no magnitude: name its column with --mag"
    assert reasons["Confusion matrix"].startswith("no predicted class")
    assert "Cramér-Rao" in reasons["Efficiency against the Cramér-Rao bound"]
    captions = {p.name: p.caption for p in made.pictures}
    assert "not told apart" in captions["bias"]


def test_columns_without_any_value():
    made = table()
    made["ZCONF"] = np.nan
    made["ZERR"] = np.nan
    reasons = dict(draw(sample_of(made), ALL, named("cuts", "t", "reliability")).left_out)
    assert reasons["Purity and completeness against ZCONF"] == "no row has z, z_true, zconf"
    assert "no row has" in reasons["t against redshift"]


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_are_no_error(rows):
    made = draw(sample_of(table()[:rows]), ALL)
    assert len(made.pictures) + len(made.left_out) == len(PLOTS)
    if not rows:
        assert {reason for _, reason in made.left_out} == {"no rows"}


def test_perfect_redshifts_are_no_error():
    made = table()
    made["Z"] = made["Z_TRUE"]
    shown = draw(sample_of(made), ALL, named("redshift", "bias", "against-z", "t", "sigma"))
    assert dict(shown.left_out)["t against redshift"] == "no positive value"


def test_the_page_holds_its_images_and_escapes_text(full, tmp_path):
    sample, drawn = full
    settings = Settings(choose(["gf", "acc", "nmad"]), bootstrap=QUICK)
    facts = {"truth": EVIL, **document(EVIL, sample, settings)}
    text = write(tmp_path / "new", EVIL, facts, drawn).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count('src="data:image/png;base64,') == len(PLOTS)
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert {p.name for p in (tmp_path / "new").glob("*.png")} == {f"{p.name}.png" for p in PLOTS}


DOLLARS = (r"GAL$\foo$", r"\$", "US$", "$$")


def test_a_dollar_in_a_class_is_no_mathematics():
    made = table()
    for column in ("SPECTYPE", "CLASS_TRUE"):
        text = made[column].astype("U30")
        for old, new in zip(("GALAXY", "QSO", "STAR"), DOLLARS, strict=False):
            text[text == old] = new
        made[column] = text
    shown = draw(sample_of(made), replace(ALL, thresholds={"gf": 0.01}))
    assert "confusion" in [p.name for p in shown.pictures]
    from matplotlib.text import Text

    for text in DOLLARS:
        assert Text(text=style.plain(text))._preprocess_math(style.plain(text)) == (text, False)


def test_rows_without_an_answer_are_said_in_the_pictures():
    made = table()
    full = {p.name: p.caption for p in draw(sample_of(made), ALL, named("cuts")).pictures}
    made["Z"][:40] = np.nan
    made["SPECTYPE"][:40] = ""
    shown = draw(sample_of(made), ALL, named("cuts", "confusion"))
    captions = {p.name: p.caption for p in shown.pictures}
    assert "40 rows have no class and are not shown" in captions["confusion"]
    assert "40 rows without an answer are among all" in captions["cuts"]
    assert "without an answer" not in full["cuts"]


@pytest.mark.parametrize("name", ["index.html", "confusion.png"])
def test_what_zspec_did_not_write_is_kept(full, tmp_path, name):
    sample, drawn = full
    settings = Settings(choose(["gf"]), bootstrap=QUICK)
    facts = {"truth": None, **document("z.fits", sample, settings)}
    mine = tmp_path / name
    mine.write_text("<html>mine</html>")
    with pytest.raises(OutputError, match=rf"{name}: exists and is not of zspec; .*--overwrite"):
        write(tmp_path, "t", facts, drawn)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert mine.read_text() == "<html>mine</html>"
    write(tmp_path, "t", facts, drawn, overwrite=True)
    write(tmp_path, "t", facts, drawn)  # now it is ours
    assert not list(tmp_path.glob(".*"))


def test_a_page_is_written_whole_or_not_at_all(full, tmp_path, monkeypatch):
    sample, drawn = full
    facts = {"truth": None, **document("z.fits", sample, Settings(choose(["gf"]), bootstrap=QUICK))}
    page = write(tmp_path, "first", facts, drawn)
    before = page.read_bytes()

    written = Path.write_bytes

    def full_disk(self, data):
        if "index.html" not in self.name:
            return written(self, data)
        written(self, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path, "second", facts, drawn)
    assert page.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    sample = sample_of(table(30))
    settings = Settings(choose(["gf"]), bootstrap=QUICK)
    facts = {"truth": None, **document("z.fits", sample, settings)}
    nothing = draw(sample[np.arange(0)], settings)
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file", "t", facts, nothing)


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'zspec-redshift\[plot\]'"):
        style.require()


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = table(60)["TARGETID", "SPECTYPE", "Z", "ZERR", "ZWARN", "SNR", "Z_TRUE", "CLASS_TRUE"]
    columns = {name: np.asarray(made[name]) for name in made.colnames}
    hdus = [("", np.zeros(0), {"ZSPECVER": "0"}), ("REDSHIFTS", columns, {})]
    write_fits("zcat.fits", hdus)
    words = ["report", "-o", "out", "--replicates", "50", "--robust", "1e-3"]
    result = CliRunner().invoke(build(), words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "the newest catalogue here: zcat.fits" in result.stderr
    assert "left out: Metrics against magnitude" in result.stdout
    page = tmp_path / "out" / "index.html"
    assert "zcat.fits" in page.read_text(encoding="utf-8")
    page.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        CliRunner().invoke(build(), words, catch_exceptions=False)
    assert CliRunner().invoke(build(), [*words, "--overwrite"]).exit_code == 0
