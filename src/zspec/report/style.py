"""How all plots look: colours that colour-blind readers tell apart, readable in print.

Figures are made without pyplot, so that no global state and no display is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.evaluation.measure import Settings
from zspec.evaluation.sample import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, dark ones first; the class or curve k has the k-th."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""So that a print without colour can be read too."""
SHADES = "cividis"
"""Colour map of a third quantity."""
DENSITY = "Blues"
"""Colour map of densities: darker is more; its palest quarter would be lost on white paper."""
GREY = "0.35"

STYLE: Any = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "savefig.dpi": 130,
    "figure.constrained_layout.use": True,
}

POINTS = 3000
"""Above so many rows densities are drawn, not points."""
CELLS = 90
"""Cells of a density, each way."""
SHOWN = 20000
"""Most points of a plot whose points have a colour each."""


class NotDrawn(Exception):
    """A plot that cannot be drawn; the message says why."""


@dataclass(frozen=True)
class Plot:
    """One picture of the report."""

    name: str
    """Of its file."""
    title: str
    needs: tuple[str, ...]
    """Columns of a Sample without which it is left out."""
    draw: Callable[[Sample, Settings], tuple[Figure, str]]
    """The figure and its caption. Raises NotDrawn."""


def require() -> None:
    """Raise ConfigError, with what to install, where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401 (only whether it is there)
    except ImportError:
        raise ConfigError("pictures need matplotlib; pip install 'zspec-redshift[plot]'") from None


def figure(width: float = 7.0, height: float = 4.6) -> Figure:
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def density(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], x_edges: NDArray[Any], y_edges: NDArray[Any]
) -> None:
    """Points, or from ``POINTS`` on their number in each cell; both clipped to the edges."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    x, y = np.clip(x, x_edges[0], x_edges[-1]), np.clip(y, y_edges[0], y_edges[-1])
    if len(x) <= POINTS:
        axes.plot(x, y, ".", color=COLOURS[0], alpha=0.4, markersize=4, markeredgewidth=0)
        return
    counts = np.histogram2d(x, y, [x_edges, y_edges])[0].T
    shown = np.ma.masked_equal(counts, 0)
    shades = ListedColormap(colormaps[DENSITY](np.linspace(0.25, 1, 256)))
    norm = LogNorm(1, max(float(counts.max()), 2))
    mesh = axes.pcolormesh(x_edges, y_edges, shown, cmap=shades, norm=norm)
    if axes.figure is not None:
        axes.figure.colorbar(mesh, ax=axes, label="rows", pad=0.01)


def linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of equal cells over the range of x, which outliers stretch by no more than they are."""
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    pad = 0.02 * (high - low) or 0.01
    return np.linspace(low - pad, high + pad, CELLS + 1)


def logarithmic(x: NDArray[np.float64], low: float = 0.001, high: float = 0.999) -> NDArray[Any]:
    """Edges of cells that are equal in log x, over the middle of the positive values."""
    positive = x[x > 0]
    if not len(positive):
        raise NotDrawn("no positive value")
    ends = np.quantile(positive, [low, high])
    return np.geomspace(ends[0] * 0.8, ends[1] * 1.25, CELLS + 1)


def symmetric(threshold: float, end: float) -> NDArray[np.float64]:
    """Edges for a symlog axis: equal cells below the threshold, equal in log beyond it."""
    outer = np.geomspace(threshold, end, CELLS // 3)
    inner = np.linspace(-threshold, threshold, CELLS // 3)
    return np.concatenate([-outer[::-1], inner[1:-1], outer])


def running(
    x: NDArray[np.float64], y: NDArray[np.float64], pieces: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of y in pieces of x with equal numbers of rows: (x, y) of each piece."""
    order = np.argsort(x)
    parts = np.array_split(order, min(pieces, max(len(x) // 20, 1)))
    return (
        np.array([np.median(x[part]) for part in parts]),
        np.array([np.median(y[part]) for part in parts]),
    )


def rows_with(sample: Sample, *roles: str) -> Sample:
    """The rows in which all these columns mean something. Raises NotDrawn where none does."""
    usable = np.ones(len(sample), bool)
    for role in roles:
        column = sample.columns[role]
        usable &= np.isfinite(column)
        if role in ("label", "label_true", "robust"):
            usable &= column >= 0
        elif role in ("sigma", "bound"):
            usable &= column > 0
    if not usable.any():
        raise NotDrawn(f"no row has {', '.join(roles)}")
    return sample[usable]


def plain(text: str) -> str:
    r"""Text of a file for a label: its dollars are no mathematics.

    Not by ``text.parse_math``, which would print the powers of ten of logarithmic axes as source.

    >>> plain("GAL$x$")
    'GAL\\$x\\$'
    """
    return text.replace("$", r"\$")


def objects(sample: Sample) -> str:
    """How many objects are shown, and rows where that is another number."""
    number = int(np.count_nonzero(np.bincount(sample.objects)))
    return f"{number} objects" + (f" ({len(sample)} rows)" if number != len(sample) else "")
