"""Which row of the truth belongs to which row of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, InputError
from zspec.evaluation.frame import FIBRE, MISSING, Frame

SPECTRUM = ("FILE", "ROW")
"""One spectrum of one file, where zspec made both tables."""
TARGET = "TARGETID"
KEYS = ((TARGET,), FIBRE)
"""What is tried after those where the user names nothing."""
EXACT = 2**53
"""Up to here every whole number is a float64."""


@dataclass(frozen=True)
class Match:
    """Rows that belong together."""

    rows: NDArray[np.intp]
    """(n,) rows of the catalogue, in its order."""
    truth_rows: NDArray[np.intp]
    """(n,) their rows in the truth."""
    notes: tuple[str, ...] = ()
    """How many matched and why others did not."""


def match(catalogue: Frame, truth: Frame, on: str | None = None) -> Match:
    """Match on ``row``, on named columns (``A,B=C``: B here is C in the truth), or on an id.

    An id is FILE and ROW, else TARGETID, else PLATE, MJD and FIBERID. A TARGETID of 0 or less is
    none. Of a truth's duplicates the first counts. Raises ConfigError where there is nothing to
    match on, InputError where nothing matches.
    """
    if on == "row":
        return _by_row(catalogue, truth)
    if on is None and (matched := _by_spectrum(catalogue, truth)):
        return matched
    pairs = _pairs(catalogue, truth, on)
    name = "-".join(mine for mine, _ in pairs)
    mine = [key(catalogue, here) for here, _ in pairs]
    theirs = [key(truth, there) for _, there in pairs]
    found, duplicates = join(mine, theirs)
    rows = np.flatnonzero(found >= 0)
    if not len(rows):
        raise InputError(
            f"no row of {catalogue.name} is in {truth.name} by {name} "
            f"(first here: {_example(catalogue, [here for here, _ in pairs])}; "
            f"there: {_example(truth, [there for _, there in pairs])}); name columns with --match"
        )
    notes = _notes(name, found, len(truth), duplicates)
    if on is None and all(table.find(c) for table in (catalogue, truth) for c in SPECTRUM):
        notes = (f"no FILE and ROW of {catalogue.name} is in {truth.name}: other files?", *notes)
    without = int(np.any([missing(column) for column in mine], axis=0).sum())
    if without:
        notes = (*notes, f"{without} rows have no {name}, and match none")
    return Match(rows, found[rows], notes)


def _by_spectrum(catalogue: Frame, truth: Frame) -> Match | None:
    """Rows of the same spectrum of the same file, and with the same TARGETID where both have it.

    A file is known by its path as it stands there, or else by its last part: mocks and their truth
    may be moved together. None where no row is: one object may be in other files there.
    """
    if not all(catalogue.find(c) and truth.find(c) for c in SPECTRUM):
        return None
    both = catalogue.find(TARGET) and truth.find(TARGET)
    rest = (*SPECTRUM[1:], TARGET) if both else SPECTRUM[1:]
    for name in (_text, _last_part):
        pair = [[name(t[SPECTRUM[0]]), *(t[c] for c in rest)] for t in (catalogue, truth)]
        found, duplicates = join(*pair)
        rows = np.flatnonzero(found >= 0)
        if len(rows):
            return Match(rows, found[rows], _notes("FILE and ROW", found, len(truth), duplicates))
    return None


def _last_part(paths: NDArray[Any]) -> NDArray[Any]:
    """Names of files without their folders."""
    return np.array([str(path).replace("\\", "/").rpartition("/")[2] for path in _text(paths)])


def key(frame: Frame, column: str) -> NDArray[Any]:
    """A column of a key; a TARGETID that stands for none is missing, so that it equals no other."""
    values = frame[column]
    if column.upper() != TARGET:
        return values
    none = no_id(values)
    if not none.any():
        return values
    if values.dtype.kind == "f":
        return np.where(none, np.nan, values)
    return np.where(none, MISSING, values.astype(np.int64))


def no_id(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a number stands for no id: 0, -1, and all that are negative."""
    if values.dtype.kind not in "iuf":
        return np.zeros(len(values), bool)
    return np.asarray(values <= 0)


def _by_row(catalogue: Frame, truth: Frame) -> Match:
    if len(catalogue) != len(truth):
        raise InputError(
            f"--match row: {catalogue.name} has {len(catalogue)} rows, "
            f"{truth.name} has {len(truth)}; name columns with --match"
        )
    rows = np.arange(len(catalogue))
    return Match(rows, rows, (f"{len(rows)} rows matched by their order",))


def _pairs(catalogue: Frame, truth: Frame, on: str | None) -> list[tuple[str, str]]:
    """(column here, column there) of the key."""
    if on is not None:
        parts = [part.partition("=") for part in on.split(",")]
        return [(here.strip(), (there or here).strip()) for here, _, there in parts]
    for key in KEYS:
        if all(catalogue.find(c) and truth.find(c) for c in key):
            return [(c, c) for c in key]
    raise ConfigError(
        f"{catalogue.name} and {truth.name} have neither TARGETID nor PLATE, MJD and FIBERID in "
        "common; name columns with --match A,B=C, or --match row"
    )


def join(
    mine: list[NDArray[Any]], theirs: list[NDArray[Any]]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each of my rows the first of theirs with an equal key, or -1; and which keys repeat.

    The second array, (n of mine,), is true where their table holds the key more than once. A key
    that is missing (NaN, empty text) equals none. Raises InputError where ids have lost digits.
    """
    here, there = _codes(mine, theirs)
    order = np.argsort(there, kind="stable")
    ordered = there[order]
    first = np.searchsorted(ordered, here, side="left")
    after = np.searchsorted(ordered, here, side="right")
    found = np.full(len(here), -1, np.intp)
    some = (after > first) & ~np.any([missing(column) for column in mine], axis=0)
    found[some] = order[first[some]]
    return found, some & (after - first > 1)


def _codes(
    mine: list[NDArray[Any]], theirs: list[NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One whole number for each key, equal where all of its columns are."""
    code = np.zeros(len(mine[0]) + len(theirs[0]), np.int64)
    for here, there in zip(mine, theirs, strict=True):
        both = np.concatenate(_alike(here, there))
        number = np.unique(both, return_inverse=True)[1]
        code = code * (int(number.max(initial=0)) + 1) + number
        code = np.unique(code, return_inverse=True)[1].astype(np.int64)  # so that none overflows
    return code[: len(mine[0])], code[len(mine[0]) :]


def _alike(here: NDArray[Any], there: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as whole numbers, or both as text, so that equal keys are equal and no digit is lost."""
    here, there = _whole(_text(here)), _whole(_text(there))
    if here.dtype != there.dtype and not here.dtype.kind == there.dtype.kind == "i":
        return here.astype("U"), there.astype("U")
    return here, there


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers that a table holds as floats (as where some are missing), as whole numbers."""
    if values.dtype.kind != "f":
        return values
    known = values[np.isfinite(values)]
    if np.any(np.abs(known) >= EXACT):
        raise InputError(f"ids like {known[0]:.0f} are stored as floats, which loses their digits")
    if np.any(known != np.round(known)):
        return values
    return np.where(np.isfinite(values), values, MISSING).astype(np.int64)


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows without a key."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind not in "iSU":
        return np.zeros(len(values), bool)
    return np.asarray(values == (MISSING if values.dtype.kind == "i" else values.dtype.type()))


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(values, "ascii", "replace") if values.dtype.kind == "S" else values


def _notes(
    name: str, found: NDArray[np.intp], truths: int, duplicates: NDArray[np.bool_]
) -> tuple[str, ...]:
    """How many matched, what did not, and what matches twice."""
    matched = int((found >= 0).sum())
    unused = truths - len(np.unique(found[found >= 0]))
    notes = [
        f"{matched} of {len(found)} rows matched on {name}; {len(found) - matched} are not in the "
        f"truth; {unused} rows of the truth are used by none"
    ]
    if duplicates.any():
        notes.append(f"{int(duplicates.sum())} rows match several of the truth: the first counts")
    return tuple(notes)


def _example(frame: Frame, columns: list[str]) -> str:
    """The key of the first row."""
    first = [_text(frame[column][:1]) for column in columns]
    return "-".join(str(value[0]) for value in first) if len(frame) else "no row"
