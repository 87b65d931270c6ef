"""p(z): the shares of the posterior, spread over redshift as the fit and the scan say.

A minimum whose sigma is no more than ``SMOOTH`` steps of the scan, or that calibration made wider,
is a Gaussian about the final fit, with a wider one where errors have tails, each on a grid of its
own; the scan would not see it. A broader one, and what lies beyond all minima, has the shape of the
scan. What each holds are its share and the rest's, so that p(z) agrees with PROB and with the
shares of the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.density import Densities, gather
from zspec.likelihood import posterior
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.ranking import weights
from zspec.likelihood.solve import Solutions
from zspec.likelihood.wings import Wing, of_each

Array = NDArray[np.float64]

SMOOTH = 2.5
"""Steps of the scan: with a larger sigma, lines between its values follow a peak to 2 %."""
MOSTLY = 1.15
"""A peak that calibration made wider than the fit by this factor is a Gaussian in any case."""
REACH = 5.0
"""Sigmas on either side of a Gaussian that are kept."""
PER_SIGMA = 4
"""Steps of its grid in one sigma: the lines between them are off by at most 0.8 % of the peak."""
CLOSE = 1e-6
"""Grid pixels: a peak so near an end is within it."""
DROP = 1e-3
"""Share of the posterior that is left out at most, where it is lowest; the rest is scaled to 1."""
MARGIN = 8
"""Values that are kept on either side of what matters: fewer, longer segments."""


def densities(
    found: Solutions,
    bases: Sequence[Basis],
    temper: float,
    own: torch.Tensor,
    wings: Mapping[str, Wing],
) -> Densities:
    """p(z) of n spectra, whose solutions kept their scans.

    Their sigma holds what calibration added; ``own`` (n, T) is the fit's. Shares are those of
    :func:`~zspec.likelihood.ranking.weights`. ``wings``, by spectype, are those of Gaussians.
    """
    share = weights(found, temper)
    size = len(found.label)
    wide = torch.where(found.sigma >= MOSTLY * own, 0.0, own)  # NaN stays NaN
    peaks = _Peaks(found.label, found.shift, share[:, :size].clone(), found.sigma.clone(), wide)
    spread = []
    for mine, one in found.scans or ():
        for j, label in enumerate(mine):
            apart, rest = bases[label].separation, share[:, size + label]
            mass = _over_scan(peaks, label, apart, rest, one.values[:, j], one.shifts)
            spread.append((label, one.shifts, one.step, mass))
    spectypes = [bases[label].spectype for label in found.label.tolist()]
    wing, more = (torch.from_numpy(each) for each in of_each(wings, spectypes))
    wider = torch.hypot(peaks.width, more / PIXEL_LN)
    broad = replace(peaks, held=peaks.held * wing, width=wider)
    narrow = replace(peaks, held=peaks.held * (1 - wing))
    limit = _limit(torch.cat([narrow.held, broad.held, *(mass for *_, mass in spread)], 1))
    ends = torch.tensor([basis.ends for basis in bases], dtype=torch.float64)
    parts = [_gaussians(one, limit, ends) for one in (narrow, broad)]
    parts += [_runs(mass, limit, shifts, step, label) for label, shifts, step, mass in spread]
    rows, labels, starts, steps = (np.concatenate([p[i] for p in parts]) for i in range(4))
    values = [value for part in parts for value in part[4]]
    return _scaled(gather(rows, labels, starts * PIXEL_LN, steps * PIXEL_LN, values), len(share))


Part = tuple[NDArray[Any], NDArray[Any], Array, Array, list[Array]]
"""Row, label, start, step (grid pixels) and values of segments, as :func:`gather` takes them."""


@dataclass(frozen=True)
class _Peaks:
    """The minima of n spectra, (n, T) each; places and widths in grid pixels."""

    label: torch.Tensor
    """(T,)"""
    shift: torch.Tensor
    held: torch.Tensor
    """Shares of those that are Gaussians: the scan takes its own out."""
    width: torch.Tensor
    """Sigma with what calibration added; a step of the scan where it is unknown."""
    own: torch.Tensor
    """Sigma of the fit, NaN unknown; 0 where calibration added most."""


def _over_scan(
    peaks: _Peaks,
    label: int,
    apart: float,
    rest: torch.Tensor,
    values: torch.Tensor,
    shifts: torch.Tensor,
) -> torch.Tensor:
    """(n, S) what the scan ``values`` of one class spreads: broad minima, and ``rest`` (n,).

    A minimum that the scan does not know as its own stays a Gaussian.
    """
    columns, step = (peaks.label == label).nonzero()[:, 0], float(shifts[1] - shifts[0])
    owner = posterior.owners(peaks.shift[:, columns], shifts, apart)
    shape = torch.exp((values.amin(1, keepdim=True) - values) / 2)  # (n, S)
    sums = shape.new_zeros(len(shape), len(columns) + 1).scatter_add_(1, owner, shape)
    broad = ~(peaks.own[:, columns] < SMOOTH * step) & (sums[:, :-1] > 0)
    held = torch.where(broad, peaks.held[:, columns], 0.0)
    peaks.held[:, columns] -= held
    width = peaks.width[:, columns]
    peaks.width[:, columns] = torch.where(width > 0, width, step)
    rest = torch.where(sums[:, -1] > 0, rest, 0.0)
    rate = torch.cat([held, rest[:, None]], 1) / sums.clamp(min=1e-300)
    return shape * rate.gather(1, owner)


def _limit(masses: torch.Tensor) -> torch.Tensor:
    """(n, 1) the mass up to which pieces (n, N) may be left out."""
    ordered = masses.sort(1).values
    below = (ordered.cumsum(1) <= DROP).sum(1, keepdim=True)
    padded = torch.cat([torch.zeros_like(ordered[:, :1]), ordered], 1)
    return padded.gather(1, below)


def _gaussians(peaks: _Peaks, limit: torch.Tensor, ends: torch.Tensor) -> Part:
    """A segment for each minimum that holds more than ``limit`` (n, 1), cut at its class' ``ends``.

    ``ends``: (class, 2) grid pixels.
    """
    row, column = (peaks.held > limit).nonzero(as_tuple=True)
    at = torch.arange(-REACH * PER_SIGMA, REACH * PER_SIGMA + 1, dtype=torch.float64) / PER_SIGMA
    shape = torch.exp(-at.square() / 2)
    shape[[0, -1]] = 0.0
    sigma, middle, labels = peaks.width[row, column], peaks.shift[row, column], peaks.label[column]
    place = middle[:, None] + sigma[:, None] * at
    there = (place >= ends[labels, :1] - CLOSE) & (place <= ends[labels, 1:] + CLOSE)
    inside = torch.where(there, shape, 0.0)
    step = sigma / PER_SIGMA
    value = (peaks.held[row, column] / (step * PIXEL_LN) / inside.sum(1))[:, None] * inside
    start = middle - REACH * sigma
    return row.numpy(), labels.numpy(), start.numpy(), step.numpy(), list(value.numpy())


def _runs(
    mass: torch.Tensor, limit: torch.Tensor, shifts: torch.Tensor, step: int, label: int
) -> Part:
    """Segments of one class where the scan's mass (n, S) is above ``limit`` (n, 1), and near it."""
    high = (mass > limit).double()[:, None]
    near = torch.nn.functional.max_pool1d(high, 2 * MARGIN + 1, 1, MARGIN)[:, 0]
    edge = torch.nn.functional.pad(near, (1, 1)).diff(dim=1)  # (n, S + 1)
    row, first = (edge > 0).nonzero(as_tuple=True)
    end = (edge < 0).nonzero(as_tuple=True)[1]
    value = (mass / (step * PIXEL_LN)).numpy()
    runs = zip(row.tolist(), first.tolist(), end.tolist(), strict=True)
    values = [np.pad(value[i, a:b], 1) for i, a, b in runs]
    start = (shifts[first] - step).numpy()
    count = len(values)
    return row.numpy(), np.full(count, label), start, np.full(count, float(step)), values


def _scaled(made: Densities, n: int) -> Densities:
    """The same densities, each spectrum's integral 1."""
    total = np.bincount(made.row, made.mass, n)[made.row]
    made.value[:] /= np.repeat(total, made.count).astype(np.float32)
    return made
