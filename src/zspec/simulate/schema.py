"""Tables of a TOML file as frozen dataclasses, strictly: fields are keys, annotations their types.

Instruments and populations are read by it. Annotations that it knows: numbers, text, ``bool``,
``Literal``, tuples of numbers, ``Knots`` (pairs) and ``Table`` (pairs with rising x, an array).
Anything else is handed on, a list as a tuple.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown

Kind = TypeVar("Kind")


def build(kind: type[Kind], given: Any, where: str) -> Kind:
    """An instance of a dataclass from a table. Raises ConfigError, one line that names ``where``.

    Unknown and missing keys are errors, and so are values that are not of the field's type.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: a table was expected")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise ConfigError(f"{where}: {unknown('key', key, fields)}")
    try:
        values = {k: _typed(v, str(fields[k].type), k) for k, v in given.items()}
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    for name, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise ConfigError(f"{where}: key {name!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:  # what a class itself finds wrong
        raise ConfigError(f"{where}: {error}") from None


def _typed(value: Any, kind: str, key: str) -> Any:
    """``value`` as a field that is annotated with ``kind`` holds it. Raises ValueError."""
    if kind.startswith("Table"):
        return _table(value, key)
    if kind == "Knots":
        return tuple((_number(x, key), _number(y, key)) for x, y in _pairs(value, key))
    if kind.startswith("tuple[float"):
        return _numbers(value, kind, key)
    if kind.startswith("float"):
        return _number(value, key)
    if kind == "int" and _number(value, key) != int(value):
        raise ValueError(f"{key} = {value!r}: a whole number was expected")
    if kind.startswith("Literal") and repr(value) not in kind:
        raise ValueError(f"{key} = {value!r}: one of {kind[8:-1]} was expected")
    for name, type_ in (("str", str), ("bool", bool)):
        if kind.startswith(name) and not isinstance(value, type_):
            raise ValueError(f"{key} = {value!r}: {name} was expected")
    return tuple(value) if isinstance(value, list) else int(value) if kind == "int" else value


def _number(value: Any, key: str) -> float:
    """A number as float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} = {value!r}: a number was expected")
    return float(value)


def _numbers(value: Any, kind: str, key: str) -> tuple[float, ...]:
    """A list of numbers: any length where ``kind`` has ``...``, else as many as it names."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{key} = {value!r}: a list of numbers was expected")
    if "..." not in kind and len(value) != kind.count("float"):
        raise ValueError(f"{key} = {value!r}: {kind.count('float')} numbers were expected")
    return tuple(_number(one, key) for one in value)


def _pairs(value: Any, key: str) -> list[Any]:
    """A list of pairs."""
    if not isinstance(value, list) or any(
        not isinstance(one, list) or len(one) != 2 for one in value
    ):
        raise ValueError(f"{key} = {value!r}: a list of pairs was expected")
    return value


def _table(value: Any, key: str) -> NDArray[np.float64]:
    """(n, 2) pairs with rising x."""
    table = np.asarray(_pairs(value, key), np.float64)
    if table.ndim != 2 or table.shape[1] != 2 or np.any(np.diff(table[:, 0]) <= 0):
        raise ValueError(f"{key}: rows of (Å, value) were expected, in order")
    return table
