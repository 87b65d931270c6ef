"""Files that are written beside their final name, and what killed runs left of such files.

A file is locked for as long as it is written, and the system lets go of the lock of a process that
was killed: so what nobody locks is of nobody, whatever machine it was begun on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def beside(path: Path) -> Path:
    """Where a file is written before it is renamed."""
    return path.with_name(f".part{os.getpid()}.{path.name}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A new file at ``path``, to be renamed within; nothing of that name is left. May OSError."""
    out = _create(path)
    try:
        with out:
            yield out
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path) -> IO[bytes]:
    """The file, locked where its file system knows locks."""
    while True:
        out = path.open("wb+")
        try:
            fcntl.flock(out, fcntl.LOCK_EX)
        except OSError:
            return out
        if _is_at(out, path):
            return out
        out.close()  # it was swept between its making and its lock


def _is_at(handle: IO[bytes], path: Path) -> bool:
    """Whether that is the file of this name."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def sweep(path: Path) -> None:
    """Remove what killed runs left beside ``path``, and nothing that one is writing now.

    A folder that cannot be listed is left as it is.
    """
    packed = r"(\.gz)?" if path.name.endswith(".gz") else ""  # it is packed beside that, too
    name = re.compile(rf"\.part\d+\.{re.escape(path.name)}{packed}")
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = [one for one in path.parent.iterdir() if name.fullmatch(one.name)]
    for left in found:
        with contextlib.suppress(OSError), left.open("rb+") as handle:  # held, or another user's
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, left):
                left.unlink()
