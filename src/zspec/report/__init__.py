"""The report: every plot that the columns allow, as PNGs and in one HTML page.

Plain functions that do not print. A plot whose columns are missing is named in the page with the
reason.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zspec.errors import OutputError
from zspec.evaluation.measure import MISSING, Settings
from zspec.evaluation.sample import Sample
from zspec.report import classes, redshifts, uncertainties
from zspec.report.page import Picture, page
from zspec.report.style import STYLE, NotDrawn, Plot, require

PLOTS: tuple[Plot, ...] = (
    *redshifts.PLOTS,
    *classes.PLOTS,
    *uncertainties.PLOTS,
    *classes.LAST,
    *uncertainties.LAST,
)
"""In the order of the page."""

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
                figure.savefig(stream, format="png", metadata={"Software": None})
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


def write(folder: Path, title: str, document: Mapping[str, Any], made: Report) -> Path:
    """Write ``index.html`` and the PNGs into a folder, which is made; returns the page.

    ``document`` is that of :func:`zspec.evaluation.document.document`. Raises OutputError.
    """
    path = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in made.pictures:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
        path.write_text(page(title, document, made.pictures, made.left_out), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return path
