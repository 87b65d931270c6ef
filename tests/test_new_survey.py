"""``zspec new-survey``: what it writes is a whole plugin, which passes its tests as it stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tomli
from typer.testing import CliRunner

from zspec import catalog, plugins, skeleton
from zspec.cli.app import build
from zspec.errors import ConfigError, OutputError


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package that the command wrote."""
    folder = tmp_path_factory.mktemp("new") / "zspec-weave"
    done = CliRunner().invoke(build(), ["new-survey", "WEAVE", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    assert "pip install" in done.output
    return folder


@pytest.fixture(scope="module")
def environment(package, tmp_path_factory):
    """PYTHONPATH with the package and what an installer would write of it, no more."""
    project = tomli.loads((package / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    points = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in those.items())
              for group, those in project["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(points))
    path = [str(package / "src"), str(site), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "ZSPEC_STRICT_PLUGINS": "1",
        "OMP_NUM_THREADS": "1",
    }


def run(words, folder, environment):
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_it_passes_its_tests_as_written(package, environment):
    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], package, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "failed" not in done.stdout


def test_its_demo_goes_through_the_command_line(package, environment):
    """As its README says, the survey is found by sniff."""
    assert run(["make_demo.py"], package, environment).returncode == 0
    code = "from zspec.cli import main; main()"
    done = run(["-c", code, "predict", "demo.fits", "-o", "zcat.fits"], package, environment)
    assert done.returncode == 0, done.stderr
    made = catalog.read(package / "zcat.fits")
    assert made.tables["FILES"]["SURVEY"].tolist() == ["weave"]
    assert len(made.redshifts) == 6
    assert "Z_TRUE" in made.redshifts.colnames


def test_nothing_of_the_template_is_left(package):
    for path in package.rglob("*"):
        assert "@" not in path.name
        if path.suffix in (".py", ".toml", ".md"):
            text = path.read_text()
            assert "@NAME@" not in text
            assert "@CLASS@" not in text
    assert (package / "src" / "zspec_weave" / "py.typed").exists()


@pytest.mark.parametrize("name", ["4hs", "my-survey", "hdu", "survey"])
def test_other_names_make_valid_python(name):
    """A name may start with a digit, or be that of a type which the adapter imports."""
    words = skeleton.slots(name)
    for place, text in skeleton.texts(words).items():
        if place.endswith(".py"):
            compile(text, place, "exec")
    assert words["CLASS"].isidentifier()
    imported = {"HDU", "Survey", "Arm", "Spectra", "Truth"}
    assert words["CLASS"] not in imported


@pytest.mark.parametrize("name", ["", "wea ve", "../x", "é", "_x"])
def test_a_name_that_cannot_be_one_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="expected letters, digits and _"):
        skeleton.write(name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(tmp_path):
    with pytest.raises(ConfigError, match="is installed already"):
        skeleton.write("DESI", tmp_path / "new", plugins.surveys().found)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="exists; choose another"):
        skeleton.write("weave", tmp_path / "there")
    with pytest.raises(OutputError, match="no such folder"):
        skeleton.write("weave", tmp_path / "no" / "where")
    assert list((tmp_path / "there").iterdir()) == []
