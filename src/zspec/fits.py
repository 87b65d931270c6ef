"""Reading and writing FITS for adapters: only what is asked for, any case, and clear errors.

A thin layer over fitsio: HDUs and columns are found by name whatever their case, a missing one is
an InputError that lists what there is, and files are written beside their final name and renamed.
What :mod:`~zspec.headers` finds in the bytes of a plain file does not need fitsio, which is opened
for the rest.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import headers, tiles
from zspec.damage import brief, missing_bytes, unreadable
from zspec.errors import InputError, OutputError
from zspec.survey import HDU

SMALL = 1 << 24
"""Bytes of a table that is read as a whole; of a larger one, only the columns asked for."""

Rows = slice | NDArray[np.int64] | None


class FitsFile:
    """An open FITS file. Use :func:`open_fits`."""

    def __init__(self, path: Path) -> None:
        """Find all HDUs; headers are read when asked for, and no data. Raises InputError."""
        self.path = path
        self._parts = headers.locate(path)
        self._tables: dict[int, headers.Rows | None] = {}
        self.hdus: tuple[HDU, ...] = self._plain_hdus() or tuple(
            _describe(path, hdu) for hdu in self._handle
        )

    @functools.cached_property
    def _handle(self) -> Any:
        """The file as fitsio sees it, opened when first needed."""
        try:
            tiles.check(self.path)
        except ValueError as error:
            raise InputError(f"{self.path}: is damaged ({error})") from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({brief(error)})") from None
        return _open(self.path)

    def close(self) -> None:
        """Close what was opened."""
        if "_handle" in self.__dict__:
            self._handle.close()

    def _plain_hdus(self) -> tuple[HDU, ...]:
        """All HDUs, from the bytes of the file; none where a card of them is damaged."""
        try:
            return tuple(self._plain(i) for i in range(len(self._parts)))
        except (KeyError, ValueError):
            self._parts = ()
            return ()

    def _plain(self, index: int) -> HDU:
        """What ``sniff`` sees of an HDU that was found in the bytes of the file."""
        part = self._parts[index]
        plain = part.plain and not part.compressed
        cards = headers.Cards(part) if plain else _Cards(self.path, lambda: self._handle[index])
        return HDU(part.text("EXTNAME").strip().upper(), part.kind, cards, part.names, part.shape)

    def _rows(self, index: int) -> headers.Rows | None:
        """The rows of a small table; None where fitsio has to read it."""
        if index not in self._tables:
            self._tables[index] = None
            if self._parts and self._parts[index].size <= SMALL:
                with contextlib.suppress(ValueError, KeyError, OSError):
                    self._tables[index] = headers.Rows(self.path, self._parts[index])
        return self._tables[index]

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
        """One column of a table (n, ...), in native byte order; text without trailing blanks.

        Raises InputError where the HDU or the column is missing or cannot be read.
        """
        index = self.index(hdu)
        columns = self.hdus[index].columns
        if name.upper() not in columns:
            raise InputError(
                f"{self.path}, HDU {hdu}: column {name!r} is missing "
                f"(found: {', '.join(c.lower() for c in columns[:20])})"
            )
        at, small = columns.index(name.upper()), self._rows(index)
        data = None if small is None else small.column(at)
        with self._reading(hdu):
            if data is None:
                data = self._read_column(index, at, rows)
            elif rows is not None:
                data = data[rows]
        return _text(data) if data.dtype.kind in "SU" else _native(data)

    def numbers(self, hdu: str | int, name: str, rows: Rows = None) -> NDArray[Any]:
        """The same (n, ...) of a column of numbers; InputError too where it holds others."""
        data = self.column(hdu, name, rows)
        if data.dtype.kind not in "iufb":
            raise InputError(f"{self.path}, HDU {hdu}: column {name!r} holds no numbers")
        return data

    def image(self, hdu: str | int, rows: slice | None = None) -> NDArray[Any]:
        """An image (n, ...), or some of its first axis; compressed or not, in native byte order.

        Raises InputError where the HDU is missing or cannot be read.
        """
        index = self.index(hdu)
        shape = self.hdus[index].shape
        with self._reading(hdu):
            if self._parts and shape and tiles.are_plain(self._parts[index]):
                return tiles.read(self.path, self._parts[index], rows or slice(None))
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

    def _read_column(self, index: int, at: int, rows: Rows) -> NDArray[Any]:
        """Column number ``at`` of a table, by its own spelling, as fitsio reads it."""
        hdu = self._handle[index]
        listed = rows if isinstance(rows, np.ndarray) else None
        data: NDArray[Any] = hdu.read(columns=hdu.get_colnames()[at], rows=listed)
        return data[rows] if isinstance(rows, slice) else data

    @contextlib.contextmanager
    def _reading(self, hdu: str | int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, IndexError) as error:
            raise InputError(f"{self.path}, HDU {hdu}: cannot be read ({brief(error)})") from None


@contextlib.contextmanager
def open_fits(path: Path | str) -> Iterator[FitsFile]:
    """Open a FITS file (plain, gzipped or tile-compressed) for reading.

    Raises InputError with one line where it is missing, empty, truncated or no FITS file.
    """
    path = Path(path)
    try:
        if said := unreadable(path):
            raise InputError(f"{path}: {said}")
        opened = FitsFile(path)
    except OSError as error:  # it went meanwhile, or its disk does not answer
        raise InputError(f"{path}: cannot be read ({error.strerror or brief(error)})") from None
    try:
        yield opened
    finally:
        opened.close()


def _open(path: Path) -> Any:
    """A fitsio handle of a whole file. Raises InputError."""
    import fitsio

    try:
        handle = fitsio.FITS(str(path), "r")
    except (OSError, ValueError) as error:  # cfitsio quotes the file, which need not be text
        raise InputError(f"{path}: is no FITS file, or is damaged ({brief(error)})") from None
    try:
        missing = missing_bytes(path, handle)
    except (OSError, ValueError) as error:
        handle.close()
        raise InputError(f"{path}: is truncated or damaged ({brief(error)})") from None
    if missing:
        handle.close()
        raise InputError(f"{path}: is truncated ({missing}); fetch or write it again")
    return handle


def write_fits(
    path: Path | str,
    hdus: Sequence[tuple[str, NDArray[Any] | Mapping[str, NDArray[Any]], Mapping[str, Any]]],
    overwrite: bool = False,
    compress: Collection[str] = (),
) -> None:
    """Write HDUs (name, image or table of columns (n, ...), header cards) to a new file.

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
        raise OutputError(f"{path}: cannot be written ({brief(error)})") from None
    finally:
        beside.unlink(missing_ok=True)


class _Cards(Mapping[str, Any]):
    """Header cards, read when first asked for: those of a table of 236 columns take 25 ms."""

    def __init__(self, path: Path, hdu: Callable[[], Any]) -> None:
        """Of what gives a fitsio HDU; to be asked for while the file is open."""
        self._path = path
        self._hdu = hdu

    @functools.cached_property
    def _cards(self) -> dict[str, Any]:
        try:
            header = self._hdu().read_header()
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path}: a header cannot be read ({brief(error)})") from None
        return {str(k).upper(): header[k] for k in header.keys() if k}  # noqa: SIM118 (FITSHDR)

    def __getitem__(self, key: str) -> Any:
        return self._cards[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)


def _describe(path: Path, hdu: Any) -> HDU:
    """What ``sniff`` sees of a fitsio HDU."""
    cards = _Cards(path, lambda: hdu)
    name = str(hdu.get_extname() or "").strip().upper()
    if hasattr(hdu, "get_colnames"):
        columns = tuple(c.upper() for c in hdu.get_colnames())
        return HDU(name, "table", cards, columns, (hdu.get_nrows(),))
    dims = hdu.get_dims() if hdu.has_data() else []
    return HDU(name, "image", cards, (), tuple(int(d) for d in dims))


def _text(data: NDArray[Any]) -> NDArray[np.str_]:
    """The same texts without trailing blanks."""
    text = np.char.decode(data, "ascii", "replace") if data.dtype.kind == "S" else data
    return np.char.rstrip(text, " \0")


def _native(data: NDArray[Any]) -> NDArray[Any]:
    """The same values in the machine's byte order."""
    return data.astype(data.dtype.newbyteorder("="), copy=False)
