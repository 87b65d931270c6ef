"""Units of work: a file, or some rows of a large one. Each is predicted by itself, always the same.

A unit is read with ``Survey.read(path, rows)`` and cut into arithmetic chunks that never cross its
ends. So its rows are the same bit for bit whether it is done first or last, again, or elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zspec import remote, sources
from zspec.errors import ZspecError
from zspec.remote import Place, Url
from zspec.sources import Source

CHUNKS = 8
"""Arithmetic chunks of a unit: of 64 rows, the 512 that a file of one DESI petal has."""
SMALL = 1 << 20
"""Bytes of a file that is one unit without a look into it."""


@dataclass(frozen=True)
class Unit:
    """Some rows of a file."""

    source: Source
    rows: range | None = None
    """None: all of them."""
    of: int = 0
    """Rows of the file where it has several units; else 0."""
    place: float = 0.0
    """Inputs before its first row, of a file with several units a part of one; for progress."""
    ends: float = 1.0
    """The same of its last row."""
    stamp: str = ""
    """What the file looked like when its rows were counted; empty of a file that is one unit."""

    @property
    def file(self) -> str:
        """The input's name, as given."""
        return str(self.source.path)

    def reached(self, row: int) -> float:
        """The same of a row in it; not known, and so its start, of a file that is one unit."""
        return self.place + (row - self.rows.start) / self.of if self.rows else self.place

    @property
    def name(self) -> str:
        """Its id, the same in every run: a hash of the file's name, and the rows."""
        return unit_name(self.file, self.rows)


def unit_name(file: str, rows: range | None) -> str:
    """The id of some rows of a file."""
    digest = hashlib.sha256(file.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{digest}:{rows.start}-{rows.stop}" if rows is not None else f"{digest}:all"


def stamp(path: Place | str) -> str:
    """Size and time of a file, which say whether it changed; empty where it is gone.

    Of a URL: what its store says.
    """
    if remote.is_url(path):
        return remote.stamp(str(path))
    try:
        state = os.stat(str(path))
    except OSError:
        return ""
    return f"{state.st_size}:{state.st_mtime_ns}"


def changed(file: str) -> int:
    """When a file came to be as it is; 0 where it is gone, and of a URL: not all stores say.

    One that was moved here over another may have been written long before.
    """
    try:
        state = os.stat(file)
        return max(state.st_mtime_ns, state.st_ctime_ns)
    except OSError:
        return 0


def split(source: Source, size: int, number: int = 0) -> list[Unit]:
    """The units of input number ``number``, ``size`` rows each.

    A file is one unit where its adapter does not say how many rows it has, where it is gzipped
    (each unit would unpack all of it), where it is fetched (each would fetch all of it) and where
    it cannot be opened, which its reader then says.
    """
    try:
        state = "" if isinstance(source.path, Url) else stamp(source.path)
        count = 0 if _is_one(source.path) else sources.count(source)
    except (ZspecError, OSError):
        count = 0
    if count <= size:
        return [Unit(source, place=number, ends=number + 1)]
    ends = [min(at + size, count) for at in range(0, count, size)]
    return [
        Unit(source, range(at, end), count, number + at / count, number + end / count, state)
        for at, end in zip(range(0, count, size), ends, strict=True)
    ]


def _is_one(path: Place) -> bool:
    """Whether a file is small, gzipped or elsewhere."""
    if isinstance(path, Url):
        return True
    if path.stat().st_size <= SMALL:
        return True
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


def plan(
    inputs: Sequence[Source],
    size: int,
    is_done: Callable[[Unit], bool] = lambda unit: False,
    is_closed: Callable[[str], bool] = lambda file: False,
) -> Iterator[Unit]:
    """The units that are left, in the order of the inputs; a file is opened when its turn comes.

    ``is_closed`` says of a file that nothing of it is left to do, as after one of its units failed:
    half a file is none.
    """
    for number, source in enumerate(inputs):
        if is_closed(str(source.path)):
            continue
        for unit in split(source, size, number):
            if is_closed(unit.file):
                break
            if not is_done(unit):
                yield unit
