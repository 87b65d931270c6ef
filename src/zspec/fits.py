"""Reading and writing FITS for adapters: only what is asked for, any case, and clear errors.

A thin layer over fitsio: HDUs and columns are found by name whatever their case, a missing one is
an InputError that lists what there is, and files are written beside their final name and renamed.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import InputError, OutputError
from zspec.survey import HDU

BLOCK = 2880
"""FITS files come in blocks of so many bytes."""

Rows = slice | NDArray[np.int64] | None


class FitsFile:
    """An open FITS file. Use :func:`open_fits`."""

    def __init__(self, path: Path, handle: Any) -> None:
        """Find all HDUs; headers are read when asked for, and no data."""
        self.path = path
        self._handle = handle
        self.hdus: tuple[HDU, ...] = tuple(_describe(path, hdu) for hdu in handle)

    def has(self, hdu: str | int, column: str | None = None) -> bool:
        """Whether there is such an HDU and, if asked, such a column in it."""
        index = self._find(hdu)
        if index is None:
            return False
        return column is None or column.upper() in self.hdus[index].columns

    def header(self, hdu: str | int) -> Mapping[str, Any]:
        """Header cards of an HDU, keys in upper case."""
        return self.hdus[self.index(hdu)].header

    def index(self, hdu: str | int) -> int:
        """Number of an HDU, from 0. Raises InputError where it is missing."""
        found = self._find(hdu)
        if found is None:
            there = ", ".join(h.name or f"#{i}" for i, h in enumerate(self.hdus))
            raise InputError(f"{self.path}: HDU {hdu} is missing (found: {there})")
        return found

    def columns(self, hdu: str | int) -> tuple[str, ...]:
        """Column names of a table, in upper case."""
        return self.hdus[self.index(hdu)].columns

    def column(self, hdu: str | int, name: str, rows: Rows = None) -> NDArray[Any]:
        """One column of a table, in native byte order; text without trailing blanks.

        Raises InputError where the HDU or the column is missing or cannot be read.
        """
        index = self.index(hdu)
        columns = self.hdus[index].columns
        if name.upper() not in columns:
            raise InputError(
                f"{self.path}, HDU {hdu}: column {name!r} is missing "
                f"(found: {', '.join(c.lower() for c in columns[:20])})"
            )
        with self._reading(hdu):
            data = self._handle[index].read(columns=self._spelled(index, name), rows=_listed(rows))
        data = data if rows is None or isinstance(rows, np.ndarray) else data[rows]
        if data.dtype.kind == "S":
            return np.char.rstrip(np.char.decode(data, "ascii", "replace"), " \0")
        return _native(data)

    def image(self, hdu: str | int, rows: slice | None = None) -> NDArray[Any]:
        """An image, or some of its first axis; compressed or not, in native byte order.

        Raises InputError where the HDU is missing or cannot be read.
        """
        index = self.index(hdu)
        shape = self.hdus[index].shape
        with self._reading(hdu):
            if rows is None or not shape:
                data = self._handle[index].read()
            else:
                start, stop, _ = rows.indices(shape[0])
                if start == stop:
                    return np.zeros((0, *shape[1:]))
                data = self._handle[index][(slice(start, stop), *[slice(None)] * (len(shape) - 1))]
        if data is None:
            raise InputError(f"{self.path}, HDU {hdu}: holds no data")
        return _native(data)

    def _find(self, hdu: str | int) -> int | None:
        if isinstance(hdu, int):
            return hdu if 0 <= hdu < len(self.hdus) else None
        names = [h.name for h in self.hdus]
        return names.index(hdu.upper()) if hdu.upper() in names else None

    def _spelled(self, index: int, name: str) -> str:
        """The column's own spelling."""
        spelled: list[str] = self._handle[index].get_colnames()
        return spelled[self.hdus[index].columns.index(name.upper())]

    @contextlib.contextmanager
    def _reading(self, hdu: str | int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}, HDU {hdu}: cannot be read ({_brief(error)})") from None


@contextlib.contextmanager
def open_fits(path: Path | str) -> Iterator[FitsFile]:
    """Open a FITS file (plain, gzipped or tile-compressed) for reading.

    Raises InputError with one line where it is missing, empty, truncated or no FITS file.
    """
    import fitsio

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a FITS file was expected")
    if set("[]") & set(path.name):
        raise InputError(f"{path}: cfitsio takes [ and ] in a name for its own syntax; rename it")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read (permission)")
    try:
        handle = fitsio.FITS(str(path), "r")
    except OSError as error:
        raise InputError(f"{path}: is no FITS file, or is damaged ({_brief(error)})") from None
    with handle:
        try:
            opened = FitsFile(path, handle)
            missing = _missing_bytes(path, handle)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: is truncated or damaged ({_brief(error)})") from None
        if missing:
            raise InputError(f"{path}: is truncated ({missing}); fetch or write it again")
        yield opened


def write_fits(
    path: Path | str,
    hdus: Sequence[tuple[str, NDArray[Any] | Mapping[str, NDArray[Any]], Mapping[str, Any]]],
    overwrite: bool = False,
    compress: Collection[str] = (),
) -> None:
    """Write HDUs (name, image or table as a mapping of columns, header cards) to a new file.

    The first may have an empty name and an empty image: it is the primary HDU then. Images named
    in ``compress`` are tile-compressed without loss. The file is written beside its final name and
    renamed. Raises OutputError where that fails.
    """
    import fitsio

    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already")
    beside = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with fitsio.FITS(str(beside), "rw", clobber=True) as handle:
            for name, data, cards in hdus:
                header = [{"name": k, "value": v} for k, v in cards.items()]
                if isinstance(data, Mapping):
                    handle.write(dict(data), header=header, extname=name)
                else:
                    small = {"compress": "GZIP_2", "qlevel": 0} if name in compress else {}
                    image = data if data.size else None
                    handle.write(image, header=header, extname=name or None, **small)
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_brief(error)})") from None
    finally:
        beside.unlink(missing_ok=True)


def _missing_bytes(path: Path, handle: Any) -> str:
    """What a file lacks, in words; empty for a whole one.

    cfitsio stops at the first header that it cannot find, without a word: a file that was cut
    would be read as one with fewer HDUs.
    """
    size, end = path.stat().st_size, int(handle[-1].get_offsets()["data_end"])
    with path.open("rb") as raw:
        start = raw.read(6)
        if start == b"SIMPLE":
            raw.seek(end)
            if raw.read(8) == b"XTENSION":
                return f"the header after HDU {len(handle) - 1} is cut"
            # less than a block is padding, which some writers leave out
            return f"{size} bytes, {end} expected" if end - size >= BLOCK else ""
        if start[:2] != b"\x1f\x8b":
            return ""
        raw.seek(-4, os.SEEK_END)  # gzip ends with the size of what it holds
        if int.from_bytes(raw.read(4), "little") == end % 2**32:
            return ""
    return _gzip_damage(path, end)


def _gzip_damage(path: Path, end: int) -> str:
    """What is wrong with a gzipped file, by reading all of it; empty where nothing is.

    Of several gzip streams in one file cfitsio reads the first alone, up to byte ``end``.
    """
    size = 0
    try:
        with gzip.open(path) as unpacked:
            while block := unpacked.read(1 << 20):
                size += len(block)
    except (EOFError, OSError, zlib.error) as error:
        return _brief(error)
    return f"{size} bytes unpacked, {end} of them read" if abs(end - size) >= BLOCK else ""


class _Cards(Mapping[str, Any]):
    """Header cards, read when first asked for: those of a table of 236 columns take 25 ms."""

    def __init__(self, path: Path, hdu: Any) -> None:
        """Of a fitsio HDU; to be asked for while the file is open."""
        self._path = path
        self._hdu = hdu

    @functools.cached_property
    def _cards(self) -> dict[str, Any]:
        try:
            header = self._hdu.read_header()
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path}: a header cannot be read ({_brief(error)})") from None
        return {str(k).upper(): header[k] for k in header.keys() if k}  # noqa: SIM118 (FITSHDR)

    def __getitem__(self, key: str) -> Any:
        return self._cards[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)


def _describe(path: Path, hdu: Any) -> HDU:
    """What ``sniff`` sees of a fitsio HDU."""
    cards = _Cards(path, hdu)
    name = str(hdu.get_extname() or "").strip().upper()
    if hasattr(hdu, "get_colnames"):
        columns = tuple(c.upper() for c in hdu.get_colnames())
        return HDU(name, "table", cards, columns, (hdu.get_nrows(),))
    dims = hdu.get_dims() if hdu.has_data() else []
    return HDU(name, "image", cards, (), tuple(int(d) for d in dims))


def _listed(rows: Rows) -> NDArray[np.int64] | None:
    """Row numbers for fitsio, which takes no slices here; a slice is applied after reading."""
    return rows if isinstance(rows, np.ndarray) else None


def _native(data: NDArray[Any]) -> NDArray[Any]:
    """The same values in the machine's byte order."""
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _brief(error: Exception) -> str:
    """The last line of an error, which is where cfitsio says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
