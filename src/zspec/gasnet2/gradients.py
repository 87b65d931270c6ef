"""What the networks look at: |dP/dλ| and |dz/dλ| (P1, App. D).

The derivative is that of the chosen class's probability, or of its ensemble's mean redshift, by the
normalised flux of each pixel: plain automatic differentiation through the folded networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import sources
from zspec.batch import SpectrumBatch
from zspec.errors import InputError
from zspec.estimators.gasnet2 import GasNet2
from zspec.fits import write_fits
from zspec.gasnet2.forward import run
from zspec.gasnet2.heads import combine
from zspec.gasnet2.samples import GRID, inputs
from zspec.sources import Source
from zspec.survey import Spectra

LINES: Mapping[str, float] = {
    "Lyα": 1215.67,
    "C IV": 1549.48,
    "C III]": 1908.73,
    "Mg II": 2799.94,
    "[O II]": 3728.48,
    "K": 3934.78,
    "H": 3969.59,
    "Hδ": 4102.89,
    "G": 4305.61,
    "Hγ": 4341.68,
    "Hβ": 4862.68,
    "[O III]": 5008.24,
    "Mg": 5175.98,
    "Na": 5894.57,
    "Hα": 6564.61,
    "[S II]": 6725.48,
}
"""Rest wavelengths in Å, vacuum (NIST); doublets and blends are plain means."""


@dataclass(frozen=True)
class Gradients:
    """Of n spectra, on the grid of the networks."""

    wave: NDArray[np.float64]
    """(wave,) Å, vacuum, observed frame."""
    flux: NDArray[np.float32]
    """(n, wave) normalised flux, as the networks see it."""
    by_class: NDArray[np.float32]
    """(n, wave) |dP/dx| of the chosen class."""
    by_redshift: NDArray[np.float32]
    """(n, wave) |dz/dx| of its ensemble's mean; NaN where the class has no redshift."""
    best: NDArray[np.int16]
    """(n,) chosen class."""
    prob: NDArray[np.float32]
    """(n,) its probability."""
    z: NDArray[np.float64]
    """(n,) its redshift; 0 where it has none."""


def pick(source: Source, rows: Sequence[int]) -> list[Spectra]:
    """Single spectra of a file, in the order of ``rows``. Raises InputError for one not there."""
    found: dict[int, Spectra] = {}
    for spectra in sources.read(source)[1]:
        for i, row in enumerate(spectra.rows.tolist()):
            if row in rows:
                found[row] = spectra[i : i + 1]
    missing = [row for row in rows if row not in found]
    if missing:
        raise InputError(f"{source.path}: has no row {missing[0]}")
    return [found[row] for row in rows]


def gradients(model: GasNet2, every: Sequence[Spectra]) -> Gradients:
    """Gradients of the given spectra. Raises InputError where one has no data on the grid."""
    parts = []
    for spectra in every:
        batch = SpectrumBatch.from_spectra(spectra, GRID)
        if not batch.good.any(axis=1).all():
            raise InputError(f"row {spectra.rows[0]} has no good pixel between 4000 and 9000 Å")
        parts.append(inputs(batch, model.config.scale))
    x = torch.cat(parts).to(model.device)
    prob, by_class, best = _by_class(model, x)
    z, by_redshift = torch.zeros(len(x)), torch.full_like(x, torch.nan)
    for number in model.placed.members:
        mine = (best == number).nonzero()[:, 0]
        if len(mine):
            z[mine.cpu()], by_redshift[mine] = _by_redshift(model, number, x[mine])
    return Gradients(
        wave=GRID.wave,
        flux=x.cpu().numpy(),
        by_class=by_class.cpu().numpy(),
        by_redshift=by_redshift.cpu().numpy(),
        best=best.cpu().numpy().astype(np.int16),
        prob=prob.cpu().numpy(),
        z=z.double().numpy(),
    )


def _by_class(model: GasNet2, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n,) probability of the best class, (n, wave) |its gradient|, (n,) the class."""
    x = x.clone().requires_grad_()
    logits = [run(net, x) for net in model.placed.classifiers]
    best = combine(model.config.heads, logits, len(model.classes)).max(1)
    (slope,) = torch.autograd.grad(best.values.sum(), x)
    return best.values.detach(), slope.abs(), best.indices


def _by_redshift(model: GasNet2, number: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) mean redshift of a class's ensemble, and (n, wave) |its gradient|."""
    x = x.clone().requires_grad_()
    nets = model.placed.members[number]
    z = torch.stack([run(net, x)[:, 0] for net in nets]).mean(0) / model.config.z_scale
    (slope,) = torch.autograd.grad(z.sum(), x)
    return z.detach().cpu(), slope.abs()


def draw(path: Path, model: GasNet2, found: Gradients, titles: Sequence[str]) -> None:
    """One panel a spectrum, as P1's Fig. D1: flux, |dz/dλ| shifted by -1, |dP/dλ| by -2.

    All three are divided by their maximum. Lines are marked at the predicted
    redshift. Raises InputError where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("matplotlib is missing; install the extra 'plot'") from None
    figure = Figure(figsize=(10, 2.6 * len(found.flux)), layout="constrained")
    axes = figure.subplots(len(found.flux), 1, squeeze=False)[:, 0]
    for i, axis in enumerate(axes):
        _panel(axis, found, i)
        name = model.classes[found.best[i]].name
        said = f"{titles[i]}: {name}, P = {found.prob[i]:.3f}, z = {found.z[i]:.4f}"
        axis.set_title(said, loc="left")
        axis.set_xlim(found.wave[0], found.wave[-1])
    axes[-1].set_xlabel("observed wavelength in vacuum / Å")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    figure.savefig(path, dpi=110)


def _panel(axis: Any, found: Gradients, i: int) -> None:
    """One spectrum."""
    curves = (
        ("flux", found.flux[i], 0, "k"),
        ("|dz/dλ|", found.by_redshift[i], -1, "C3"),
        ("|dP/dλ|", found.by_class[i], -2, "C2"),
    )
    for label, values, shift, color in curves:
        top = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 0
        if top > 0:
            axis.plot(found.wave, values / top + shift, color=color, lw=0.6, label=label)
    for name, rest in LINES.items():
        at = rest * (1 + found.z[i])
        if found.wave[0] < at < found.wave[-1]:
            axis.axvline(at, color="C0", lw=0.5, ls=":")
            axis.text(at, 1.02, name, fontsize=7, ha="center", va="bottom", color="C0")
    axis.set_yticks([])
    axis.set_ylim(-2.1, 1.25)


def write(path: Path, model: GasNet2, found: Gradients, rows: Sequence[int]) -> None:
    """Write HDUs WAVE and GRADIENTS (one row a spectrum, vectors over the grid)."""
    columns: dict[str, NDArray[Any]] = {
        "ROW": np.array(rows, np.int32),
        "CLASS": np.array([model.classes[i].name for i in found.best]),
        "Z": found.z,
        "PROB": found.prob,
        "FLUX": found.flux,
        "DP_DLAMBDA": found.by_class,
        "DZ_DLAMBDA": found.by_redshift,
    }
    write_fits(path, [("", np.zeros(0), {}), ("WAVE", found.wave, {}), ("GRADIENTS", columns, {})])
