"""``--set artefacts.cosmics=0.1``: changes to a TOML file from the command line, strictly."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import tomli

from zspec.errors import ConfigError, unknown


def override(config: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """A copy of ``config`` with dotted keys set to TOML values.

    Only keys that are there can be set, to values of the type that is there. Raises ConfigError.
    """
    made = copy.deepcopy(dict(config))
    for dotted, text in settings.items():
        *tables, key = dotted.split(".")
        inner = made
        for table in tables:
            inner = inner.get(table, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {dotted}: {table} is no table")
        if key not in inner:
            raise ConfigError(unknown("setting", dotted, list(_dotted(made))))
        inner[key] = _value(dotted, text, inner[key])
    return made


def _dotted(config: Mapping[str, Any], before: str = "") -> list[str]:
    """All keys that can be set."""
    names: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            names += _dotted(value, f"{before}{key}.")
        elif not isinstance(value, list):
            names.append(before + key)
    return names


def _value(dotted: str, text: str, old: object) -> Any:
    """``text`` as TOML, of the type of ``old``; a whole number will do for a number."""
    try:
        value = tomli.loads(f"x = {text}")["x"]
    except tomli.TOMLDecodeError:
        value = text  # a bare word is text
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(old):
        raise ConfigError(f"--set {dotted}={text}: expected a value like {old!r}")
    return value
