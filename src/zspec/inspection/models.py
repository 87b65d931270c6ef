"""Models of a catalogue's candidates, by the likelihood: a fit of one class near one redshift.

The class is that of the catalogue where the likelihood knows its name, else the classes of its
SPECTYPE, of which the one that fits best counts. The fit takes one Gauss-Newton step, so that a
redshift of another tool is kept to a pixel of the grid (69 km/s).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.inspection.targets import Solution, Target, has_data
from zspec.likelihood import refine
from zspec.likelihood.basis import STEP
from zspec.likelihood.noise import with_model_error
from zspec.likelihood.pixels import native, trimmed
from zspec.likelihood.solve import broadening
from zspec.survey import Arm

if TYPE_CHECKING:
    from zspec.likelihood.basis import Basis

Models = tuple[NDArray[np.float32], ...]


def modelled(targets: Iterable[Target], name: str, most: int) -> Iterator[Target]:
    """The targets with models of their first ``most`` solutions, by the likelihood of that name.

    ``name`` is a shipped one, a checkpoint's file, or ``none``. Raises ConfigError for another
    estimator, which has no models.
    """
    if name == "none":
        yield from targets
        return
    fitter = checkpoint.load_estimator(name)
    if not isinstance(fitter, Likelihood):
        raise ConfigError(f"model {name!r} is of {fitter.name}, which has no model spectra")
    for target in targets:
        yield add_models(target, fitter, most)


def add_models(target: Target, fitter: Likelihood, most: int) -> Target:
    """The target with models of its first ``most`` solutions; unchanged where it has no data."""
    if not has_data(target):
        return target
    done = [
        replace(one, model=model(target.arms, one, fitter)) if rank < most else one
        for rank, one in enumerate(target.solutions)
    ]
    return replace(target, solutions=tuple(done))


def model(arms: Sequence[Arm], solution: Solution, fitter: Likelihood) -> Models | None:
    """(pixel,) per arm, 0 beyond the data; None for a class that the likelihood does not know.

    ``arms`` hold one spectrum with at least one good pixel.
    """
    bases = _bases(solution, fitter.bases)
    if not bases or not math.isfinite(solution.z) or solution.z <= -1:
        return None
    whole = native(arms)
    some, used = trimmed(whole)
    with torch.inference_mode():
        prepared = refine.prepare(with_model_error(some, fitter.calibration.model_error))
        width = float(resolution(arms)[0])
        fits = [_fit(prepared, basis, solution.z, width) for basis in bases]
    best = min(fits, key=lambda fit: float(fit.chi2[0]))
    values = np.zeros(whole.flux.shape[1], np.float32)
    values[used] = best.model[0].numpy()
    ends = np.cumsum([len(arm.wave) for arm in arms])[:-1]
    return tuple(np.split(values, ends))


def _bases(solution: Solution, known: Sequence[Basis]) -> list[Basis]:
    """Those of the solution's class, else of its spectype."""
    same = [basis for basis in known if basis.name == solution.label]
    return same or [basis for basis in known if basis.spectype == solution.spectype]


def _fit(data: refine.Prepared, basis: Basis, z: float, width: float) -> refine.Fit:
    """One fit of one basis near z, within what the basis covers."""
    low, high = basis.ends
    shift = min(max(math.log10(1 + z) / STEP, float(low)), float(high))
    rows, start = torch.zeros(1, dtype=torch.long), torch.tensor([shift], dtype=torch.float64)
    patient = torch.zeros(1, dtype=torch.bool)
    return refine.refine(data, basis, rows, start, patient, broadening(basis, width))
