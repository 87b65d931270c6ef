"""Files beside their final name, temporary folders, and what killed runs left of both.

A file or folder is locked for as long as it is in use, and the system lets go of the lock of a
process that was killed: so what nobody locks is of nobody, whatever machine it was begun on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def beside(path: Path) -> Path:
    """Where a file is written before it is renamed."""
    return path.with_name(f".part{os.getpid()}.{path.name}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A new file at ``path``, to be renamed within; nothing of that name is left. May OSError."""
    with _create(path) as out:
        try:
            yield out
        finally:
            if _is_at(out, path):  # it is locked still; another's file of this name stays
                path.unlink(missing_ok=True)


def _create(path: Path) -> IO[bytes]:
    """The file, empty, and locked where its file system knows locks.

    It is emptied once it is locked: until then it may be what another machine's process of the
    same number is writing.
    """
    while True:
        path.touch()  # and not "wb+", which would empty it
        out = path.open("rb+")
        with contextlib.suppress(OSError):
            fcntl.flock(out, fcntl.LOCK_EX)
        if _is_at(out, path):
            out.truncate(0)
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


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A new temporary folder; what killed runs left of the same prefix is removed first. OSError.

    One that was made by an older zspec, which did not lock it, counts as left.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(left, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        made = None
        while made is None or not made.exists():  # it was swept between its making and its lock
            made = Path(tempfile.mkdtemp(prefix=prefix))
            with contextlib.suppress(OSError):  # it was, or its file system knows no locks
                stack.enter_context(_locked(made, fcntl.LOCK_EX))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _locked(place: Path, how: int) -> Iterator[None]:
    """A folder of this user, locked. Raises OSError where it is not, or cannot be."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid != os.getuid():
            raise PermissionError
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
