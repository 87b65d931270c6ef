"""p(z): over all redshifts as probability in bins, and close to the answer as a density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zspec.inspection.targets import Floats, Target
from zspec.plotting.panels import ANSWER, RUNNER_UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 240
"""Bins of the picture over all redshifts, equal in ln(1 + z)."""
LEAST = 1e-5
"""Probability at the bottom of it."""
TICKS = np.array([0, 0.2, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7])
"""Redshifts that the axis of the picture over all of them names; every other one where it is long.
"""
AROUND = 6.0
"""Sigmas on either side of the answer that the close view shows."""


def overview(axes: Axes, target: Target) -> None:
    """Probability of bins in ln(1 + z), logarithmic; without p(z), PROB of the candidates."""
    axes.set_yscale("log")
    axes.set_ylim(LEAST, 2)
    axes.set_xlabel("z")
    ends = _ends(target)
    ticks = TICKS if ends[1] - ends[0] < 1 else TICKS[::2]
    axes.set_xlim(*ends)
    ticks = ticks[(np.log1p(ticks) >= ends[0]) & (np.log1p(ticks) <= ends[1])]
    axes.set_xticks(np.log1p(ticks), [f"{z:g}" for z in ticks])
    if target.density is None or not len(target.density[0]):
        axes.set_ylabel("PROB of candidates")
        axes.set_title("no p(z) in the catalogue (predict --zpdf)", fontsize=8, loc="left")
    else:
        edges = np.linspace(*ends, BINS + 1)
        axes.stairs(
            np.maximum(masses(*target.density, edges), 1e-12), edges, color="0.25", fill=True
        )
        axes.set_ylabel(f"p per bin of {ends[1] - ends[0]:.2g}/{BINS} in ln(1+z)", fontsize=8)
    for number, one in enumerate(target.solutions):
        if np.isfinite(one.prob) and one.prob > LEAST:
            colour = (ANSWER, RUNNER_UP)[number] if number < 2 else "0.5"
            axes.plot(np.log1p(one.z), one.prob, "v", color=colour, ms=5, clip_on=False)


def _ends(target: Target) -> tuple[float, float]:
    """Of the axis, in ln(1 + z): all candidates and all of p(z), and 0 to 1 at least."""
    u = [np.log1p(one.z) for one in target.solutions if one.z > -1]
    if target.density is not None and len(target.density[0]):
        u += [target.density[0][0], target.density[0][-1]]
    return min([-0.02, *u]) - 0.01, max([np.log(2), *u]) + 0.03


def masses(u: Floats, p: Floats, edges: Floats) -> Floats:
    """Integral of p, linear between u and 0 beyond, over each bin: (bin,) for (bin + 1,) edges."""
    steps = np.diff(u)
    total = np.concatenate([[0.0], np.cumsum(steps * (p[1:] + p[:-1]) / 2)])
    at = np.clip(np.searchsorted(u, edges, "right") - 1, 0, max(len(u) - 2, 0))
    inside = np.clip(edges, u[0], u[-1])
    part, slope = inside - u[at], (p[at + 1] - p[at]) / steps[at]
    return np.diff(total[at] + part * (p[at] + slope * part / 2))


def close(axes: Axes, target: Target) -> None:
    """p(z) within some sigmas of the answer, and the Gaussian of Z and ZERR."""
    z, zerr = float(target.row["Z"]), float(target.row["ZERR"])
    if not np.isfinite(zerr) or zerr <= 0:
        axes.set_axis_off()
        return
    speed = 299792.458 * zerr / (1 + z)  # km/s
    x = np.linspace(-AROUND, AROUND, 601)  # sigmas
    at = np.log1p(z + x * zerr)
    gauss = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    if target.density is not None and len(target.density[0]):
        density = np.interp(at, *target.density, 0, 0) * zerr / (1 + z + x * zerr)
        axes.fill_between(x, density, color="0.6", label="p(z)")
    axes.plot(x, gauss, color=ANSWER, lw=1, label="Z ± ZERR")
    axes.set_ylim(0)
    axes.set_xlim(-AROUND, AROUND)
    axes.set_xlabel(f"(z − Z) / ZERR,  ZERR = {speed:.0f} km/s")
    axes.set_yticks([])
    axes.legend(fontsize=7, frameon=False, loc="upper left")
