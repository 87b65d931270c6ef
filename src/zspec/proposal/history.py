"""The course of a training as ``history.csv``: a line a validation."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zspec.errors import OutputError


@dataclass(frozen=True)
class Line:
    """A training as it stood after some steps."""

    step: int
    rate: float
    seconds: float
    """CPU time of all steps."""
    train: float
    """Mean loss of the steps since the line before, augmented."""
    valid: float
    """Loss on the validation set."""
    right: float
    """Share of validation objects with the true class."""
    near: float
    """Share of them whose highest bin is within three of the truth."""


def write(path: Path, lines: Sequence[Line]) -> None:
    """Write the table. Raises OutputError."""
    names = [one.name for one in dataclasses.fields(Line)]
    try:
        with path.open("w", newline="", encoding="utf-8") as handle:
            table = csv.DictWriter(handle, names)
            table.writeheader()
            table.writerows(dataclasses.asdict(line) for line in lines)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
