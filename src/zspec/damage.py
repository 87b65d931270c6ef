"""What is wrong with a damaged FITS file, in words."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

from zspec.headers import BLOCK


def unreadable(path: Path) -> str:
    """Why a file cannot be opened, in words; empty where it may be tried. May raise OSError."""
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "is a folder; a FITS file was expected"
    if set("[]") & set(path.name):
        return "cfitsio takes [ and ] in a name for its own syntax; rename it"
    if path.stat().st_size == 0:
        return "is empty"
    return "" if os.access(path, os.R_OK) else "may not be read (permission)"


def missing_bytes(path: Path, handle: Any) -> str:
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
        return brief(error)
    return f"{size} bytes unpacked, {end} of them read" if abs(end - size) >= BLOCK else ""


def brief(error: Exception) -> str:
    """The last line of an error, which is where cfitsio says what happened; a path is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.removesuffix("of file:").rstrip() for line in lines if not os.path.isabs(line)]
    return told[-1] if told else type(error).__name__
