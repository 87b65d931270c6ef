"""Where a catalogue may be written, and whose it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from astropy.io import fits
from astropy.io.fits.verify import VerifyError

from zspec import remote
from zspec.errors import OutputError


def inputs_hash(paths: Iterable[Path | str]) -> str:
    """SHA-256 over the places of the inputs: says whether a catalogue is of the same."""
    places = [str(path) if remote.is_url(path) else os.path.realpath(path) for path in paths]
    return hashlib.sha256("\n".join(places).encode("utf-8", "surrogateescape")).hexdigest()


def check_output(path: Path, inputs: Sequence[Path | str], overwrite: bool) -> None:
    """Raise OutputError, before any work is done, where ``path`` may not or cannot be written."""
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; make it, or choose another place with -o")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: may not be written to; choose another place with -o")
    if any(path.resolve() == remote.local(p).resolve() for p in inputs):
        raise OutputError(f"{path}: is an input; choose another name with -o")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file with -o")
    if not path.name.endswith((".fits", ".fits.gz")):
        raise OutputError(f"{path}: a catalogue is a FITS file; end its name with .fits")
    if path.exists() and not overwrite and _of_inputs(path) != inputs_hash(inputs):
        raise OutputError(f"{path}: exists and is not of these inputs; replace it with --overwrite")


def _of_inputs(path: Path) -> str:
    """The hash of the inputs of a catalogue that zspec wrote, or nothing."""
    try:
        return str(fits.getheader(path).get("INHASH", ""))
    except (OSError, ValueError, VerifyError):
        return ""
