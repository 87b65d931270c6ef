"""From rows of a catalogue to targets: spectra by FILE and ROW, candidates, p(z)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from zspec import catalog, sources
from zspec.catalog import Catalog
from zspec.density import gather as gather_densities
from zspec.errors import InputError
from zspec.inspection.places import locate
from zspec.inspection.targets import Floats, Solution, Target
from zspec.sources import Source
from zspec.survey import Spectra

Key = tuple[str, int]
"""FILE and ROW: unique in a catalogue."""
SAME_DZ = 1e-6
"""In ln(1 + z), within which a candidate is the answer itself."""


def gather(
    path: Path, rows: Sequence[int] | None = None, given: Sequence[Path] = ()
) -> Iterator[Target]:
    """Targets of some rows of a catalogue, file by file, those of a file in the file's order.

    ``rows`` from 0, None for all; ``given`` are files or folders where FILE is looked for. Raises
    InputError where the catalogue, a file or a row of it cannot be read.
    """
    made = catalog.read(path)
    known = made.redshifts
    wanted = np.arange(len(known)) if rows is None else np.asarray(rows, int)
    candidates, densities = _candidates(made), _densities(made)
    files = [str(file) for file in known["FILE"]]
    alone = len(set(files)) == 1
    readers = readers_of(made)
    for file in dict.fromkeys(files[i] for i in wanted):
        mine = {int(known["ROW"][i]): int(i) for i in wanted if files[i] == file}
        source = Source(locate(file, path, given, alone), readers.get(file), options(made))
        for row, spectra in _spectra(source, sorted(mine)):
            plain = _plain(known, mine[row])
            yield Target(
                mine[row],
                plain,
                spectra.arms,
                _solutions(plain, candidates.get((file, row), [])),
                densities.get((file, row)),
            )


def options(made: Catalog) -> Mapping[str, Any]:
    """What was chosen of the survey's options when the catalogue was made: card OPTIONS."""
    chosen: Mapping[str, Any] = json.loads(str(made.header.get("OPTIONS", "{}")) or "{}")
    return chosen


def readers_of(made: Catalog) -> dict[str, str]:
    """The survey that read each FILE: HDU FILES."""
    table = made.tables.get("FILES")
    if table is None:
        return {}
    return {str(f): str(s) for f, s in zip(table["FILE"], table["SURVEY"], strict=True) if s}


def _spectra(source: Source, rows: Sequence[int]) -> Iterator[tuple[int, Spectra]]:
    """The spectrum of each ROW. Raises InputError for a file that lacks one."""
    wanted = set(rows)
    _, chunks = sources.read(source)
    for chunk in chunks:
        for i, row in enumerate(chunk.rows.tolist()):
            if row in wanted:
                wanted.remove(row)
                yield row, chunk[i : i + 1]
        if not wanted:
            return
    raise InputError(f"{source.path}: has no row {min(wanted)}, which the catalogue names")


def _plain(table: Table, row: int) -> dict[str, Any]:
    """One row as plain values."""
    return {name: np.asarray(table[name])[row].item() for name in table.colnames}


def _keys(table: Table) -> list[Key]:
    return [(str(f), int(r)) for f, r in zip(table["FILE"], table["ROW"], strict=True)]


def _candidates(made: Catalog) -> dict[Key, list[Solution]]:
    """Candidates by rank of each spectrum."""
    table = made.tables.get("CANDIDATES")
    found: dict[Key, list[Solution]] = {}
    if table is not None:
        for i, key in enumerate(_keys(table)):
            one = _solution({name: table[name][i] for name in _SHOWN})
            found.setdefault(key, []).append(one)
    return found


_SHOWN = ("SPECTYPE", "CLASS", "Z", "ZERR", "PROB", "CHI2")


def _solution(row: Mapping[str, Any]) -> Solution:
    z, zerr, prob, chi2 = (float(row[name]) for name in ("Z", "ZERR", "PROB", "CHI2"))
    return Solution(str(row["SPECTYPE"]), str(row["CLASS"]), z, zerr, prob, chi2)


def _solutions(row: Mapping[str, Any], candidates: Sequence[Solution]) -> tuple[Solution, ...]:
    """The answer first, which need not be the first candidate; none without data."""
    if not row["SPECTYPE"]:
        return ()
    answer = _solution(row)
    others = [one for one in candidates if not _same(one, answer)]
    same = next((one for one in candidates if _same(one, answer)), answer)
    return (same, *others)


def _same(one: Solution, other: Solution) -> bool:
    near = abs(np.log1p(one.z) - np.log1p(other.z)) < SAME_DZ
    return one.label == other.label and bool(near)


@dataclass(frozen=True)
class _Zpdf:
    """p(z) of each spectrum, made when asked for."""

    table: Table | None
    place: Mapping[Key, list[int]]

    def get(self, key: Key) -> tuple[Floats, Floats] | None:
        """U and p(u); None where the catalogue has none of this spectrum."""
        at = self.place.get(key)
        if self.table is None or not at:
            return None
        mine = self.table[at]
        values: list[NDArray[Any]] = list(mine["DENSITY"])
        none = np.zeros(len(mine), np.int16)
        start, step = (np.asarray(mine[name], np.float64) for name in ("START", "STEP"))
        return gather_densities(none, none, start, step, values).marginal(0)


def _densities(made: Catalog) -> _Zpdf:
    table = made.tables.get("ZPDF")
    place: dict[Key, list[int]] = {}
    for i, key in enumerate([] if table is None else _keys(table)):
        place.setdefault(key, []).append(i)
    return _Zpdf(table, place)
