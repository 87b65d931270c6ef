"""The report: every plot that the columns allow, as PNGs and in one HTML page.

Plain functions that do not print. A plot whose columns are missing is named in the page with the
reason.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zspec.errors import OutputError
from zspec.evaluation.measure import MISSING, Settings
from zspec.evaluation.sample import Sample
from zspec.report import classes, redshifts, uncertainties
from zspec.report.page import GENERATOR, Picture, page
from zspec.report.style import STYLE, NotDrawn, Plot, require

PLOTS: tuple[Plot, ...] = (
    *redshifts.PLOTS,
    *classes.PLOTS,
    *uncertainties.PLOTS,
    *classes.LAST,
    *uncertainties.LAST,
)
"""In the order of the page."""

SOFTWARE = "zspec"
"""What a PNG says that it was made with."""
MARKS = (GENERATOR.encode(), b"tEXtSoftware\0" + SOFTWARE.encode())
"""One of them is at the beginning of each file of a report."""
HEAD = 4096
"""Bytes that are searched for them."""

WHY = {
    **MISSING,
    "snr": "no SNR: name its column with --snr",
    "mag": "no magnitude: name its column with --mag",
}
"""Why a plot is left out, by the column that it lacks."""


@dataclass(frozen=True)
class Report:
    """What was made."""

    pictures: tuple[Picture, ...]
    left_out: tuple[tuple[str, str], ...]
    """(title, reason) of each plot that could not be drawn."""


def draw(sample: Sample, settings: Settings, plots: Sequence[Plot] = PLOTS) -> Report:
    """The plots as PNGs in memory. Raises ConfigError where matplotlib is missing."""
    require()
    from matplotlib import rc_context

    pictures, left_out = [], []
    for plot in plots:
        try:
            _check(plot, sample)
            with rc_context(STYLE):
                figure, caption = plot.draw(sample, settings)
                stream = io.BytesIO()
                figure.savefig(stream, format="png", metadata={"Software": SOFTWARE})
            pictures.append(Picture(plot.name, plot.title, caption, stream.getvalue()))
        except NotDrawn as reason:
            left_out.append((plot.title, str(reason)))
    return Report(tuple(pictures), tuple(left_out))


def _check(plot: Plot, sample: Sample) -> None:
    """Raise NotDrawn where there are no rows, or a column that the plot needs is missing."""
    if not len(sample):
        raise NotDrawn("no rows")
    lacks = [WHY[need] for need in plot.needs if need not in sample.columns]
    if lacks:
        raise NotDrawn("; ".join(lacks))


def check(folder: Path, overwrite: bool = False) -> None:
    """Raise OutputError where a report would replace a file that zspec did not write."""
    names = ["index.html", *(f"{plot.name}.png" for plot in PLOTS)]
    for path in [] if overwrite else [folder / name for name in names]:
        if path.exists() and not _ours(path):
            raise OutputError(f"{path}: exists and is not of zspec; replace it with --overwrite")


def _ours(path: Path) -> bool:
    """Whether this file is of a report."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return False
    return any(mark in head for mark in MARKS)


def write(
    folder: Path,
    title: str,
    document: Mapping[str, Any],
    made: Report,
    overwrite: bool = False,
) -> Path:
    """Write ``index.html`` and the PNGs into a folder, which is made; returns the page.

    ``document`` is that of :func:`zspec.evaluation.document.document`. Each file is written beside
    its final name and renamed, the page last. Raises OutputError, also for files that zspec did not
    write, unless ``overwrite``.
    """
    check(folder, overwrite)
    path = folder / "index.html"
    text = page(title, document, made.pictures, made.left_out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in made.pictures:
            _replace(folder / f"{picture.name}.png", picture.png)
        _replace(path, text.encode())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return path


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
