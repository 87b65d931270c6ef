"""Light of other sources on a slitless spectrum: first orders of neighbours, and zero orders.

The other source is an earlier one of the same block, so that it has a real spectrum and shape and
that a source does not depend on those after it; the first of a block is never contaminated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.slitless.design import Design
from zspec.simulate.slitless.dispersion import OVERSAMPLE, Band
from zspec.simulate.slitless.profile import Shapes

Float = NDArray[np.float64]
Whole = NDArray[np.int64]

DRAWS = 5
"""Uniform numbers that decide one intruder."""
AMONG = 32
"""Earlier sources of the block among which an intruder is drawn."""


@dataclass(frozen=True)
class Intruders:
    """At most one other source for each of some targets."""

    target: Whole
    """(m,) rows that it falls on."""
    source: Whole
    """(m,) rows that it is."""
    across: Float
    """(m,) pixels from the target's row to its own."""
    along: Float
    """(m,) its place along the dispersion, from -1 to 1."""

    def shapes(self, shapes: Shapes) -> Shapes:
        """The intruders' shapes, placed where they are seen from their targets."""
        device = shapes.row.device
        of = torch.as_tensor(self.source, device=device)
        at = torch.as_tensor(self.target, device=device)
        moved = torch.as_tensor(self.across, dtype=torch.float32, device=device)
        return Shapes(
            r_eff=shapes.r_eff[of],
            index=shapes.index[of],
            axis_ratio=shapes.axis_ratio[of],
            angle=shapes.angle[of],
            row=shapes.row[at] + moved,
            column=torch.zeros_like(moved),
        )

    def shifts(self, band: Band) -> Whole:
        """(m,) sub-pixels by which a neighbour's first order is moved: the two overlap."""
        return np.rint(self.along * (band.pixels - 1) * OVERSAMPLE).astype(np.int64)

    def places(self, band: Band) -> Whole:
        """(m,) sub-pixels from the first pixel of the spectrum to where a zero order falls."""
        return np.rint((self.along + 1) / 2 * (band.pixels - 1) * OVERSAMPLE).astype(np.int64)


def draw_intruders(share: float, design: Design, uniform: Float) -> Intruders:
    """Intruders for a ``share`` of the sources, from ``uniform`` (n, DRAWS) in [0, 1)."""
    rows = np.arange(len(uniform))
    target = rows[(uniform[:, 0] < share) & (rows > 0)]
    drawn = uniform[target]
    back = 1 + (drawn[:, 1] * np.minimum(target, AMONG)).astype(np.int64)
    reach = design.contamination.reach / design.detector.scale
    return Intruders(
        target=target,
        source=target - back,
        across=(2 * drawn[:, 2] - 1) * reach,
        along=2 * drawn[:, 3] - 1,
    )
