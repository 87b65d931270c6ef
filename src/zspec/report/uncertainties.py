"""Plots of uncertainties: against errors, SNR and z; reliability; pulls; efficiency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from zspec.errors import ZspecError
from zspec.evaluation.measure import Settings
from zspec.evaluation.sample import Sample
from zspec.metrics.redshifts import log_bias
from zspec.metrics.registry import GOOD_ALL
from zspec.metrics.uncertainties import pit_values, pulls
from zspec.report.redshifts import curves
from zspec.report.style import (
    COLOURS,
    GREY,
    MARKERS,
    NotDrawn,
    Plot,
    density,
    figure,
    linear,
    logarithmic,
    objects,
    rows_with,
    running,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = 10
"""Bins of a reliability diagram."""
RAW = "_RAW"
"""PROB_RAW, ZCONF_RAW and ZERR_RAW are what a catalogue calls values before calibration."""


def sigma(sample: Sample, _: Settings) -> tuple[Figure, str]:
    """Sigma against the error and against SNR; GaSNet-II Fig. 17."""
    sample = rows_with(sample, "z", "z_true", "sigma")
    z, true, s = (sample.columns[role] for role in ("z", "z_true", "sigma"))
    error = np.abs(z - true)
    panels = [("sigma", s, "|z - z true|", error)]
    if "snr" in sample.columns:
        snr = sample.columns["snr"]
        some = np.isfinite(snr) & (snr > 0)
        panels.append(("SNR", snr[some], "sigma", s[some]))
    drawn = figure(5.2 * len(panels), 4.4)
    for axes, panel in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _scatter(axes, *panel)
    axes = drawn.axes[0]
    ends = logarithmic(s)[[0, -1]]
    axes.plot(ends, ends, color=COLOURS[2], linewidth=1, label="equal")
    axes.plot(ends, 0.6745 * ends, color=COLOURS[2], linewidth=1, linestyle=":", label="honest")
    for axes in drawn.axes[: len(panels)]:
        axes.legend(loc="upper left")  # "best" is slow among many points
    caption = (
        "Error against the sigma that was predicted, and sigma against SNR. Orange: running "
        "median; of an honest Gaussian the median error is 0.67 sigma (dotted). "
        "What lies beyond the axes stands at their edge. "
        f"{objects(sample)}."
    )
    return drawn, caption


def _scatter(axes: Axes, x_name: str, x: NDArray[Any], y_name: str, y: NDArray[Any]) -> None:
    """Two positive quantities with a running median."""
    axes.set(xscale="log", yscale="log", xlabel=x_name, ylabel=y_name)
    density(axes, x, y, logarithmic(x), logarithmic(y))
    axes.plot(*running(x, y), color=COLOURS[1], marker="o", markersize=3, label="median")


def t(sample: Sample, settings: Settings) -> tuple[Figure, str]:
    """|z_true - z| / sigma against z; GaSNet-II Fig. 16."""
    sample = rows_with(sample, "z", "z_true", "sigma")
    z, true, s = (sample.columns[role] for role in ("z", "z_true", "sigma"))
    ratio = np.abs(pulls(z, true, s))
    chosen = settings.thr("t")
    limit = float(chosen) if isinstance(chosen, float | int) else 3.0
    drawn = figure(7, 4.2)
    axes = drawn.subplots()
    axes.set_yscale("log")
    density(axes, true, ratio, linear(true), logarithmic(ratio))
    axes.axhline(limit, color=COLOURS[1], linewidth=1.2)
    axes.set(xlabel="true redshift", ylabel="t = |z true - z| / sigma")
    share = float((ratio <= limit).mean())
    caption = (
        f"t against the true redshift; {share:.1%} have t <= {limit:g} (Gaussian: 99.7 %). What "
    )
    caption += "lies beyond the axes stands at their edge. "
    return drawn, caption + f"{objects(sample)}."


def reliability(sample: Sample, settings: Settings) -> tuple[Figure, str]:
    """What is said against what comes true, before and after calibration where both are there."""
    panels = {name: list(curve) for name, curve in _reliabilities(sample, settings).items()}
    panels = {name: found for name, found in panels.items() if found}
    if not panels:
        raise NotDrawn("neither PROB, ZCONF nor sigma is known")
    drawn = figure(4.3 * len(panels), 4.5)
    grid = drawn.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, found) in zip(grid, panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for k, (label, x, y, bars) in enumerate(found):
            look: dict[str, Any] = {"color": COLOURS[k], "marker": MARKERS[k], "label": label}
            axes.errorbar(x, y, bars, markersize=4, linewidth=1, capsize=2, **look)
        axes.set(title=name, xlabel="said", ylabel="found", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    both = any(len(found) > 1 for found in panels.values())
    caption = (
        "Reliability: the fraction that comes true against the probability that was said, in bins "
        "with a bar of one standard error; for sigma, the fraction of true redshifts in central "
        "intervals of a Gaussian. Grey: honest. "
        + ("" if both else f"The catalogue has no values before calibration (columns *{RAW}). ")
        + f"{objects(sample)}."
    )
    return drawn, caption


Curve = tuple[str, NDArray[Any], NDArray[Any], NDArray[Any] | None]


def _reliabilities(sample: Sample, settings: Settings) -> dict[str, Iterator[Curve]]:
    """The panels; each may turn out empty."""
    columns = sample.columns
    panels: dict[str, Iterator[Curve]] = {}
    if {"prob", "label", "label_true"} <= set(columns):
        known = (columns["label"] >= 0) & (columns["label_true"] >= 0)
        hit = columns["label"] == columns["label_true"]
        panels["PROB of the class"] = _probabilities(sample, "PROB", columns["prob"], hit, known)
    if {"zconf", "z", "z_true", "label_true"} <= set(columns):
        thr = settings.thr("ece_z") or GOOD_ALL
        by_class = (
            thr
            if isinstance(thr, float | int)
            else np.array([*(thr.get(n, np.nan) for n in sample.names), np.nan])[
                columns["label_true"]
            ]
        )
        hit = log_bias(columns["z"], columns["z_true"]) < by_class
        known = np.isfinite(columns["z"]) & np.isfinite(columns["z_true"])
        panels["ZCONF"] = _probabilities(sample, "ZCONF", columns["zconf"], hit, known)
    if {"sigma", "z", "z_true"} <= set(columns):
        panels["sigma"] = _coverages(sample)
    return panels


def _probabilities(
    sample: Sample,
    name: str,
    prob: NDArray[Any],
    hit: NDArray[np.bool_],
    known: NDArray[np.bool_],
) -> Iterator[Curve]:
    """Fraction of hits in bins of a probability, after and, where it is there, before."""
    for label, values in ((name, prob), (f"{name} before", _raw(sample, name))):
        if values is None or not (known & np.isfinite(values)).any():
            continue
        some = known & np.isfinite(values)
        x, y = values[some], hit[some]
        code = np.clip((x * STEPS).astype(int), 0, STEPS - 1)
        n = np.bincount(code, minlength=STEPS)
        used = n > 0
        mean = np.bincount(code, x, STEPS)[used] / n[used]
        share = np.bincount(code, y, STEPS)[used] / n[used]
        yield label, mean, share, np.sqrt(share * (1 - share) / n[used])


def _coverages(sample: Sample) -> Iterator[Curve]:
    """Fraction of true redshifts in central intervals, by their probability."""
    z, true = sample.columns["z"], sample.columns["z_true"]
    levels = np.linspace(0.05, 0.95, 19)
    for label, s in (("ZERR", sample.columns["sigma"]), ("ZERR before", _raw(sample, "ZERR"))):
        if s is None:
            continue
        some = np.isfinite(z) & np.isfinite(true) & (s > 0)
        if some.any():
            said = 2 * ndtr(np.abs(pulls(z[some], true[some], s[some]))) - 1
            yield label, levels, np.array([(said <= level).mean() for level in levels]), None


def _raw(sample: Sample, name: str) -> NDArray[np.float64] | None:
    """The column before calibration, if the catalogue has it."""
    try:
        return sample.other(f"{name}{RAW}").astype(np.float64)
    except ZspecError:
        return None


def pull(sample: Sample, _: Settings) -> tuple[Figure, str]:
    """Histograms of pulls and of the probability integral transform."""
    sample = rows_with(sample, "z", "z_true", "sigma")
    z, true, s = (sample.columns[role] for role in ("z", "z_true", "sigma"))
    values = pulls(z, true, s)
    drawn = figure(9.5, 4)
    left, right = drawn.subplots(1, 2)
    edges = np.linspace(-6, 6, 49)
    left.hist(np.clip(values, -6, 6), edges, density=True, color=COLOURS[5], label="found")
    x = np.linspace(-6, 6, 241)
    gauss = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    left.plot(x, gauss, color=COLOURS[1], label="honest")
    left.set(xlabel="pull (z - z true) / sigma", ylabel="density")
    left.legend()
    expected = len(z) / 20
    spread = 2 * np.sqrt(expected * 0.95)
    right.hist(pit_values(z, true, s), np.linspace(0, 1, 21), color=COLOURS[5], label="found")
    right.axhline(expected, color=COLOURS[1], label="honest, ± 2 standard errors")
    right.axhspan(expected - spread, expected + spread, color=COLOURS[1], alpha=0.2, linewidth=0)
    right.set(xlabel="probability integral transform", ylabel="rows")
    right.set_ylim(top=1.25 * right.get_ylim()[1])  # room for the legend
    right.legend()
    outside = float((np.abs(values) > 6).mean())
    caption = (
        f"Left: pulls with a Gaussian of width 1; {outside:.1%} lie beyond 6 and stand in the "
        f"first and last bin. Right: the probability that p(z), a Gaussian of Z and ZERR, gives "
        f"to redshifts below the true one. {objects(sample)}."
    )
    return drawn, caption


def efficiency(sample: Sample, settings: Settings) -> tuple[Figure, str]:
    """Efficiency against the Cramér-Rao bound, in bins of SNR."""
    drawn, caption = curves(sample, settings, "snr", ("eff",))
    drawn.axes[0].axhline(1, color=GREY, linewidth=1)
    more = "1 is the bound. Bins of which 2 % or more have |d| > 0.01 are not drawn. "
    return drawn, more + caption


SIGMA = ("z", "z_true", "sigma")
PLOTS = (
    Plot("sigma", "Uncertainty against error and SNR", SIGMA, sigma),
    Plot("t", "t against redshift", SIGMA, t),
    Plot("reliability", "Reliability", (), reliability),
    Plot("pull", "Pulls and probability integral transform", SIGMA, pull),
)
LAST = (
    Plot(
        "efficiency",
        "Efficiency against the Cramér-Rao bound",
        ("z", "z_true", "bound", "snr"),
        efficiency,
    ),
)
