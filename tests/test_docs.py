"""The documentation cannot lie: generated pages are up to date, and all names are mentioned."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import tomli
from typer.testing import CliRunner

import zspec
from zspec import catalog, checkpoint, flags, plugins, training
from zspec.cli.app import COMMANDS, build
from zspec.survey import option_help

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
        "from_specutils",
        "hash_id",
        "hookimpl",
        "mock_spectra",
        "open_fits",
        "predict",
        "read",
        "to_angstrom",
        "to_flux_unit",
        "to_specutils",
        "write_fits",
    ]
)
"""What plugins rely on: a change here is a change of the contract."""


def loaded(name):
    """A script of docs as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator():
    return loaded("generate")


@pytest.mark.parametrize("page", generator().PAGES)
def test_generated_pages_are_up_to_date(page):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == generator().PAGES[page](), "run: python docs/generate.py"


def test_every_bit_and_column_is_in_the_reference():
    assert set(flags.SENTENCES) == set(flags.ZWarn)
    assert flags.names(int(flags.ZWarn.SKY) | 1 << 17) == ["SKY", "BIT17"]
    page = generator().catalogue()
    for flag in flags.ZWarn:
        assert f"| `{flag.name}` | {flags.SENTENCES[flag]} |" in page
    for column in (*(c for hdu in catalog.HDUS.values() for c in hdu), *catalog.REQUESTED):
        assert f"| `{column.name}` | {column.dtype} |" in page


def test_every_option_of_every_command_is_in_the_reference():
    """As typer itself shows them, so that no way of declaring one is missed."""
    page = generator().commands()
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        part = page.partition(f"## zspec {name}\n")[2].partition("\n## ")[0]
        shown = CliRunner().invoke(build(), [name, "--help"], env={"COLUMNS": "200"}).output
        options = set(re.findall(r"(?<=[ │])(--[a-z][\w-]*)", shown.partition("─ Options")[2]))
        for option in {o for o in options if not o.startswith("--no-")} - {"--help"}:
            assert f"`{option}`" in part, (name, option)


def test_every_recipe_key_and_model_is_in_the_reference():
    made = generator()
    page = made.recipes()
    for key in ("`train.epochs`", "`[class].good_dz`", "`label.z_range`", "`data.per_class`"):
        assert key in page
    for name in training.shipped():
        assert f"## {name}\n" in page
    cards = made.models()
    for name in checkpoint.models():
        assert f"## {name}\n" in cards


def test_every_public_name_is_in_the_reference():
    made = generator()
    listed = [name for names in made.API.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(PUBLIC)
    for name in PUBLIC:  # those that no group has come under "More"
        assert f"zspec.{name}" in made.api()


SHAPE = re.compile(r"\((n|m|k|pixel|wave|grid pixel|Σ count)\b[^)]*\)")
ARRAY = re.compile(r"NDArray|Floats?\b|Tensor")


def undocumented(name, value):
    """Array fields and functions of a public name whose docstring gives no shape."""
    if inspect.isfunction(value):
        known = SHAPE.search(value.__doc__) or not ARRAY.search(str(value.__annotations__))
        return [] if known else [name]
    texts, found = option_help(value) if "__annotations__" in vars(value) else {}, []
    for field, kind in vars(value).get("__annotations__", {}).items():
        told = f"{texts.get(field)} {value.__doc__}"
        if ARRAY.search(str(kind)) and not field.startswith("_") and not SHAPE.search(told):
            found.append(f"{name}.{field}")
    for member, inner in vars(value).items():
        function = getattr(inner, "fget", getattr(inner, "__func__", inner))
        if inspect.isfunction(function) and not member.startswith("_"):
            assert inspect.getdoc(function), f"{name}.{member} has no docstring"
            found += undocumented(f"{name}.{member}", function)
    return found


def test_every_array_of_the_public_names_has_a_shape():
    values = {name: getattr(zspec, name) for name in PUBLIC}
    wanted = {n: v for n, v in values.items() if inspect.isclass(v) or inspect.isfunction(v)}
    assert [one for name, value in wanted.items() for one in undocumented(name, value)] == []


def test_links_between_pages_lead_somewhere():
    """Those to other sites are for ``nox -s links``."""
    pages = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    assert len(pages) > 25
    built = set(generator().BUILT)
    for page in (p for p in pages if "_build" not in p.parts):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                place = (page.parent / link).resolve()
                known = place.exists() or any(place == ROOT / "docs" / name for name in built)
                assert known, f"{page.name}: {link}"
                inside = page.name == "README.md" or place.is_relative_to(ROOT / "docs")
                assert inside, f"{page.name}: the site does not hold {link}"


def test_every_page_is_in_a_table_of_contents():
    """Sphinx says so too, but only when the site is built."""
    listed = set()
    for page in ROOT.glob("docs/**/*.md"):
        for block in re.findall(r"```{toctree}\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            names = [line for line in block.split() if not line.startswith(":") and line != "2"]
            listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    pages = {p for p in ROOT.glob("docs/**/*.md") if "_build" not in p.parts}
    assert pages - listed == {ROOT / "docs" / "index.md"}


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


def test_broken_links_of_a_site_are_found(tmp_path):
    """As nox -s docs looks for them in the built one."""
    check = loaded("check_site").check
    (tmp_path / "b.html").write_text('<h1 id="top">B</h1><img src="b.png">')
    (tmp_path / "b.png").write_bytes(b"")
    link = '<a href="b.html#top">1</a><a href="https://example.org">2</a><a href="#here">3</a>'
    (tmp_path / "a.html").write_text(f'<p id="here">{link}</p>')
    assert check(tmp_path) == []
    bad = '<a href="c.html">1</a><a href="b.html#no">2</a>'
    script = '<script src="https://example.org/x.js"></script>'
    (tmp_path / "a.html").write_text(script + bad)
    assert check(tmp_path) == [
        "a.html: loads https://example.org/x.js",
        "a.html: no place b.html#no",
        "a.html: no file c.html",
    ]
    assert "no page" in check(tmp_path / "empty")[0]


def test_one_version_everywhere():
    """What is cited is what is installed, and the changelog begins with what comes next."""
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.search(r"^version: (\S+)$", cited, re.M)[1] == project["version"]
    assert re.search(r"^license: (\S+)$", cited, re.M)[1] == project["license"]
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heads[0] in ("Unreleased", project["version"])
