"""Help, completion, and ``zspec info`` on anything: what a beginner meets first."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from zspec import checkpoint, training, write_fits
from zspec.cli import completion
from zspec.cli.app import COMMANDS, build, told

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "coadd-example.fits"
NAMES = [command.__name__.replace("_", "-") for command in COMMANDS]


def run(*words):
    return CliRunner().invoke(build(), [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_has_an_example(command):
    """And each example is of this command, with options that it has."""
    name = command.__name__.replace("_", "-")
    examples = [line for line in told(command).splitlines() if line.startswith("zspec ")]
    assert examples
    shown = run(name, "--help").output
    for example in examples:
        assert example.split()[1] == name
        for option in re.findall(r" (--?[a-zA-Z][\w-]*)", example):
            assert option in shown, (example, option)


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_shows_every_text_as_it_was_written(command):
    """What stands in brackets would be taken for markup, and be gone."""
    name = command.__name__.replace("_", "-")
    shown = CliRunner().invoke(build(), [name, "--help"], env={"COLUMNS": "1000"}).output
    for hint in typing.get_type_hints(command, include_extras=True).values():
        for info in getattr(hint, "__metadata__", ()):
            assert info.help in shown, info.help


def test_help_wraps_prose_and_no_example():
    text = told(next(c for c in COMMANDS if c.__name__ == "plot"))
    prose, examples = text.split("\n\n")[1:]
    assert "\n" not in prose
    assert examples.count("\n") == 1


def test_output_is_named_by_the_same_option_everywhere():
    for name in ("predict", "merge", "report", "plot", "inspect", "train", "simulate", "explain"):
        shown = run(name, "--help").output
        assert re.search(r"--output\s+-o", shown), name


def complete(words, shell="complete_bash"):
    """What the installed command offers for a line of words."""
    env = {
        **os.environ,
        "_ZSPEC_COMPLETE": shell,
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv[0] = 'zspec'; from zspec.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return ran.stdout.split()


def test_the_shell_completes_commands_and_values():
    assert complete(["zspec", "pl"]) == ["plot"]
    assert complete(["zspec", "predict", "--survey", "d"]) == ["desi"]


def test_values_that_are_completed():
    assert set(completion.recipes("gasnet2-sdss")) == {"gasnet2-sdss", "gasnet2-sdss-small"}
    assert set(completion.models("")) == set(checkpoint.models())
    assert completion.metrics("acc,nmad_") == ["acc,nmad_v"]
    assert completion.surveys("sd") == ["sdss"]


# info


@pytest.fixture
def folder(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "coadd-0.fits")
    columns = {"TARGETID": np.arange(3), "Z": np.array([0.1, np.nan, 2.0])}
    truth = columns | {"SPECTYPE": np.array(["GALAXY", "", "QSO"])}
    write_fits(tmp_path / "truth.fits", [("", np.zeros(0), {}), ("TRUTH", truth, {})])
    (tmp_path / "bad.fits").write_bytes(b"no")
    (tmp_path / "seen.csv").write_text("FILE,ROW,Z,SPECTYPE\na,0,0.5,GALAXY\na,1,,\n")
    (tmp_path / "mine.toml").write_text('a = "no recipe"\n')
    (tmp_path / "night.parts").mkdir()
    (tmp_path / "older").mkdir()
    shutil.copy(EXAMPLE.with_name("redrock-example.fits"), tmp_path)
    return tmp_path


def about(path):
    done = run("info", path, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)[0]


def test_info_of_a_folder(folder):
    said = about(folder)
    assert said["kind"] == "folder"
    assert said["spectra of desi"] == 1
    assert said["damaged files"] == 1
    assert said["unfinished runs"] == 1
    assert said["tables"] == said["TOML files"] == said["folders"] == 1
    assert said["catalogues of other tools"] == 1
    assert "others" not in said
    assert said["truths"] == "truth.fits"


def test_info_of_tables(folder):
    said = about(folder / "truth.fits")
    assert said["kind"] == "table"
    assert said["rows"] == 3
    assert said["classes"] == {"GALAXY": 1, "QSO": 1, "none": 1}
    assert said["redshifts"] == "2, from 0.1000 to 2.0000"
    assert said["read as"]["z"] == "Z"
    assert "--truth" in said["for"]
    assert about(folder / "seen.csv")["redshifts"] == "1, from 0.5000 to 0.5000"


def test_info_of_recipes_and_checkpoints(folder):
    said = about(training.shipped()["gasnet2-desi"])
    assert said["kind"] == "recipe"
    assert said["classes"] == ["STAR", "QSO", "GALAXY"]
    assert "two-step" in said["presets"]
    assert "no recipe" in about(folder / "mine.toml")["kind"]
    assert about(checkpoint.shipped()["likelihood"])["kind"] == "checkpoint"
    shown = run("info", checkpoint.shipped()["likelihood"]).output
    assert max(map(len, shown.splitlines())) < 400  # what is long is cut
    assert shown.splitlines()[1].startswith("  estimator: likelihood")
    assert "--json" in shown


@pytest.mark.parametrize("command", ["plot", "inspect", "report", "evaluate", "info"])
def test_a_catalogue_that_is_not_there_is_said_plainly(command):
    code = "import sys; sys.argv[0] = 'zspec'; from zspec.cli import main; main()"
    words = [sys.executable, "-c", code, command, "gone.fits"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "zspec: error: gone.fits: no such file\n")


def test_info_of_nothing(folder):
    assert run("info", folder / "gone.fits").exit_code == 2
    assert "no such file" in run("info", folder / "gone.fits").stderr
    image = folder / "image.fits"
    write_fits(image, [("", np.zeros(0), {}), ("MAP", np.zeros((2, 2)), {})])
    done = run("info", image, EXAMPLE)
    assert done.exit_code == 1
    assert "no survey recognises it" in done.stderr
    assert "MAP (image)" in done.stderr
    assert "survey: desi" in done.stdout
    (folder / "notes.txt").write_text("none")
    assert (
        "is no file that zspec knows; these end with .fits, .safe"
        in run("info", folder / "notes.txt").stderr
    )
    (folder / "x.json").write_text("[]")
    assert "is no file of calibrations" in run("info", folder / "x.json").stderr
