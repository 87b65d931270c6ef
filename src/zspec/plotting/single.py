"""One spectrum on a page of its own, and many small ones on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zspec.inspection.targets import Target, has_data
from zspec.plotting import panels, redshifts
from zspec.plotting.panels import View
from zspec.report.style import STYLE, figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
"""Of a sheet."""
SMALL = {**STYLE, "font.size": 7.5, "axes.grid": False}
"""Style of a sheet."""


def single(target: Target, view: View) -> Figure:
    """Spectrum, models and lines above; p(z) over all redshifts, close up, and words below."""
    from matplotlib import rc_context

    with rc_context({**STYLE, "axes.grid": False}):
        made = figure(11.5, 7.2)
        grid = made.add_gridspec(2, 3, height_ratios=(2.2, 1), width_ratios=(1.4, 0.8, 1.3))
        above = made.add_subplot(grid[0, :])
        _title(above, target)
        panels.spectrum(above, target, view)
        above.set_xlabel(panels.WAVE)
        above.set_ylabel(panels.UNIT)
        if has_data(target):
            # below the axis, where it hides neither a line's label nor a peak
            above.legend(fontsize=7.5, loc="upper right", ncols=4, bbox_to_anchor=(1, 1.075))
            redshifts.overview(made.add_subplot(grid[1, 0]), target)
            redshifts.close(made.add_subplot(grid[1, 1]), target)
        panels.words(made.add_subplot(grid[1, 2]), target)
    return made


def _title(axes: Axes, target: Target) -> None:
    name = f"{target.id}   {Path(str(target.row['FILE'])).name}, row {target.row['ROW']}"
    axes.set_title(plain(name), loc="left", fontsize=10, pad=26)


def sheet(targets: Sequence[Target], view: View, rows: int) -> Figure:
    """A page of ``rows`` rows of two small panels; those that are not needed stay empty."""
    from matplotlib import rc_context

    with rc_context(SMALL):
        made = figure(11.5, 2.45 * rows + 0.2)
        axes = made.subplots(rows, COLUMNS, squeeze=False).ravel()
        for panel, target in zip(axes, targets, strict=False):
            panels.spectrum(panel, target, view)
            panel.set_title("\n".join(_headline(target)), loc="left", fontsize=7.5)
        for panel in axes[len(targets) :]:
            panel.set_axis_off()
        made.supxlabel(panels.WAVE, fontsize=8)
        made.supylabel(panels.UNIT, fontsize=8)
    return made


def _headline(target: Target) -> tuple[str, str]:
    """What a small panel says: id, class, redshift, and the names of the flags."""
    row = target.row
    first = f"{target.id}  {row['CLASS'] or 'no data'}  z = {row['Z']:.5f}  SNR {row['SNR']:.1f}"
    if row["ZCONF"] == row["ZCONF"]:
        first += f"  ZCONF {row['ZCONF']:.3f}"
    names = ", ".join(text.split(":")[0] for text in target.zwarn)
    return plain(first), names or "ZWARN 0"
