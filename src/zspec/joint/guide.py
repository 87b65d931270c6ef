"""Where the likelihood looks because the network does.

Everywhere, as ever; and what the network proposes but is no minimum of the scan, or none that is
deep enough to be kept, is fitted as well, so that the union of both is ranked. Or, fast, in its
windows alone: :mod:`~zspec.joint.windows`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch

from zspec.joint.posterior import joined
from zspec.joint.proposals import with_proposals
from zspec.joint.proposed import Proposed
from zspec.joint.weights import Weights
from zspec.joint.windows import windows
from zspec.likelihood.basis import Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.output import stretched
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import leading
from zspec.likelihood.solve import Guide, Solutions, scanned


def guide(
    proposed: Proposed, bases: Sequence[Basis], weights: Weights, fit: Calibration, fast: bool
) -> Guide:
    """How spectra of which the network knows so much are solved; ``fast``: in windows alone."""
    search = windows if fast else whole

    def weigh(found: Solutions) -> torch.Tensor:
        wide = stretched(found, bases, fit)
        together = joined(found, proposed, bases, weights, wide, beyond=False)
        return leading(together, bases, 1.0)

    return Guide(search=functools.partial(search, proposed), weigh=weigh)


def whole(
    proposed: Proposed,
    pixels: Native,
    bases: Sequence[Basis],
    priors: torch.Tensor,
    resolution: float,
    keep_scans: bool,
) -> Solutions:
    """The minima of the whole scan, and those near the network's redshifts."""
    found = scanned(pixels, bases, priors, resolution, True)
    made = with_proposals(found, proposed, bases)
    return made if keep_scans else dataclasses.replace(made, scans=None)
