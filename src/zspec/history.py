"""The course of a training as a table: ``history.csv``."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zspec.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write(path: Path, lines: Sequence[DataclassInstance]) -> None:
    """Write one or more lines, dataclasses of one kind, under their fields. Raises OutputError."""
    names = [field.name for field in dataclasses.fields(lines[0])]
    try:
        with path.open("w", newline="", encoding="utf-8") as handle:
            table = csv.DictWriter(handle, names)
            table.writeheader()
            table.writerows(dataclasses.asdict(line) for line in lines)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
