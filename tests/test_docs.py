"""The documentation cannot lie: generated pages are up to date, and all names are mentioned."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import zspec
from zspec import flags, plugins
from zspec.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
        assert f"zspec {command.__name__}" in README


def test_readme_tree_is_true():
    tree = re.search(r"## The tree\n\n```\n(.*?)```", README, re.S).group(1)
    for line in tree.splitlines():
        path = line.split("  ")[0].strip()
        assert (ROOT / path).exists(), path


def test_public_names():
    """Each has a docstring; there are no others than those of __all__."""
    for name in zspec.__all__:
        assert getattr(zspec, name).__doc__, name
    assert dir(zspec) == sorted(zspec.__all__)
    with pytest.raises(AttributeError):
        zspec.no_such_name  # noqa: B018
