"""How real coefficients are spread, and how far a draw may lie from one of them.

A draw is a row of the bank plus a normal step whose covariance is h² times that of the row's group:
a kernel density. h is the one of ``BANDWIDTHS`` under which rows that are left out are likeliest.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray

log = logging.getLogger("zspec")

BANDWIDTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
"""What is tried, in units of the group's own spread."""
MOST = 1500
"""Rows of a group that the choice is made from."""
SHRINK = 0.5
"""A step is this times the best bandwidth: draws stay nearer to something real."""
LEAST = 12
"""Groups with fewer rows are drawn as they are."""


def kernels(bank: torch.Tensor, groups: NDArray[np.int64], count: int) -> torch.Tensor:
    """(groups, K, K) what a standard normal vector is multiplied with, for each group."""
    size = bank.shape[1]
    made = torch.zeros(count, size, size, dtype=bank.dtype)
    for group in range(count):
        rows = bank[torch.from_numpy(groups == group)]
        if len(rows) < LEAST:
            continue
        root = _root(rows)
        made[group] = SHRINK * best_bandwidth(rows, root) * root
    return made


def _root(rows: torch.Tensor) -> torch.Tensor:
    """(K, K) R with R Rᵀ the covariance of rows, without its smallest axes."""
    values, axes = torch.linalg.eigh(torch.cov(rows.T))
    kept = values > 1e-6 * values[-1]
    root: torch.Tensor = axes * torch.where(kept, values.clamp(min=0), 0.0).sqrt()
    return root


def best_bandwidth(rows: torch.Tensor, root: torch.Tensor) -> float:
    """The bandwidth with the largest mean log density of rows left out one at a time."""
    values = root.square().sum(0)
    kept = values > 0
    white = (rows @ root[:, kept])[:MOST] / values[kept]  # unit covariance
    scores = [left_out(white, h) for h in BANDWIDTHS]
    best = int(np.argmax(scores))
    normal = float(-0.5 * white.shape[1] * (math.log(2 * math.pi) + 1))
    told = (len(rows), white.shape[1], BANDWIDTHS[best], scores[best], normal)
    log.info("%d rows, %d axes: bandwidth %.2f, log density %.2f (one Gaussian: %.2f)", *told)
    return BANDWIDTHS[best]


def left_out(white: torch.Tensor, bandwidth: float) -> float:
    """Mean log density of rows under the kernels of all others; covariance 1."""
    n, size = white.shape
    distance = torch.cdist(white, white).square() / (2 * bandwidth**2)
    distance.fill_diagonal_(math.inf)
    norm = math.log(n - 1) + size * (math.log(bandwidth) + 0.5 * math.log(2 * math.pi))
    return float((torch.logsumexp(-distance, 1) - norm).mean())
