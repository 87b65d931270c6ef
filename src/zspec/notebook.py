"""What a notebook shows of spectra and predictions: small tables and pictures in HTML.

Strings that may come from a file are escaped. Nothing is needed but numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec import flags

if TYPE_CHECKING:
    from zspec.estimator import Prediction
    from zspec.survey import Arm, Spectra

ROWS = 8
"""Spectra that are listed."""
DRAWN = 3
"""Spectra that are drawn."""
WIDTH, HEIGHT = 560, 70
"""Of a drawing, in pixels of the screen."""
COLOURS = ("#0072b2", "#009e73", "#d55e00")
"""Of the arms, from blue to red; colour-blind safe (Okabe & Ito)."""


def show_spectra(spectra: Spectra) -> str:
    """HTML of n spectra: arms, what is known of the first rows, and the first fluxes drawn."""
    head = f"<b>{len(spectra)} spectra</b>, arms: {'; '.join(map(_arm, spectra.arms)) or 'none'}"
    names = ["TARGETID", "ROW", *list(spectra.table)[:4]]
    columns: list[NDArray[Any]] = [spectra.ids, spectra.rows, *list(spectra.table.values())[:4]]
    if spectra.truth is not None:
        names += ["CLASS_TRUE", "Z_TRUE"]
        columns += [spectra.truth.spectype, spectra.truth.z]
    listed = _table(names, zip(*(column[:ROWS] for column in columns), strict=True))
    drawn = "".join(draw(spectra[i : i + 1]) for i in range(min(DRAWN, len(spectra))))
    return f"<div>{head}{listed}{_more(len(spectra))}{drawn}</div>"


def show_prediction(prediction: Prediction) -> str:
    """HTML of a prediction for n spectra: class, redshift, probability, flags in words."""
    n = len(prediction.best)
    names = ["", "class", "P", "z", "sigma", "runner-up", "reasons to distrust"]
    listed = _table(names, (_row(prediction, i) for i in range(min(n, ROWS))))
    return f"<div><b>prediction for {n} spectra</b>{listed}{_more(n)}</div>"


def _row(prediction: Prediction, i: int) -> list[object]:
    """What is said of one spectrum."""
    best = int(prediction.best[i])
    spec, prob = prediction.classes[best], float(prediction.prob[i, best])
    if np.isnan(prob):
        return [i, "no data", "", "", "", "", "NODATA"]
    zwarn = 0 if prediction.zwarn is None else int(prediction.zwarn[i])
    z, sigma = float(prediction.z[i, best]), float(prediction.sigma[i, best])
    said = ", ".join(flags.names(zwarn))
    return [i, spec.name, f"{prob:.3f}", f"{z:.6f}", f"{sigma:.2g}", _second(prediction, i), said]


def _second(prediction: Prediction, i: int) -> str:
    """The next candidate, if there is one."""
    ranked = prediction.candidates
    if ranked is None or ranked.label.shape[1] < 2 or ranked.label[i, 1] < 0:
        return ""
    name = prediction.classes[int(ranked.label[i, 1])].name
    return f"{name} {ranked.z[i, 1]:.5f} ({ranked.prob[i, 1]:.3f})"


def _arm(arm: Arm) -> str:
    """An arm in words."""
    ends = f"{arm.wave[0]:.0f} to {arm.wave[-1]:.0f} Å" if len(arm.wave) else "no pixels"
    return f"{escape(arm.name)} {len(arm.wave)} pixels, {ends}"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers of many digits are shortened."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def _more(n: int) -> str:
    return f"<div>and {n - ROWS} more</div>" if n > ROWS else ""


def draw(one: Spectra) -> str:
    """SVG of one spectrum: flux of every arm in bins, scaled to the quantiles of the good flux."""
    good = [arm.flux[0][arm.usable[0]] for arm in one.arms]
    flux = np.concatenate([*good, np.zeros(0, np.float32)])
    if not len(flux):
        return "<div>no usable pixel</div>"
    low, high = np.quantile(flux, [0.005, 0.995])
    ends = min(arm.wave[0] for arm in one.arms), max(arm.wave[-1] for arm in one.arms)
    lines = "".join(
        _line(arm, ends, (min(low, 0.0), max(high, low + 1e-6)), COLOURS[k % len(COLOURS)])
        for k, arm in enumerate(one.arms)
    )
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg {size} role="img" aria-label="flux over wavelength">{lines}</svg>'


def _line(arm: Arm, ends: tuple[float, float], levels: tuple[float, float], colour: str) -> str:
    """One arm as a line, a mean of the good pixels for each column of the screen."""
    x = (arm.wave - ends[0]) / (ends[1] - ends[0]) * (WIDTH - 1)
    column, usable = x.astype(int), arm.usable[0]
    total = np.bincount(column, np.where(usable, arm.flux[0], 0), WIDTH)
    count = np.bincount(column, usable, WIDTH)
    at = np.flatnonzero(count > 0)
    share = np.clip((total[at] / count[at] - levels[0]) / (levels[1] - levels[0]), 0, 1)
    return _polyline(at, (HEIGHT - 2) * (1 - share) + 1, colour)


def _polyline(x: NDArray[np.intp], y: NDArray[np.float64], colour: str) -> str:
    points = " ".join(f"{a},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1"/>'
