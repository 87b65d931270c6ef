"""How much memory processes take, and how much they may.

Linux says so in /proc; elsewhere there is no limit to choose.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

from zspec.errors import ConfigError

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), as the C library numbers them."""
REUSED = 512 << 20
"""Bytes: what is freed below it stays with the process, for the next array."""


def reuse() -> None:
    """Let this process keep what it frees: the next chunk's arrays are as large.

    Else each of more than some megabytes goes back to the system and comes anew, page by page: a
    twentieth of the time of a prediction. Where the C library knows no such thing, nothing happens.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(M_MMAP_THRESHOLD, REUSED)
            library.mallopt(M_TRIM_THRESHOLD, REUSED)


def parse(text: str) -> int:
    """Bytes of a text as ``3GB``, ``500M`` or ``2.5 GiB``. Raises ConfigError for another.

    >>> parse("1.5G")
    1610612736
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)(?:I?B)?\s*", text.upper())
    if not found or float(found[1]) == 0:
        raise ConfigError(f"{text!r} is no amount of memory; expected one as 3GB or 500MB")
    if not Path("/proc/self/status").exists():
        raise ConfigError("memory can be limited where there is /proc (Linux); leave it out here")
    return int(float(found[1]) * UNITS[found[2]])


def resident(process: int | str = "self") -> int:
    """Bytes of memory that a process takes; 0 where it is gone."""
    return _status(process, "VmRSS")


def peak(process: int | str = "self") -> int:
    """Most bytes of memory that a process ever took; 0 where it is gone."""
    return _status(process, "VmHWM")


def _status(process: int | str, key: str) -> int:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{key}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
