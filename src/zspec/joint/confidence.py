"""ZCONF of the joint estimator: what the likelihood's looks at, and what the network adds.

A logistic model, small enough to be read; see :mod:`zspec.likelihood.confidence`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.joint.proposed import Proposed, numbers
from zspec.likelihood import confidence
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.solve import Solutions

FEATURES = (*confidence.FEATURES, "near", "entropy", "alone")
"""Those of the likelihood, of the joint shares; logit of what the network gives the neighbourhood
of the answer; entropy of the network's density; logit of what the likelihood alone gives the
answer."""
LEAST = 1e-3
"""Shares are cut to it and to 1 less it before their logit is taken."""


def features(
    pixels: Native,
    found: Solutions,
    ranked: Ranked,
    alone: Ranked,
    proposed: Proposed,
    bases: Sequence[Basis],
) -> NDArray[np.float64]:
    """(n, len(FEATURES)) of the first joint candidates. No NaN.

    ``alone`` is how the likelihood alone ranks the same solutions.
    """
    own = confidence.features(pixels, found, ranked, bases)
    share = torch.where(same(found, ranked, alone, bases), alone.share[:, 0], 0.0)
    near = agreement(found, ranked, proposed, bases)
    more = [torch.logit(near, LEAST), proposed.entropy, torch.logit(share, LEAST)]
    return np.column_stack([own, *(each.nan_to_num(0.0).numpy() for each in more)])


def agreement(
    found: Solutions, ranked: Ranked, proposed: Proposed, bases: Sequence[Basis]
) -> torch.Tensor:
    """(n,) what the network gives the neighbourhood of the first candidate, in its spectype."""
    kinds = numbers(proposed.kinds, [basis.spectype for basis in bases])
    kind = kinds[found.label[ranked.column[:, :1]]]  # (n, 1)
    at = proposed.bins(ranked.of(found.shift)[:, None] * PIXEL_LN)
    return proposed.near(kind, at)[:, 0]


def same(found: Solutions, ranked: Ranked, other: Ranked, bases: Sequence[Basis]) -> torch.Tensor:
    """(n,) bool: whether two rankings of the same solutions have one answer first."""
    kinds = numbers(sorted({b.spectype for b in bases}), [b.spectype for b in bases])
    one, two = ranked.column[:, 0], other.column[:, 0]
    apart = torch.tensor([basis.separation for basis in bases], dtype=torch.float64)
    near = (ranked.of(found.shift) - other.of(found.shift)).abs() <= apart[found.label[one]]
    return (one == two) | (near & (kinds[found.label[one]] == kinds[found.label[two]]))
