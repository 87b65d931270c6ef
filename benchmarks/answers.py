"""What estimators say of the same spectra, in one form: for `joint.py` and `redrock_mocks.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ladder
import numpy as np
import torch
from numpy.typing import NDArray

from zspec import Chunk, Estimator
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood
from zspec.joint.judging import SURE
from zspec.joint.proposed import Proposer, ask
from zspec.likelihood.basis import LIGHT
from zspec.survey import Spectra

FAST: frozenset[str] = frozenset({"fast"})
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What is known of n spectra."""

    kind: NDArray[np.str_]
    """Empty: blank sky."""
    z: Floats
    snr: Floats
    name: NDArray[np.str_]
    """File and row, to list failures."""


@dataclass(frozen=True)
class Said:
    """What one method says of them."""

    kind: NDArray[np.str_]
    z: Floats
    sigma: Floats
    zwarn: NDArray[np.int64]
    seconds: float
    """CPU per spectrum; NaN where it was not measured here."""

    def __getitem__(self, rows: Bools | NDArray[np.intp]) -> Said:
        """Of some rows."""
        parts = (self.kind[rows], self.z[rows], self.sigma[rows], self.zwarn[rows])
        return Said(*parts, self.seconds)


def by(estimator: Estimator, spectra: Spectra, want: frozenset[str] = frozenset()) -> Said:
    """What an estimator says; a class without redshifts, as gasnet2's stars, is at 0."""
    start = time.process_time()
    found = estimator.predict(Chunk(spectra, estimator.grid), want)  # type: ignore[arg-type]
    seconds = (time.process_time() - start) / len(spectra)
    row = np.arange(len(spectra))
    assert found.zwarn is not None
    kinds = np.array([c.spectype for c in found.classes])[found.best]
    still = np.array([c.z_range is None for c in found.classes])[found.best]
    z = np.where(still, 0.0, found.z[row, found.best])
    return Said(kinds, z, found.sigma[row, found.best], found.zwarn, seconds)


def by_network(model: Proposer, spectra: Spectra) -> Said:
    """What the network alone says: the mode of its density, between bins by a parabola."""
    start = time.process_time()
    said = ask(model, Chunk(spectra, model.grid).batch)
    peak = said.peaks(1)
    row, kind, at = torch.arange(len(said)), peak.kind[:, 0], peak.bin[:, 0]
    last = said.log_q.shape[2] - 1
    low, mid, high = (said.log_q[row, kind, (at + k).clamp(0, last)] for k in (-1, 0, 1))
    off = ((low - high) / (2 * (low - 2 * mid + high))).nan_to_num(0.0, 0.0, 0.0).clamp(-0.5, 0.5)
    u = said.edges[at] + (0.5 + off) * said.width
    seconds = (time.process_time() - start) / len(spectra)
    zwarn = np.where(peak.mass[:, 0].numpy() > SURE, 0, 1)
    sigma = np.full(len(said), said.width / 12**0.5) * np.exp(u.numpy())
    names_ = np.array(said.kinds)[kind.numpy()]
    return Said(names_, np.expm1(u.numpy()), sigma, zwarn, seconds)


def joined(parts: Sequence[Said]) -> Said:
    """Of several sets of spectra, one after the other."""
    size = np.array([len(part.z) for part in parts])
    seconds = float(np.sum([p.seconds for p in parts] * size) / size.sum())
    return Said(
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.sigma for part in parts]),
        np.concatenate([part.zwarn for part in parts]),
        seconds,
    )


Method = Callable[[Spectra], Said]
"""What answers."""


def methods(
    joint: Joint, likelihood: Likelihood, gasnet2: Estimator | None = None
) -> dict[str, Method]:
    """All that can be asked."""
    known: dict[str, Method] = {
        "zspec": lambda spectra: by(joint, spectra),
        "zspec --fast": lambda spectra: by(joint, spectra, FAST),
        "likelihood": lambda spectra: by(likelihood, spectra),
        "network": lambda spectra: by_network(joint.proposal, spectra),
    }
    if gasnet2 is not None:
        known["gasnet2"] = lambda spectra: by(gasnet2, spectra)
    return known


@dataclass(frozen=True)
class Answers:
    """What all methods say of the same spectra."""

    truth: Truth
    said: Mapping[str, Said]

    def some(self, rows: Bools) -> Answers:
        """Of some spectra."""
        t = self.truth
        truth = Truth(t.kind[rows], t.z[rows], t.snr[rows], t.name[rows])
        return Answers(truth, {name: one[rows] for name, one in self.said.items()})


def off(truth: Truth, said: Said) -> Floats:
    """(n,) (z - z_true) / (1 + z_true)."""
    return np.asarray((said.z - truth.z) / (1 + truth.z))


def right(truth: Truth, said: Said) -> Bools:
    """(n,) whether the redshift is within the velocity that the true class allows."""
    limit = np.array([ladder.RIGHT.get(kind, 0) for kind in truth.kind])
    return np.asarray(np.abs(np.log1p(off(truth, said))) * LIGHT < limit)
