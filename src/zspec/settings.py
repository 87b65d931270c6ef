"""Tables of a TOML file as frozen dataclasses, strictly: fields are keys, annotations their types.

Annotations that it knows: ``str``, ``bool``, ``int``, ``float``, ``Literal``, tuples of these,
mappings, dataclasses, which are tables in the table, arrays, which are pairs with rising x, and any
of them ``| None``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import tomli
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.survey import WORDS

T = TypeVar("T")


def load(path: Path) -> dict[str, Any]:
    """What a TOML file says. Raises ConfigError where it is missing or is none."""
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML ({error})") from None


def build(kind: type[T], given: Any, where: str = "", file: str = "recipe") -> T:
    """An instance of a dataclass from the table ``where`` of a file; empty: the file itself.

    Raises ConfigError, one line that names file and key, for an unknown or missing key, for a value
    of another type, and for what the dataclass itself finds wrong (ValueError).
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{file}: key {where!r} must be a table")
    start = f"{where}." if where else ""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # T is one, as mypy cannot know
    for key in given:
        if key not in hints:
            known = [start + field.name for field in fields]
            raise ConfigError(f"{file}: {unknown('key', start + key, known)}")
    # what is there comes first: where a key is misspelt or misplaced, others are missing for it
    values = {key: _typed(hints[key], value, start + key, file) for key, value in given.items()}
    for field in fields:
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and field.name not in given:
            raise ConfigError(f"{file}: key {start + field.name!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{file}: {where + ': ' if where else ''}{error}") from None


def _typed(hint: Any, value: Any, key: str, file: str) -> Any:
    """``value`` as a field with this annotation holds it. Raises ConfigError."""
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key, file)  # type: ignore[arg-type]  # a type, not an instance
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None: TOML has no null
        return _typed(inner[0], value, key, file)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _items(inner, value, key, file)
    if origin is np.ndarray:
        return _pairs(value, key, file)
    if origin is Literal:
        if value not in inner:
            raise ConfigError(f"{file}: {key} = {value!r}: expected {' or '.join(inner)}")
        return value
    if hint is float and type(value) is int:
        return float(value)
    plain = origin or hint
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise ConfigError(f"{file}: {key} = {value!r}: expected {WORDS.get(plain, 'table')}")
    return value


def _items(kinds: tuple[Any, ...], values: typing.Sequence[Any], key: str, file: str) -> Any:
    """A list as a tuple of these types; of any length where they end with an ellipsis."""
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(values)
    if len(kinds) != len(values):
        raise ConfigError(f"{file}: {key} = {values!r}: expected {len(kinds)} values")
    several = zip(kinds, values, strict=True)
    return tuple(_typed(kind, one, f"{key}[{i}]", file) for i, (kind, one) in enumerate(several))


def _pairs(value: Any, key: str, file: str) -> NDArray[np.float64]:
    """(n, 2) pairs with rising x."""
    rows = _typed(tuple[tuple[float, float], ...], value, key, file)
    table = np.array(rows, np.float64).reshape(-1, 2)
    if np.any(np.diff(table[:, 0]) <= 0):
        raise ConfigError(f"{file}: {key}: pairs [x, value] were expected, with rising x")
    return table
