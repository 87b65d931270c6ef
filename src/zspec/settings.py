"""Tables of a recipe as frozen dataclasses, strictly: fields are keys, annotations their types.

Annotations that it knows: ``str``, ``bool``, ``int``, ``float``, ``Literal``, tuples of these,
mappings, and dataclasses, which are tables in the table.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from zspec.errors import ConfigError, unknown
from zspec.survey import WORDS

T = TypeVar("T")


def build(kind: type[T], given: Any, where: str = "") -> T:
    """An instance of a dataclass from the table ``where`` of a recipe; empty: the recipe itself.

    Raises ConfigError, one line that names the key, for an unknown or missing key, for a value of
    another type, and for what the dataclass itself finds wrong (ValueError).
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"recipe: key {where!r} must be a table")
    start = f"{where}." if where else ""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # T is one, as mypy cannot know
    for key in given:
        if key not in hints:
            known = [start + field.name for field in fields]
            raise ConfigError(f"recipe: {unknown('key', start + key, known)}")
    for field in fields:
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and field.name not in given:
            raise ConfigError(f"recipe: key {start + field.name!r} is missing")
    values = {key: _typed(hints[key], value, start + key) for key, value in given.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"recipe: {where + ': ' if where else ''}{error}") from None


def _typed(hint: Any, value: Any, key: str) -> Any:
    """``value`` as a field with this annotation holds it. Raises ConfigError."""
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key)  # type: ignore[arg-type]  # a type, not an instance
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            raise ConfigError(f"recipe: {key} = {value!r}: expected {len(kinds)} values")
        return tuple(_typed(kind, one, key) for kind, one in zip(kinds, value, strict=True))
    if origin is Literal:
        if value not in inner:
            raise ConfigError(f"recipe: {key} = {value!r}: expected {' or '.join(inner)}")
        return value
    if hint is float and type(value) is int:
        return float(value)
    plain = origin or hint
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise ConfigError(f"recipe: {key} = {value!r}: expected {WORDS.get(plain, 'table')}")
    return value
