from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from zspec import checkpoint
from zspec.cli import main
from zspec.cli.app import build
from zspec.errors import ZspecError


@pytest.fixture
def zspec(toy, estimator, monkeypatch, tmp_path):
    """Run a command line with the toy survey and model; returns exit code and output."""
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        result = CliRunner().invoke(build(), [str(w) for w in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_predict_writes_beside_the_input(zspec, toy_file, tmp_path):
    path = toy_file("coadd.fits", [1, 0, 60])
    result = zspec("predict", "--survey", "toy", path)
    assert result.exit_code == 0
    assert (tmp_path / "coadd.zspec.fits").exists()
    assert f"catalogue  {tmp_path / 'coadd.zspec.fits'}" in result.output
    assert "3 in" in result.output
    assert "NODATA" in result.output
    assert "No usable pixel at all" in result.output
    assert zspec("predict", path).exit_code == 0  # the same input: replaced


def test_predict_as_json(zspec, toy_file):
    result = zspec("predict", toy_file("a.fits", [1, 2]), "--json")
    summary = json.loads(result.stdout)
    assert summary["spectra"] == 2
    assert summary["classes"][0]["class"] == "GALAXY"


def test_one_bad_file_of_many(zspec, toy_file, tmp_path):
    good = toy_file("toy-a.fits", [1, 2])
    bad = toy_file("toy-b.fits", [1, 2])
    bad.write_bytes(b"")
    result = zspec("predict", tmp_path, "-o", tmp_path / "z.fits")
    assert result.exit_code == 1
    assert "1 file could not be read" in result.output
    assert f"{bad}: is empty" in result.output
    shown = zspec("info", tmp_path / "z.fits", good)
    assert shown.exit_code == 0
    assert "catalogue" in shown.output
    assert "survey: toy" in shown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.fits", "b.fits"], "2 files to read: name the catalogue with -o"),
        (["a.fits", "-o", "z.csv"], "a catalogue is a FITS file"),
        (["a.fits", "-S", "gain"], "-S gain: expected key=value"),
        (["a.fits", "--survey", "toy", "-S", "gian=3"], "did you mean 'gain'"),
        (["a.fits", "--survey", "tooy"], "did you mean 'toy'"),
        (["a.fits", "-o", "no/where.fits"], "no such folder"),
        (["gone.fits"], "no such file"),
        (["a.fits", "--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_mistakes_are_one_line(zspec, toy_file, words, message):
    toy_file("a.fits", [1])
    toy_file("b.fits", [1])
    with pytest.raises(ZspecError) as caught:
        zspec("predict", *words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_has_its_suffix(zspec, tmp_path):
    with pytest.raises(ZspecError, match=r"ends in \.safetensors"):
        zspec("train", "likelihood", "-o", tmp_path / "model.pt")


def test_surveys_lists_failures_and_clashes(zspec, monkeypatch):
    from zspec import plugins

    monkeypatch.setitem(plugins.surveys().clashes, "twin", ["a 1", "b 2"])
    monkeypatch.setattr(plugins.load(), "failures", [plugins.Failure("p", "d 1", "Oops: \x1b[31m")])
    result = zspec("surveys")
    assert "offered by a 1 and b 2" in result.output
    assert "Oops: [31m" in result.output
    detailed = zspec("surveys", "-v").output
    assert "-S gain=1.0  What flux is multiplied by." in detailed
    everything = json.loads(zspec("surveys", "--json").stdout)
    assert everything["failures"][0]["plugin"] == "p"


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_help_imports_neither_torch_nor_astropy():
    """Nor numpy: a page of help costs what typer costs."""
    code = (
        "import sys; sys.argv = ['zspec', '--help']\n"
        "from zspec.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'astropy', 'numpy', 'scipy', 'fitsio') if m in sys.modules])"
    )
    assert run_python(code).stdout.rstrip().endswith("[]")


def test_listing_surveys_imports_neither_torch_nor_astropy():
    code = (
        "import sys; sys.argv = ['zspec', 'surveys']\n"
        "from zspec.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'astropy', 'scipy', 'fitsio') if m in sys.modules])"
    )
    assert run_python(code).stdout.rstrip().endswith("[]")


def test_a_mistake_exits_with_2_and_a_bug_keeps_its_traceback():
    mistake = subprocess.run(
        [sys.executable, "-c", "from zspec.cli import main; main()", "predict", "no.fits"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("zspec: error: ")
    assert mistake.stderr.count("\n") == 1
    bug = subprocess.run(
        [
            sys.executable,
            "-c",
            "import zspec.sources; zspec.sources.expand = None\nfrom zspec.cli import main; main()",
            "predict",
            "no.fits",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr


def test_version_and_models_of_what_ships():
    """Through the command line as installed, on the shipped checkpoint."""
    for words, expected in ((["--version"], "zspec 0."), (["models"], "likelihood")):
        code = "from zspec.cli import main; main()"
        ran = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert expected in ran.stdout


def test_the_newcomers_own_catalogue_is_no_spectrum(zspec, toy_file, tmp_path):
    zspec("predict", toy_file("a.fits", [1]), "-o", tmp_path / "z.fits")
    with pytest.raises(ZspecError, match="is a catalogue of redshifts; spectra were expected"):
        zspec("predict", tmp_path / "z.fits")


def test_names_of_surveys_in_any_case(zspec, toy_file):
    assert zspec("predict", "--survey", "TOY", toy_file("a.fits", [1])).exit_code == 0


def test_verbose_says_more_even_to_a_file(zspec, toy_file, tmp_path):
    bad = tmp_path / "gone.fits"
    for words, said in (([], False), (["-v"], True)):
        good, out = toy_file(f"{said}.fits", [1]), tmp_path / f"z{said}.fits"
        result = zspec(*words, "predict", good, bad, "-o", out)
        assert ("gone.fits: no such file" in result.stderr) is said


def test_ctrl_c_is_said(monkeypatch, capsys):
    def stop(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("zspec.training.find_recipe", stop)
    monkeypatch.setattr(sys, "argv", ["zspec", "train", "mine.toml", "-o", "mine.safetensors"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith("zspec: interrupted\n")


def test_an_interrupted_training_says_where_it_stands(tmp_path, capsys, monkeypatch):
    def train(recipe, data, output, overwrite):
        (tmp_path / "own.training").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("zspec.training.train", train)
    out = tmp_path / "own.safetensors"
    monkeypatch.setattr(sys, "argv", ["zspec", "train", "likelihood", "-o", str(out)])
    with pytest.raises(SystemExit):
        main()
    said = "".join(capsys.readouterr())
    assert f"{tmp_path / 'own.training'}: the same command goes on from there" in said
