"""One catalogue of finished units, in the order that is given and in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import catalog, leftovers, manifest, records, tablestream
from zspec.catalog import Labels
from zspec.errors import ConfigError, InputError
from zspec.layout import Layout, cast, join, layout_of, pack
from zspec.prediction import adapters, cut, numbered
from zspec.records import Record, read_records
from zspec.tablestream import Streamed

Seen = Callable[[NDArray[Any]], None]
"""Takes rows of REDSHIFTS as they are written, for a summary."""

AGREE = ("MODEL", "MODELSHA", "CALIB", "WANTED", "ZRANGE", "OPTIONS", "ZSPECVER")
"""Cards that catalogues must have in common to be one."""


def ignore(rows: NDArray[Any]) -> None:
    """Take rows, and do nothing."""


def write_catalogue(
    path: Path,
    header: Mapping[str, Any],
    done: Sequence[Record],
    labels: Labels,
    seen: Seen = ignore,
    beside: Path | None = None,
) -> None:
    """Write the catalogue of finished units at ``beside``, and rename it to ``path``.

    A file that any of its units failed for has no rows. Raises OutputError and InputError.
    """
    files = _files(done)
    failed = {str(file) for file, error in zip(files["FILE"], files["ERROR"], strict=True) if error}
    kept = [one for one in done if one.file not in failed]
    tables = [
        _streamed(hdu, kept, labels, seen if hdu == "REDSHIFTS" else ignore)
        for hdu in records.tables_of(kept)
    ]
    listed = pack(catalog.typed(catalog.FILES, files))
    tables.append(catalog.streamed("FILES", layout_of(listed), lambda: [listed], {}))
    leftovers.sweep(path)
    cards = {**_found(done), **header}
    tablestream.write(path, catalog.primary(cards), tables, beside or leftovers.beside(path))


def _found(done: Sequence[Record]) -> dict[str, Any]:
    """Cards of what turned out: which adapters read, and how often chunks were halved."""
    return {**adapters([one.survey for one in done]), **cut([one.halved for one in done])}


def write_shard(
    path: Path, header: Mapping[str, Any], done: Sequence[Record], labels: Labels, beside: Path
) -> None:
    """Write units that are in memory as a shard: a catalogue with HDU UNITS.

    Raises OutputError.
    """
    whole = [one for one in done if not one.error]
    tables = [_streamed(hdu, whole, labels, ignore) for hdu in records.tables_of(whole)]
    listed = pack(catalog.typed(catalog.FILES, _files(done)))
    units = records.units_table(done)
    tables.append(catalog.streamed("FILES", layout_of(listed), lambda: [listed], {}))
    tables.append(catalog.streamed("UNITS", layout_of(units), lambda: [units], {}))
    tablestream.write(path, catalog.primary({**_found(done), **header}), tables, beside)


def _files(done: Sequence[Record]) -> catalog.Columns:
    return catalog.list_files([(r.file, r.survey, r.rows, r.halved, r.error) for r in done])


def _streamed(hdu: str, done: Sequence[Record], labels: Labels, seen: Seen) -> Streamed:
    """One table of finished units, to be written."""
    having = [one for one in done if hdu in one.layouts]
    empty = {c.name: np.zeros(0, c.held) for c in catalog.HDUS[hdu]}
    last = [c.name for c in catalog.TRUTH] if hdu == "REDSHIFTS" else []
    layout = join([one.layouts[hdu] for one in having] or [layout_of(pack(empty))], last)
    return catalog.streamed(hdu, layout, partial(_parts, hdu, having, layout, seen), labels)


def _parts(hdu: str, done: Sequence[Record], layout: Layout, seen: Seen) -> Iterator[NDArray[Any]]:
    for rows in records.rows_of(done, hdu):
        wide = cast(rows, layout.dtype)
        seen(wide)
        yield wide


@dataclass(frozen=True)
class Merged:
    """What became of several catalogues."""

    done: list[Record]
    calibrated: bool


def merge(paths: Sequence[Path], output: Path, command: str, seen: Seen = ignore) -> Merged:
    """Write one catalogue of catalogues or shards, in their order.

    Raises InputError where one is no catalogue of zspec, where two hold the same unit or a part of
    a file is missing, and ConfigError where they are of different models, options or versions.
    """
    done: list[Record] = []
    header: dict[str, Any] = {}
    labels: dict[str, tuple[str, str]] = {}
    for path in paths:
        found, cards, told = read_records(path)
        _check_same(paths[0], header or cards, path, cards)
        header, labels = _joined(header or cards, cards, path), {**told, **labels}
        done += found
    done = ordered(done)
    check_whole(done)
    hashed = catalog.inputs_hash(list(dict.fromkeys(one.file for one in done)))
    header |= {"INHASH": hashed, "COMMAND": command, "NMERGED": (len(paths), "catalogues merged")}
    write_catalogue(output, header, done, labels, seen)
    return Merged(done, bool(header.get("CALIB", False)))


def _joined(cards: Mapping[str, Any], more: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Cards with the adapters of one more catalogue, which read with the same distributions.

    Of what was asked for, what all were asked; HALVED is counted anew. Raises ConfigError.
    """
    readers = manifest.readers(cards)
    for name, text in manifest.readers(more).items():
        if readers.setdefault(name, text) != text:
            raise ConfigError(
                f"{path}: was read by {text}, but others by {readers[name]}; predict both alike to "
                "merge them"
            )
    gone = {"HALVED", *manifest.reader_cards(cards)}
    gone |= {"SURVEY"} if cards.get("SURVEY") != more.get("SURVEY") else set()
    return {**{k: v for k, v in cards.items() if k not in gone}, **numbered(readers.values())}


def _check_same(
    one: Path, cards: Mapping[str, Any], other: Path, theirs: Mapping[str, Any]
) -> None:
    """Raise ConfigError where two headers are not of one kind of run."""
    for card in AGREE:
        if cards.get(card) != theirs.get(card):
            raise ConfigError(
                f"{other}: {card} is {theirs.get(card)!r}, but {cards.get(card)!r} in {one}; "
                "predict both alike to merge them"
            )


def ordered(done: Sequence[Record]) -> list[Record]:
    """The same with the units of a file together, in its order."""
    places = {file: i for i, file in enumerate(dict.fromkeys(one.file for one in done))}
    return sorted(done, key=lambda one: (places[one.file], one.span or (0, 0)))


def check_whole(done: Sequence[Record]) -> None:
    """Raise InputError where units of a file are there twice, missing, or of two states of it.

    ``done`` is in order. A file that failed need not be whole.
    """
    failed = {one.file for one in done if one.error}
    reached: dict[str, int] = {}
    stamps: dict[str, str] = {}
    for one in done:
        if one.file not in failed and stamps.setdefault(one.file, one.stamp) != one.stamp:
            raise InputError(f"{one.file}: changed between two of these; predict it again")
        start, stop = one.span or (0, 1)
        if start < reached.get(one.file, 0):
            raise InputError(f"{one.file}: is in two of these catalogues; leave one of them out")
        if one.file not in failed and start > reached.get(one.file, 0):
            _missing(one.file, reached.get(one.file, 0), start)
        reached[one.file] = stop
    for one in done:
        if one.of and one.file not in failed and reached[one.file] < one.of:
            _missing(one.file, reached[one.file], one.of)


def _missing(file: str, start: int, stop: int) -> None:
    raise InputError(
        f"{file}: rows {start} to {stop - 1} are in none of these; finish that run with --resume"
    )
