"""Tables of the noise ladder and of ZCONF for `likelihood_sdss.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zspec.likelihood.basis import PIXEL_KMS, STEP
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.confidence import features, probability
from zspec.likelihood.reasons import reasons
from zspec.likelihood.validate import (
    FOLDS,
    LADDER,
    Case,
    fold_of,
    learned,
    losses,
)

BINS = 15
"""Bins of the expected calibration error."""
RIGHT = {"GALAXY": 1000, "QSO": 3000, "STAR": 1000}
"""km/s: `right`."""
DRAWS = 1000
"""Bootstrap draws over objects."""


@dataclass(frozen=True)
class Rung:
    """One prediction of the ladder, calibrated without its fold."""

    key: str
    step: int
    right: bool
    good: bool
    zwarn: int
    zconf: float


def calibrations(
    every: Sequence[Case],
    blanks: Sequence[Case],
    plates: Sequence[str],
    error: float,
    mocks: Sequence[Case],
) -> list[Calibration]:
    """For each fold, what the other folds' objects and the other groups' sky fibres teach.

    ``plates`` are those of ``blanks``. Mocks teach every fold.
    """
    folds = np.array([fold_of(case.known.key) for case in every])
    groups = plate_groups(plates)
    loss, simulated = losses(every), losses(mocks)
    out = []
    for fold in range(FOLDS):
        rest = folds != fold
        kept = [case for case, other in zip(every, rest, strict=True) if other]
        sky = [case for case, group in zip(blanks, groups, strict=True) if group != fold]
        both = np.concatenate([loss[rest], simulated])
        out.append(learned(kept, sky, error, mocks, both))
    return out


def plate_groups(plates: Sequence[str]) -> list[int]:
    """A group of plates for each fibre; plates with many fibres are dealt out first."""
    ranked = [plate for plate, _ in Counter(sorted(plates)).most_common()]
    return [ranked.index(plate) % FOLDS for plate in plates]


def rungs(every: Sequence[Case], found: Sequence[Calibration]) -> list[Rung]:
    """All cases, each judged by the calibration of its fold."""
    return [_rung(case, found[fold_of(case.known.key)]) for case in every]


def _rung(case: Case, calibration: Calibration) -> Rung:
    """One case."""
    ranked = case.ranked(calibration.temper)
    table = features(case.pixels, case.found, ranked, case.bases)
    velocity = abs(case.offset(ranked)) / (np.log(10) * STEP) * PIXEL_KMS
    return Rung(
        key=case.known.key,
        step=case.step,
        right=bool(velocity < RIGHT[case.known.spectype]),
        good=case.good(ranked),
        zwarn=int(reasons(case.pixels, case.found, ranked, case.bases, calibration)[0]),
        zconf=float(probability(table, np.array(calibration.confidence))[0]),
    )


def ratio(rows: Sequence[Rung], top: NDArray[np.bool_], bottom: NDArray[np.bool_]) -> str:
    """Σ top / Σ bottom, with its 95 % interval by bootstrap over objects."""
    keys = np.unique([row.key for row in rows], return_inverse=True)[1]
    above, below = np.bincount(keys, top & bottom), np.bincount(keys, bottom)
    picks = np.random.default_rng(1).integers(0, len(below), (DRAWS, len(below)))
    share = above[picks].sum(1) / np.maximum(below[picks].sum(1), 1)
    low, high = np.percentile(share, [2.5, 97.5])
    return f"{above.sum() / below.sum():.4f} ({low:.3f}–{high:.3f})"


def ladder(rows: Sequence[Rung]) -> list[str]:
    """What ZWARN 0 is worth at every step."""
    out = [
        "| SNR divided by | right | ZWARN 0 | ZWARN 0 of the right | right of ZWARN 0 |",
        "|---|---|---|---|---|",
    ]
    for step in sorted({row.step for row in rows}):
        mine = [row for row in rows if row.step == step]
        right = np.array([row.right for row in mine])
        passed = np.array([row.zwarn == 0 for row in mine])
        every = np.ones(len(mine), bool)
        pairs = ((right, every), (passed, every), (passed, right), (right, passed))
        cells = [ratio(mine, top, bottom) for top, bottom in pairs]
        out.append(f"| {step} | " + " | ".join(cells) + " |")
    return out


def confidence(rows: Sequence[Rung]) -> list[str]:
    """Calibration of ZCONF over the whole ladder, parts of it and at the spectra's own SNR."""
    own = [row for row in rows if row.step == 1]
    taught = [row for row in rows if row.step <= max(LADDER)]
    out = [
        "| rows | n | good | ECE | log loss | of the base rate | AUC |",
        "|---|---|---|---|---|---|---|",
    ]
    worse = [row for row in rows if row.step > 1]
    parts = {
        "whole ladder": rows,
        "noise added": worse,
        f"SNR divided by up to {max(LADDER)}, as in learning": taught,
        "own SNR": own,
    }
    for name, mine in parts.items():
        p = np.array([row.zconf for row in mine])
        good = np.array([row.good for row in mine])
        base = log_loss(np.full(len(good), good.mean()), good)
        out.append(
            f"| {name} | {len(mine)} | {good.mean():.3f} | {ece(p, good):.3f} | "
            f"{log_loss(p, good):.3f} | {base:.3f} | {auc(p, good):.3f} |"
        )
    return out


def ece(p: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """Expected calibration error in bins of equal width."""
    code = np.minimum((p * BINS).astype(int), BINS - 1)
    gap = np.bincount(code, p, BINS) - np.bincount(code, hit, BINS)
    return float(np.abs(gap).sum() / len(p))


def log_loss(p: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """Mean -ln of the probability of what happened."""
    return float(-np.log(np.clip(np.where(hit, p, 1 - p), 1e-12, 1)).mean())


def auc(p: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """Chance that a good row has the higher probability than a bad one; ties count half."""
    above = p[hit][:, None] > p[~hit]
    equal = p[hit][:, None] == p[~hit]
    return float((above + equal / 2).mean())
