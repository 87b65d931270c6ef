"""What an evaluation is given: which catalogue, which classes are one, which sigma is too large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import tomli

from zspec.errors import ConfigError, InputError
from zspec.fits import open_fits


def newest(folder: Path) -> Path:
    """The catalogue of zspec that was written last in a folder. Raises InputError."""
    found = next(catalogues(folder), None)
    if found is None:
        raise InputError(f"{folder.resolve()}: no catalogue of zspec here; name a file")
    return found


def catalogues(folder: Path) -> Iterator[Path]:
    """The finished catalogues of zspec in a folder, the newest first.

    Hidden files are none.
    """
    files = [path for path in folder.glob("*.fits") if not path.name.startswith(".")]
    files = [path for path in files if path.is_file()]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return filter(is_catalogue, files)


def is_catalogue(path: Path) -> bool:
    """Whether zspec wrote this file."""
    try:
        with open_fits(path) as handle:
            return handle.has("REDSHIFTS") and "ZSPECVER" in handle.header(0)
    except InputError:
        return False


def read_coarse(path: Path) -> dict[str, str]:
    """Class to coarser class, from the table ``[coarse]`` of a TOML file. Raises ConfigError.

    ``GALAXY = ["LRG", "ELG"]`` makes both of them GALAXY.
    """
    try:
        groups = tomli.loads(path.read_text(encoding="utf-8")).get("coarse")
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None
    if not isinstance(groups, Mapping) or not all(isinstance(v, list) for v in groups.values()):
        raise ConfigError(f'{path}: expected a table [coarse] of lists, as GALAXY = ["LRG", "ELG"]')
    coarse: dict[str, str] = {}
    for name, members in groups.items():
        for member in map(str, members):
            if coarse.setdefault(member, name) != name:
                raise ConfigError(f"{path}: {member} is in both {coarse[member]} and {name}")
    return coarse


def parse_robust(text: str | None) -> dict[str, float] | float | None:
    """``0.001``, or ``GALAXY=0.001,QSO=0.03``. Raises ConfigError."""
    if text is None:
        return None
    try:
        if "=" not in text:
            return float(text)
        parts = (part.split("=") for part in text.split(","))
        return {name.strip(): float(value) for name, value in parts}
    except ValueError:
        raise ConfigError(f"--robust {text}: expected a number or CLASS=NUMBER,...") from None
