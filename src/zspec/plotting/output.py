"""From figures to files: one PNG or PDF, a PDF of many pages, or numbered PNGs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zspec.errors import OutputError
from zspec.inspection.targets import Target
from zspec.plotting.panels import View
from zspec.plotting.single import COLUMNS, sheet, single

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 4
"""Of a sheet."""
DPI = 150
"""Of a PNG."""
KINDS = (".png", ".pdf")


def pages(targets: Iterable[Target], view: View, each: bool, rows: int = ROWS) -> Iterator[Figure]:
    """A figure for ``each`` target, or sheets of ``rows`` × 2 of them."""
    if each:
        for target in targets:
            yield single(target, view)
    else:
        rest = iter(targets)
        while part := list(islice(rest, rows * COLUMNS)):
            yield sheet(part, view, min(rows, -(-len(part) // COLUMNS)))


def check(path: Path, overwrite: bool) -> None:
    """Raise OutputError, before any work, where a picture cannot be written there."""
    if path.suffix.lower() not in KINDS:
        raise OutputError(f"{path}: a picture ends with {' or '.join(KINDS)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it, or choose another with -o")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; replace it with --overwrite")


def save(figures: Iterable[Figure], path: Path, overwrite: bool = False) -> list[Path]:
    """Write the figures; returns the files. A PDF has a page for each, PNGs a number for each.

    A file is written beside its final name and renamed. Raises OutputError.
    """
    check(path, overwrite)
    try:
        if path.suffix.lower() == ".pdf":
            return [_pdf(figures, path)]
        return list(_pngs(figures, path, overwrite))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _pdf(figures: Iterable[Figure], path: Path) -> Path:
    from matplotlib.backends.backend_pdf import PdfPages

    beside = path.with_name(f".part{os.getpid()}.{path.name}")
    try:
        with PdfPages(beside, metadata={"Creator": "zspec"}) as pdf:
            for figure in figures:
                pdf.savefig(figure)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _pngs(figures: Iterable[Figure], path: Path, overwrite: bool) -> Iterator[Path]:
    """The first under the name itself, further ones as ``name-2.png``."""
    for number, figure in enumerate(figures, start=1):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        check(place, overwrite)
        beside = place.with_name(f".part{os.getpid()}.{place.name}")
        try:
            figure.savefig(beside, dpi=DPI, format="png", metadata={"Software": "zspec"})
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)
        yield place
