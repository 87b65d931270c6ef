"""The panels of which pictures are made: a spectrum with its lines, and what is known in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec import lines
from zspec.inspection.targets import Floats, Solution, Target, smooth
from zspec.report.style import COLOURS, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANSWER, RUNNER_UP = COLOURS[1], COLOURS[0]
EMISSION, ABSORPTION = COLOURS[2], COLOURS[3]
RAW = "0.72"
UNIT = r"flux  [10$^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$]"
WAVE = "wavelength  [Å, vacuum, observed]"
QUANTILES = (0.01, 0.995)
"""Of the flux, between which it is always seen."""
AUTO = (20.0, 2.0)
"""Smoothing by default: SNR per pixel below which it starts, and its sigma in pixels."""


@dataclass(frozen=True)
class View:
    """How spectra are drawn."""

    smoothing: float | None = None
    """Sigma in pixels; None: 2 where the SNR per pixel is below 20, else none."""
    span: tuple[float, float] | None = None
    """First and last wavelength, Å; None: where there are data."""

    def sigma(self, target: Target) -> float:
        """Pixels of smoothing of one spectrum."""
        if self.smoothing is not None:
            return self.smoothing
        return AUTO[1] if float(target.row["SNR"]) < AUTO[0] else 0.0


def spectrum(axes: Axes, target: Target, view: View, labels: bool = True) -> None:
    """Flux, its error at the bottom, the answer's model and the runner-up's, and lines."""
    sigma = view.sigma(target)
    shown = [smooth(arm.flux[0], arm.ivar[0], sigma) for arm in target.arms]
    for number, (arm, flux) in enumerate(zip(target.arms, shown, strict=True)):
        if sigma > 0:
            raw = np.where(arm.usable[0], arm.flux[0], np.nan)
            axes.plot(arm.wave, raw, color=RAW, lw=0.4, zorder=1)
        name = "flux" + (f", smoothed by {sigma:g} pixels" if sigma > 0 else "")
        axes.plot(arm.wave, flux, color="0.15", lw=0.7, zorder=2, label=_once(name, number))
        error = np.where(arm.usable[0], _error(arm.ivar[0]), np.nan)
        axes.plot(arm.wave, error, color=COLOURS[5], lw=0.6, zorder=1, label=_once("error", number))
    _limits(axes, target, shown, view)
    if len(target.solutions) > 1:
        _model(axes, target, target.solutions[1], "runner-up", RUNNER_UP, 0.9, "--")
    if target.solutions:
        _model(axes, target, target.solutions[0], "model", ANSWER, 1.2, "-")
        mark_lines(axes, target.solutions[0], labels)
    axes.axhline(0, color="0.6", lw=0.6, zorder=0)


def _once(label: str, number: int) -> str:
    """A label of the first arm only."""
    return label if number == 0 else "_"


def _error(ivar: NDArray[Any]) -> Floats:
    """1 sigma (pixel,); 0 where there is no information."""
    out = np.zeros(len(ivar))
    np.divide(1, np.sqrt(ivar), out=out, where=ivar > 0)
    return out


def _model(
    axes: Axes, target: Target, one: Solution, name: str, colour: str, width: float, style: str
) -> None:
    """One model over all arms, with what it is in the legend."""
    label = f"{name}: {plain(one.label)}, z = {one.z:.5f}" + share(one.prob)
    if one.model is None:
        axes.plot([], [], color=colour, lw=width, ls=style, label=f"{label} (not drawn)")
        return
    for number, (arm, values) in enumerate(zip(target.arms, one.model, strict=True)):
        seen = np.where(_near_data(arm.usable[0]), values, np.nan)
        name = _once(label, number)
        axes.plot(arm.wave, seen, color=colour, lw=width, ls=style, zorder=3, label=name)


def share(prob: float) -> str:
    """A probability, where there is one.

    >>> share(0.99999), share(0.25), share(1e-9)
    (', P > 0.999', ', P = 0.250', ', P < 0.001')
    """
    if not np.isfinite(prob):
        return ""
    if prob < 0.0005:
        return ", P < 0.001"
    return ", P > 0.999" if prob > 0.9995 else f", P = {prob:.3f}"


def _near_data(good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """From the first good pixel to the last: a model goes on over gaps, not beyond."""
    at = np.flatnonzero(good)
    seen = np.zeros(len(good), bool)
    if len(at):
        seen[at[0] : at[-1] + 1] = True
    return seen


def _limits(axes: Axes, target: Target, shown: Sequence[Floats], view: View) -> None:
    """Limits that no cosmic ray stretches: quantiles of the flux and all of the model."""
    good = [arm.wave[arm.usable[0]] for arm in target.arms]
    wave = np.concatenate(good)
    low, high = view.span or ((wave.min(), wave.max()) if len(wave) else (3600.0, 10000.0))
    axes.set_xlim(low, high)
    parts = []
    for number, (arm, flux) in enumerate(zip(target.arms, shown, strict=True)):
        inside = (arm.wave >= low) & (arm.wave <= high) & arm.usable[0]
        parts.append(np.nanquantile(flux[inside], QUANTILES) if inside.any() else [0.0, 0.0])
        model = target.solutions[0].model if target.solutions else None
        if model is not None and inside.any():
            parts.append([model[number][inside].min(), model[number][inside].max()])
    bottom, top = min(0.0, float(np.min(parts))), float(np.max(parts))
    room = (top - bottom) or 1.0
    axes.set_ylim(bottom - 0.05 * room, top + 0.22 * room)  # labels of lines stand above


def mark_lines(axes: Axes, one: Solution, labels: bool) -> None:
    """Lines at the solution's redshift; of labels that collide the major ones stay."""
    low, high = axes.get_xlim()
    seen = [line for line in lines.of(one.spectype) if low < line.wave * (1 + one.z) < high]
    placed: list[float] = []
    for line in sorted(seen, key=lambda line: not line.major):
        at = line.wave * (1 + one.z)
        colour = EMISSION if line.kind == "emission" else ABSORPTION
        style = "-" if line.kind == "emission" else ":"
        axes.axvline(at, color=colour, lw=0.7, ls=style, alpha=0.55, zorder=0)
        if labels and all(abs(at - other) > 0.014 * (high - low) for other in placed):
            placed.append(at)
            axes.annotate(
                line.name,
                (at, 1.0),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="top",
                fontsize=7,
                color=colour,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
            )


def facts(target: Target) -> list[str]:
    """What the catalogue says of the row, line by line, the reasons to distrust it in words."""
    row = target.row
    said = [" ".join(dict.fromkeys([row["SPECTYPE"] or "no data", row["CLASS"]])).strip()]
    said.append(f"z = {row['Z']:.6f} ± {row['ZERR']:.6f}")
    if np.isfinite(row["ZCONF"]):
        said.append(f"ZCONF = {row['ZCONF']:.3f}")
    said.append(f"SNR = {row['SNR']:.1f} per pixel, {row['NPIXELS']} pixels, arms {row['ARMS']}")
    if np.isfinite(row["CHI2"]):
        said.append(f"χ² = {row['CHI2']:.1f}, Δχ² = {row['DELTACHI2']:.1f}")
    if row.get("CLASS_TRUE"):
        said.append(f"truth: {row['CLASS_TRUE']}, z = {row['Z_TRUE']:.6f}")
    said.append("ZWARN = 0" if not row["ZWARN"] else f"ZWARN = {row['ZWARN']}")
    return [plain(text) for text in said] + ["– " + text for text in target.zwarn]


def words(axes: Axes, target: Target, width: int = 50) -> None:
    """The facts as text in an empty panel; long sentences are wrapped."""
    axes.set_axis_off()
    wrapped = [
        part
        for text in facts(target)
        for part in textwrap.wrap(text, width, subsequent_indent="   ", break_long_words=False)
    ]
    axes.text(0, 1, "\n".join(wrapped), va="top", fontsize=8.5, transform=axes.transAxes)
