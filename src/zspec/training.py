"""From a recipe to a checkpoint, whatever the estimator.

A recipe is TOML. Its key ``estimator`` says whose ``train`` runs; the rest is the estimator's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from zspec.errors import ConfigError, OutputError, unknown


def shipped() -> dict[str, Path]:
    """Recipes that come with zspec, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(name: str) -> dict[str, Any]:
    """The recipe of a shipped name or a TOML file. Raises ConfigError where there is none."""
    known = shipped()
    path = known.get(name, Path(name))
    if not path.is_file():
        raise ConfigError(unknown("recipe", name, known) + "; a .toml file works too")
    try:
        recipe = tomli.loads(path.read_text(encoding="utf-8"))
    except (tomli.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: is no TOML ({error})") from None
    if "estimator" not in recipe:
        raise ConfigError(f"{path}: key 'estimator' is missing")
    return recipe


def train(recipe: Mapping[str, Any], data: Path, output: Path, overwrite: bool = False) -> None:
    """Learn what ``recipe`` says from files below ``data``, and write the checkpoint ``output``.

    Raises OutputError where ``output`` exists and may not be replaced, and ConfigError or
    InputError where the recipe or its data make no sense.
    """
    from zspec import plugins

    if output.exists() and not overwrite:
        raise OutputError(f"{output}: exists; replace it with --overwrite")
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder")
    plugins.estimator(str(recipe["estimator"])).train(recipe, data, output)
