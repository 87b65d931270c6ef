"""Finished units of work, wherever their rows are: in memory, in a shard, or in a catalogue.

A shard is a catalogue of some units, with HDU UNITS to say which. A whole catalogue is one unit for
each of its files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from zspec import catalog
from zspec.catalog import Labels
from zspec.errors import InputError
from zspec.layout import Layout, layout_of, pack, restore
from zspec.tables import PER_ROW

if TYPE_CHECKING:
    from zspec.prediction import Result

AT_ONCE = 100_000
"""Rows that are looked at at once."""


@dataclass(frozen=True)
class Record:
    """One finished unit."""

    file: str
    survey: str
    name: str
    """The unit's id; empty for what a whole catalogue holds of a file."""
    of: int
    """Rows of the file where it has several units; else 0."""
    stamp: str
    """Size and time of the file when it was read; empty where not known."""
    error: str
    layouts: Mapping[str, Layout]
    """Of each table."""
    first: Mapping[str, int]
    """Where its rows begin in each table of the shard."""
    shard: Path | None = None
    """Where its rows are; None: in memory."""
    tables: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    halved: int = 0
    """Times that a chunk was halved, as the device had no memory for it."""

    @property
    def rows(self) -> int:
        """Spectra that it gave."""
        return self.layouts["REDSHIFTS"].rows if "REDSHIFTS" in self.layouts else 0

    @property
    def span(self) -> tuple[int, int] | None:
        """First row and end of a unit that is a part of its file."""
        if not self.of:
            return None
        start, stop = self.name.rsplit(":", 1)[1].split("-")
        return int(start), int(stop)


def record(result: Result) -> Record:
    """What is finished, in memory."""
    stacked = {
        hdu: catalog.stack([part[hdu] for part in result.parts], catalog.HDUS[hdu])
        for hdu in (result.hdus if result.parts else ())
    }
    tables = {hdu: pack({c: made[c] for c in made.colnames}) for hdu, made in stacked.items()}
    unit = result.unit
    return Record(
        catalog.ascii_name(unit.file),
        result.survey,
        unit.name,
        unit.of,
        result.stamp,
        result.error,
        {hdu: layout_of(rows) for hdu, rows in tables.items()},
        {},
        tables=tables,
        halved=result.halved,
    )


def units_table(records: Sequence[Record]) -> NDArray[Any]:
    """HDU UNITS of a shard: one row for each of its units."""
    known = sorted({hdu for one in records for hdu in one.layouts})
    columns: dict[str, list[Any]] = {
        "UNIT": [r.name for r in records],
        "FILE": [r.file for r in records],
        "SURVEY": [r.survey for r in records],
        "OF": [r.of for r in records],
        "STAMP": [r.stamp for r in records],
        "HALVED": [r.halved for r in records],
        "ERROR": [r.error for r in records],
    }
    for hdu in known:
        columns[hdu] = [r.layouts[hdu].text() if hdu in r.layouts else "" for r in records]
    return pack({name: np.array(values) for name, values in columns.items()})


def read_records(path: Path) -> tuple[list[Record], dict[str, Any], Labels]:
    """Units of a shard or a catalogue, its primary header, and what it tells of its columns.

    Raises InputError where zspec wrote no such file.
    """
    try:
        with warnings.catch_warnings(), fits.open(path, memmap=True) as hdus:
            warnings.simplefilter("error", AstropyUserWarning)  # as of a file that was cut
            _check_size(hdus, path)
            if "ZSPECVER" not in hdus[0].header or "REDSHIFTS" not in hdus:
                raise InputError(f"{path}: is no catalogue of zspec (no ZSPECVER, no REDSHIFTS)")
            header = {k: v for k, v in hdus[0].header.items() if k not in catalog.STRUCTURE}
            labels = _labels(hdus["REDSHIFTS"].header)
            found = _of_shard(hdus, path) if "UNITS" in hdus else _of_catalogue(hdus, path)
            return list(found), header, labels
    except catalog.DAMAGE as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _check_size(hdus: fits.HDUList, path: Path) -> None:
    """Raise OSError where a file is shorter than its headers say."""
    last = hdus.fileinfo(len(hdus) - 1)
    if last["datLoc"] + last["datSpan"] > path.stat().st_size:
        raise OSError("truncated")


def _labels(header: fits.Header) -> Labels:
    numbers = range(1, header["TFIELDS"] + 1)
    return {
        header[f"TTYPE{n}"]: (header.get(f"TUNIT{n}", ""), header.get(f"TCOMM{n}", ""))
        for n in numbers
    }


def _of_shard(hdus: fits.HDUList, path: Path) -> Iterator[Record]:
    """The units that HDU UNITS lists."""
    listed = Table.read(hdus["UNITS"], mask_invalid=False)
    listed.convert_bytestring_to_unicode()
    at = dict.fromkeys(catalog.HDUS, 0)
    cache: dict[str, Layout] = {}
    for row in listed:
        texts = {hdu: str(row[hdu]) for hdu in catalog.HDUS if hdu in listed.colnames and row[hdu]}
        layouts = {hdu: cache.setdefault(text, restore(text)) for hdu, text in texts.items()}
        yield Record(
            file=str(row["FILE"]),
            survey=str(row["SURVEY"]),
            name=str(row["UNIT"]),
            of=int(row["OF"]),
            stamp=str(row["STAMP"]),
            error=str(row["ERROR"]),
            layouts=layouts,
            first={hdu: at[hdu] for hdu in layouts},
            shard=path,
            halved=int(row["HALVED"]),
        )
        for hdu, layout in layouts.items():
            at[hdu] += layout.rows


def _of_catalogue(hdus: fits.HDUList, path: Path) -> Iterator[Record]:
    """One unit for each file that a catalogue lists."""
    files = Table.read(hdus["FILES"], mask_invalid=False)
    files.convert_bytestring_to_unicode()
    tables = [hdu for hdu in catalog.HDUS if hdu in hdus and hdu != "FILES"]
    runs = {hdu: _runs(hdus[hdu]) for hdu in tables}
    if "HALVED" not in files.colnames:
        files["HALVED"] = 0  # of a zspec that halved nothing
    names = ("FILE", "SURVEY", "HALVED", "ERROR")
    for file, survey, halved, error in files.iterrows(*names):
        spans = {hdu: runs[hdu].get(str(file), (0, 0)) for hdu in tables}
        layouts = {hdu: _layout(hdus[hdu], *span) for hdu, span in spans.items()}
        first = {hdu: start for hdu, (start, _) in spans.items()}
        record = Record(str(file), str(survey), "", 0, "", str(error), layouts, first, path)
        yield replace(record, halved=int(halved))


def _runs(hdu: fits.BinTableHDU) -> dict[str, tuple[int, int]]:
    """First row and end of each file in a table, whose rows stand together."""
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, hdu.header["NAXIS2"], AT_ONCE):
        names = np.asarray(hdu.data[start : start + AT_ONCE]["FILE"])
        edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        for begin, end in pairwise(edges):
            name = str(names[begin])
            found[name] = (found.get(name, (start + begin, 0))[0], start + end)
    return found


def _layout(hdu: fits.BinTableHDU, start: int, stop: int) -> Layout:
    """The layout of some rows of a table."""
    long = any(column.format.startswith(("P", "Q")) for column in hdu.columns)
    some = _packed(hdu, start, stop if long else start)
    whole = layout_of(some)
    return Layout(whole.dtype, stop - start, whole.longest, whole.values)


def _packed(hdu: fits.BinTableHDU, start: int, stop: int) -> NDArray[Any]:
    """Rows of an open table in memory, as a structured array in native byte order."""
    data, columns = hdu.data[start:stop], {}
    for column in hdu.columns:
        values = np.asarray(data[column.name])
        if column.format.startswith(("P", "Q")):
            long = np.empty(len(values), object)
            long[:] = [np.asarray(v, np.float32) for v in data[column.name]]
            columns[column.name] = long
        elif column.format.endswith("A"):  # as wide as declared, though no row needs it
            width = int(column.format[:-1] or 1)
            columns[column.name] = np.char.encode(values, "ascii").astype(f"S{width}")
        else:
            columns[column.name] = values.astype(values.dtype.newbyteorder("="))
    return pack(columns)


def rows_of(records: Iterable[Record], hdu: str) -> Iterator[NDArray[Any]]:
    """The rows of a table, record after record, at most ``AT_ONCE`` at once.

    One shard is open at a time. Raises InputError where a shard is gone or damaged.
    """
    place: Path | None = None
    opened: fits.HDUList | None = None
    try:
        for one in records:
            if one.shard is None or not one.layouts[hdu].rows:
                if one.shard is None:
                    yield one.tables[hdu]
                continue
            if one.shard != place:
                if opened is not None:
                    opened.close()
                place, opened = one.shard, fits.open(one.shard, memmap=True)
            assert opened is not None  # with place
            start, stop = one.first[hdu], one.first[hdu] + one.layouts[hdu].rows
            for at in range(start, stop, AT_ONCE):
                yield _packed(opened[hdu], at, min(at + AT_ONCE, stop))
    except catalog.DAMAGE as error:
        raise InputError(f"{place}: cannot be read ({error})") from None
    finally:
        if opened is not None:
            opened.close()


def tables_of(records: Sequence[Record]) -> list[str]:
    """Names of the tables of a catalogue of these units, in their order."""
    there = {hdu for one in records for hdu in one.layouts}
    return [hdu for hdu in catalog.HDUS if hdu in PER_ROW or hdu in there]


def whole(done: Iterable[Record]) -> set[str]:
    """Files of which no unit is missing."""
    rows: dict[str, int] = {}
    complete = set()
    for one in done:
        start, stop = one.span or (0, 0)
        rows[one.file] = rows.get(one.file, 0) + stop - start
        if rows[one.file] == one.of:  # 0 of a file that is one unit
            complete.add(one.file)
    return complete


def placed(done: Sequence[Record], shard: Path) -> Iterator[Record]:
    """The same units without their rows, which now stand in a shard one after the other."""
    at = dict.fromkeys(catalog.HDUS, 0)
    for one in done:
        yield replace(one, shard=shard, tables={}, first={hdu: at[hdu] for hdu in one.layouts})
        for hdu, layout in one.layouts.items():
            at[hdu] += layout.rows
