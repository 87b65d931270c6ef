"""The weights of the joint posterior: those under which validation spectra's truth is likeliest.

The loss of a spectrum is -ln of what the posterior gives to solutions of its class within the
class's threshold of its redshift; a share of labels may be anything, so that a wrong one does not
count without bound. Each group (real spectra, each survey's mocks) and each class in it counts the
same in all, so that the prior between classes is no survey's. The volume nearby has no part in it:
few spectra lie there, and mocks are no measure of how many should.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from zspec.joint.cases import JointCase
from zspec.joint.meeting import Meeting, meet
from zspec.joint.posterior import averages
from zspec.joint.proposed import numbers
from zspec.joint.weights import Weights
from zspec.likelihood.basis import PIXEL_LN
from zspec.likelihood.validate import STRAY

STEPS = 200
"""Iterations of L-BFGS at most."""
PULL = 1e-3
"""Penalty on the square of each parameter's distance from its start: keeps idle ones there."""
HIGHEST = -0.1
"""ln of the floor at most: a share is below 1."""
LEAST = 1e-4
"""Least power of the network whose logarithm is taken."""
NOTHING = 1e6
"""Stands for infinity, which has no gradient."""
NEARBY = 0.02
"""Redshift up to which surveys see all galaxies that there are, so that they are as many as the
volume: 6000 km/s."""
SPECTYPES = ("GALAXY", "QSO", "STAR")
START = (math.log(0.6), math.log(1e4), 0.0, 0.0, 0.0, 0.0, 0.0, math.log(1e-3))
"""ln a, ln saturation, ln b of each spectype, ln prior of QSO and STAR, ln floor."""


@dataclass(frozen=True)
class Table:
    """What the loss needs of N cases of at most T solutions of C classes.

    Who has fewer has solutions of no mass at all in the place of the others.
    """

    value: torch.Tensor
    """(N, T) -2 ln mass relative to no object."""
    rest: torch.Tensor
    """(N, C) the same beyond all minima."""
    held: torch.Tensor
    """(N, T) ln of the network's density over the flat one; -inf: never."""
    average: torch.Tensor
    """(N, C) the same of its mean over a class, beyond its solutions."""
    kind: torch.Tensor
    """(N, T) index into ``SPECTYPES``."""
    own: torch.Tensor
    """(C,) the same of classes."""
    right: torch.Tensor
    """(N, T) bool."""
    gain: torch.Tensor
    """(N,) evidence of the best solution."""
    share: torch.Tensor
    """(N,) how much each counts; they sum to 1."""


def table(cases: Sequence[JointCase]) -> Table:
    """The table of cases with a label."""
    bases = cases[0].bases
    own = numbers(SPECTYPES, [basis.spectype for basis in bases])
    found = [case.found for case in cases]
    label = _padded([one.label[None] for one in found], 0)
    null = torch.cat([one.null for one in found])[:, None]
    value = _padded([one.value for one in found], math.inf) - null
    parts = [_network(case) for case in cases]
    shift = _padded([met.shift for met, _ in parts], math.nan)
    good = torch.tensor([b.good_dz for b in bases], dtype=torch.float64)
    limit = torch.stack([good[own == numbers(SPECTYPES, [c.known.spectype])][0] for c in cases])
    z = torch.tensor([math.log1p(case.known.z) for case in cases], dtype=torch.float64)
    kinds = torch.cat([numbers(SPECTYPES, [case.known.spectype]) for case in cases])
    near = (shift * PIXEL_LN - z[:, None]).abs() < limit[:, None]
    return Table(
        value=value.clamp(max=NOTHING),
        rest=(torch.cat([one.rest for one in found]) - null).clamp(max=NOTHING),
        held=_padded([met.excess for met, _ in parts], -math.inf).clamp(min=-NOTHING),
        average=torch.cat([average for _, average in parts]).clamp(min=-NOTHING),
        kind=own[label],
        own=own,
        right=near & (own[label] == kinds[:, None]) & value.isfinite(),
        gain=(-value.amin(1)).clamp(min=0),
        share=_shares(cases),
    )


def _padded(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    """Rows (1, T) of several lengths below each other, filled up with a value."""
    size = max(row.shape[1] for row in rows)
    pad = torch.nn.functional.pad
    return torch.cat([pad(row, (0, size - row.shape[1]), value=value) for row in rows])


def _network(case: JointCase) -> tuple[Meeting, torch.Tensor]:
    """What the network says of solutions, and (1, C) ln of its density beyond, without a floor."""
    given = case.found, case.proposed, case.bases
    return meet(*given, case.wide), averages(*given, 0.0)


def _shares(cases: Sequence[JointCase]) -> torch.Tensor:
    """(N,) the same in all for each group and each class within it."""
    names = np.array([f"{case.group} {case.known.spectype}" for case in cases])
    _, code, count = np.unique(names, return_inverse=True, return_counts=True)
    return torch.from_numpy(1 / (count[code] * len(count)))


def weights_of(theta: torch.Tensor) -> Weights:
    """The weights of parameters (8,), in the order of ``START``."""
    a, saturation, galaxy, qso, star, *prior, floor = theta.tolist()
    powers = zip(SPECTYPES, (galaxy, qso, star), strict=True)
    return Weights(
        evidence=round(math.exp(a), 4),
        saturation=float(f"{math.exp(saturation):.4g}"),
        network={kind: round(math.exp(b), 4) for kind, b in powers},
        prior={kind: round(p, 3) for kind, p in zip(SPECTYPES, (0.0, *prior), strict=True)},
        floor=float(f"{math.exp(min(floor, HIGHEST)):.3g}"),
        nearby=NEARBY,
    )


def parameters(weights: Weights) -> torch.Tensor:
    """(8,) the parameters of weights, in the order of ``START``: the inverse of ``weights_of``."""
    powers = [math.log(max(weights.network.get(kind, 1.0), LEAST)) for kind in SPECTYPES]
    prior = [weights.prior.get(kind, 0.0) - weights.prior.get("GALAXY", 0.0) for kind in SPECTYPES]
    ends = (math.log(weights.evidence), math.log(weights.saturation))
    made = [*ends, *powers, *prior[1:], math.log(max(weights.floor, LEAST**2))]
    return torch.tensor(made, dtype=torch.float64)


def loss(cases: Sequence[JointCase], weights: Weights) -> float:
    """The mean loss of cases by some weights."""
    data = table(cases)
    return float((data.share * losses(parameters(weights), data)).sum())


def losses(theta: torch.Tensor, data: Table) -> torch.Tensor:
    """(N,) of each case, by parameters (8,) in the order of ``START``."""
    a, saturation = theta[0].exp(), theta[1].exp()
    power = (a / (1 + data.gain / saturation))[:, None]
    b, floor = theta[2:5].exp(), theta[7].clamp(max=HIGHEST)
    prior = torch.cat([theta.new_zeros(1), theta[5:7]])

    def mass(value: torch.Tensor, held: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        said = torch.logaddexp(held + torch.log1p(-floor.exp()), floor)
        return -power / 2 * value + b[kind] * said + prior[kind]

    mine = mass(data.value, data.held, data.kind)
    beyond = mass(data.rest, data.average, data.own)
    total = torch.logsumexp(torch.cat([mine, beyond], 1), 1)
    right = torch.where(data.right, mine, -1e30)
    given = (torch.logsumexp(right, 1) - total).exp()
    return -torch.log((1 - STRAY) * given + STRAY / 2)


def fit(cases: Sequence[JointCase]) -> tuple[Weights, float]:
    """The weights of least loss, and that loss."""
    return _descend(table(cases), torch.tensor(START, dtype=torch.float64), PULL)


def refit(cases: Sequence[JointCase], start: Weights, scatter: float) -> tuple[Weights, float]:
    """The most probable weights where ``start`` is known, and the loss of the cases.

    Each parameter has a normal prior about that of ``start``, of sigma ``scatter``, and the cases
    count as the independent ones that their shares make of them: 1 / sum of squared shares.
    """
    data = table(cases)
    pull = float((data.share**2).sum()) / (2 * scatter**2)
    return _descend(data, parameters(start), pull)


def _descend(data: Table, start: torch.Tensor, pull: float) -> tuple[Weights, float]:
    """The weights of least loss. L-BFGS, float64: the same on every machine."""
    theta = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        total = (data.share * losses(theta, data)).sum() + pull * (theta - start).square().sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch has no types there
        return total

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch has no types there
    found = theta.detach()
    return weights_of(found), float((data.share * losses(found, data)).sum())
