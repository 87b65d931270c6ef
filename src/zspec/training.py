"""From a recipe to a checkpoint, whatever the estimator.

A recipe is TOML. Its key ``estimator`` says whose ``train`` runs; the rest is the estimator's own.
Tables ``[presets.NAME]`` hold what a preset changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli

from zspec.errors import ConfigError, OutputError, unknown


def shipped() -> dict[str, Path]:
    """Recipes that come with zspec, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(
    name: str, presets: Sequence[str] = (), settings: Sequence[str] = ()
) -> dict[str, Any]:
    """The recipe of a shipped name or a TOML file, changed by its presets, then by the settings.

    A setting is ``table.key=value``, the value as TOML has it; what is no TOML is text. Raises
    ConfigError where there is no such recipe or preset, and for a setting of another form.
    """
    known = shipped()
    path = known.get(name, Path(name))
    if not path.is_file():
        raise ConfigError(unknown("recipe", name, known) + "; a .toml file works too")
    try:
        recipe = tomli.loads(path.read_text(encoding="utf-8"))
    except (tomli.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: is no TOML ({error})") from None
    if "estimator" not in recipe and "learn" not in recipe:
        raise ConfigError(f"{path}: key 'estimator' is missing")
    known_presets = recipe.get("presets", {})
    for preset in presets:
        if preset not in known_presets:
            raise ConfigError(f"{path}: {unknown('preset', preset, known_presets)}")
        recipe = merge(recipe, known_presets[preset])
    for setting in settings:
        recipe = merge(recipe, parse_setting(setting))
    if presets or settings:
        recipe.pop("presets", None)  # what was chosen is in the rest
    return recipe


def merge(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with changed values; tables merge key by key, all else is replaced."""
    made = dict(recipe)
    for key, value in changes.items():
        old = made.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        made[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return made


def parse_setting(text: str) -> dict[str, Any]:
    """``train.epochs=50`` as nested tables. Raises ConfigError for text of another form.

    >>> parse_setting("train.epochs=50"), parse_setting("data.survey=desi")
    ({'train': {'epochs': 50}}, {'data': {'survey': 'desi'}})
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {text}: expected table.key=value")
    try:
        made: Any = tomli.loads(f"value = {value}")["value"]
    except tomli.TOMLDecodeError:
        made = value
    for part in reversed(key.split(".")):
        made = {part: made}
    return dict(made)


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
    if "learn" in recipe:
        return learner(str(recipe["learn"]))(recipe, data, output)
    plugins.estimator(str(recipe["estimator"])).train(recipe, data, output)


LEARNERS: Mapping[str, str] = {"sources": "zspec.simulate.sources.learn:train"}
"""What can be learned that is no estimator, by the recipe's key ``learn``: module and function."""


def learner(name: str) -> Callable[[Mapping[str, Any], Path, Path], None]:
    """The function of ``LEARNERS``. Raises ConfigError where there is none of this name."""
    if name not in LEARNERS:
        raise ConfigError(unknown("thing to learn", name, LEARNERS))
    module, _, function = LEARNERS[name].partition(":")
    found: Callable[[Mapping[str, Any], Path, Path], None]
    found = getattr(importlib.import_module(module), function)
    return found
