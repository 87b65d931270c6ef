"""Galaxies without emission lines, and how strong those were: for ``zspec train sources``.

Lines are drawn apart, so that a basis must not know them: templates are bridged by polynomials, and
pixels of real spectra are no data there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zspec.likelihood.basis import STEP
from zspec.likelihood.learn import Rows
from zspec.likelihood.templates import Template
from zspec.simulate.sources.lines import LINES

Array = NDArray[np.float64]

LINE_PIXELS = 6
"""Half of what is cut out at an emission line, in grid pixels of 69 km/s."""
SIDE_PIXELS = 16
"""What the gap is bridged from, on each side."""


def bridged(template: Template) -> Array:
    """(K, pixel) vectors without emission lines: each is bridged by a polynomial.

    Linear in the vectors, so that it holds for each mixture of them. The bridge has five terms: it
    follows the trough of a Balmer line of stars below the emission.
    """
    made = template.vectors.copy()
    gaps = _gaps(template.k0, made.shape[1])
    lines = np.zeros(made.shape[1], bool)
    for first, last in gaps:
        lines[first:last] = True
    for first, last in gaps:
        low, high = max(first - SIDE_PIXELS, 0), min(last + SIDE_PIXELS, made.shape[1])
        x = (np.arange(low, high) - 0.5 * (first + last)) / (high - low)
        inside = (np.arange(low, high) >= first) & (np.arange(low, high) < last)
        bare = ~lines[low:high]
        design = np.vander(x, 5)
        terms = np.linalg.lstsq(design[bare], template.vectors[:, low:high][:, bare].T)[0]
        made[:, first:last] = (design[inside] @ terms).T
    return made


def _gaps(k0: int, length: int) -> list[tuple[int, int]]:
    """Pixel ranges of the emission lines; neighbours that touch are one."""
    centres = sorted(round(np.log10(line) / STEP) - k0 for line in LINES.values())
    gaps: list[tuple[int, int]] = []
    for centre in centres:
        first, last = centre - LINE_PIXELS, centre + LINE_PIXELS + 1
        if gaps and first <= gaps[-1][1] + LINE_PIXELS:
            gaps[-1] = (gaps[-1][0], last)
        elif first > 0 and last < length:
            gaps.append((first, last))
    return [gap for gap in gaps if gap[1] < length]


def without_lines(rows: Rows) -> Rows:
    """A spectrum whose pixels at emission lines are no data."""
    weight = rows.weight.clone()
    for first, last in _gaps(rows.k0, weight.shape[1]):
        weight[:, first:last] = 0
    return Rows(rows.k0, rows.flux, weight, rows.phase)


def strengths(rows: Rows, kept: Rows) -> float:
    """EW of Hα of a real spectrum above its surroundings, Å; NaN where it is not seen."""
    centre = round(np.log10(LINES["Halpha"]) / STEP) - rows.k0
    at = slice(centre - LINE_PIXELS, centre + LINE_PIXELS + 1)
    wide = slice(centre - 40, centre + 41)
    if not bool((rows.weight[0, at] > 0).all()) or int((kept.weight[0, wide] > 0).sum()) < 20:
        return float("nan")
    level = float(rows.flux[0, wide][kept.weight[0, wide] > 0].median())
    pixel = LINES["Halpha"] * np.log(10) * STEP
    # the gap also holds [N II]: a third of Hα, as is common, goes off
    return float((rows.flux[0, at] - level).sum() / level * pixel) / 1.33


def template_strengths(template: Template, bare: Array, lines: Array) -> list[float]:
    """EW of Hα of template spectra, Å: what bridging took away at the line itself."""
    centre = round(np.log10(LINES["Halpha"]) / STEP) - template.k0
    if not 0 < centre < lines.shape[1] - LINE_PIXELS:
        return [float("nan")] * len(lines)
    at = slice(centre - 4, centre + 5)
    pixel = LINES["Halpha"] * np.log(10) * STEP
    width = (lines - bare)[:, at].sum(1) / np.median(bare[:, at], axis=1) * pixel
    return [float(w) for w in width]
