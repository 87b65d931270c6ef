"""The documentation cannot lie: generated pages are up to date, and all names are mentioned."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import zspec
from zspec import flags, plugins
from zspec.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


PUBLIC = sorted(
    [
        "Arm",
        "Candidates",
        "Chunk",
        "ClassSpec",
        "ConfigError",
        "Densities",
        "Estimator",
        "ExtraColumn",
        "FitsFile",
        "HDU",
        "InputError",
        "OutputError",
        "PluginError",
        "Prediction",
        "Spectra",
        "SpectrumBatch",
        "Survey",
        "Truth",
        "WaveGrid",
        "ZWarn",
        "ZspecError",
        "air_to_vacuum",
        "cramer_rao",
        "hash_id",
        "hookimpl",
        "mock_spectra",
        "open_fits",
        "predict",
        "read",
        "to_angstrom",
        "to_flux_unit",
        "write_fits",
    ]
)
"""What plugins rely on: a change here is a change of the contract."""


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["catalogue.md", "surveys.md"])
def test_generated_pages_are_up_to_date(page):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == generator().PAGES[page](), "run: python docs/generate.py"


def test_every_bit_has_a_sentence():
    assert set(flags.SENTENCES) == set(flags.ZWarn)
    assert flags.names(int(flags.ZWarn.SKY) | 1 << 17) == ["SKY", "BIT17"]


def test_readme_names_every_survey_and_command():
    for name in ("sdss", "desi", "4most", "csst"):
        assert name in plugins.installed()
        assert f"`{name}`" in README
    for command in COMMANDS:
        assert "zspec " + command.__name__.replace("_", "-") in README


def test_readme_tree_is_true():
    tree = re.search(r"## The tree\n\n```\n(.*?)```", README, re.S).group(1)
    for line in tree.splitlines():
        path = line.split("  ")[0].strip()
        assert (ROOT / path).exists(), path


def test_public_names():
    """Each has a docstring; there are no others than those of __all__."""
    for name in zspec.__all__:
        assert getattr(zspec, name).__doc__, name
    assert sorted(zspec.__all__) == PUBLIC
    assert set(zspec._HOME) == set(zspec.__all__)
    with pytest.raises(AttributeError):
        zspec.no_such_name  # noqa: B018


def test_adapters_import_public_names_only():
    """As import-linter holds it too, but without the extra."""
    files = [*ROOT.glob("plugins/*/*.py"), *ROOT.glob("examples/*/src/*/*.py")]
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zspec."):
                raise AssertionError(f"{file}: from {node.module} import ...")
            if isinstance(node, ast.ImportFrom) and node.module == "zspec":
                assert {name.name for name in node.names} <= set(PUBLIC), file
