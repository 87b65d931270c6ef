"""Plots of redshifts against the truth, and of their metrics against z, SNR and magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zspec.evaluation.groups import group
from zspec.evaluation.measure import Result, Settings, evaluate_groups, resample
from zspec.evaluation.sample import Sample
from zspec.metrics import BY_NAME, say_threshold
from zspec.metrics.redshifts import log_bias, residual
from zspec.report.style import (
    COLOURS,
    GREY,
    MARKERS,
    SHADES,
    SHOWN,
    NotDrawn,
    Plot,
    density,
    figure,
    linear,
    objects,
    plain,
    rows_with,
    symmetric,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIECES = 8
"""Bins of a curve, with equal numbers of rows."""
LEAST = 10
"""Fewest rows of a bin that is drawn."""
STELLAR = 0.01
"""Redshifts of a class that span less are one bin: stars."""
LABELS = {"z": "true redshift", "snr": "SNR", "mag": "magnitude"}
METRIC_LABELS = {
    "gf": "good fraction",
    "nmad": "NMAD",
    "eta": "η",
    "acc": "accuracy",
    "eff": "efficiency",
}


def redshift(sample: Sample, _: Settings) -> tuple[Figure, str]:
    """Redshift against the true one, and the residual below."""
    sample = rows_with(sample, "z", "z_true")
    z, true = sample.columns["z"], sample.columns["z_true"]
    drawn = figure(7, 7)
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    edges = linear(true)
    density(top, true, z, edges, linear(np.concatenate([z, true])))
    top.plot(edges[[0, -1]], edges[[0, -1]], color=COLOURS[1], linewidth=1)
    top.set_ylabel("redshift")
    d = residual(z, true)
    bottom.set_yscale("symlog", linthresh=1e-3)
    density(bottom, true, d, edges, symmetric(1e-3, max(float(np.abs(d).max()), 0.01) * 1.1))
    bottom.axhline(0, color=COLOURS[1], linewidth=1)
    bottom.set(xlabel="true redshift", ylabel="d = Δz / (1 + z true)")
    caption = (
        f"Redshift against the true one, and below it d (linear within ±0.001, logarithmic "
        f"beyond). Orange: equality. {objects(sample)}."
    )
    return drawn, caption


def bias(sample: Sample, _: Settings) -> tuple[Figure, str]:
    """Bias against z, coloured by SNR, robust and unstable redshifts apart."""
    roles = [role for role in ("snr", "robust") if role in sample.columns]
    sample = rows_with(sample, "z", "z_true", *roles)
    shown = sample if len(sample) <= SHOWN else sample[_some(len(sample))]
    parts = {"all": shown}
    if "robust" in roles:
        robust = shown.columns["robust"] == 1
        parts = {"robust": shown[robust], "unstable": shown[~robust]}
    drawn = figure(4.2 * len(parts) + 1.6, 4.6)
    grid = drawn.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, part) in zip(grid, parts.items(), strict=True):
        _bias_panel(axes, part, "snr" in roles)
        axes.set(title=f"{name} ({len(part)})", xlabel="true redshift", yscale="log")
    grid[0].set_ylabel("bias |ln((1 + z true) / (1 + z))|")
    if "snr" in roles:
        drawn.colorbar(grid[0].collections[0], ax=list(grid), label="SNR", pad=0.01)
    return drawn, _bias_caption(sample, shown, roles)


def _some(rows: int) -> Any:
    """The same random rows each time."""
    return np.sort(np.random.default_rng(0).choice(rows, SHOWN, replace=False))


def _bias_panel(axes: Axes, part: Sample, with_snr: bool) -> None:
    from matplotlib.colors import LogNorm

    z, true = part.columns["z"], part.columns["z_true"]
    y = np.clip(log_bias(z, true), 1e-7, None)
    norm = LogNorm(1, 30, clip=True)
    colour: dict[str, Any] = (
        {"c": part.columns["snr"], "cmap": SHADES, "norm": norm} if with_snr else {}
    )
    axes.scatter(true, y, s=7, linewidths=0, alpha=0.8, **colour)
    for thr, style in ((0.0015, "--"), (0.015, ":")):
        axes.axhline(thr, color=COLOURS[1], linestyle=style, linewidth=1)


def _bias_caption(sample: Sample, shown: Sample, roles: list[str]) -> str:
    split = (
        "Robust: sigma at most the limit of the class (or no bit UNSTABLE)."
        if "robust" in roles
        else "Robust and unstable redshifts are not told apart: no limit was given (--robust)."
    )
    colour = "Colour: SNR, from 1 to 30." if "snr" in roles else "No SNR is known."
    some = "" if len(shown) == len(sample) else f" Drawn: {len(shown)} rows by chance."
    return (
        f"Bias of each redshift; the lines are at 0.0015 and 0.015. {split} {colour}{some} "
        f"{objects(sample)}."
    )


def against(axis: str) -> Plot:
    """Good fraction, NMAD and η against z, SNR or magnitude."""

    def draw(sample: Sample, settings: Settings) -> tuple[Figure, str]:
        return curves(sample, settings, axis, ("gf", "nmad", "eta"))

    role = "z_true" if axis == "z" else axis
    needs = tuple(dict.fromkeys(("z", "z_true", role)))
    return Plot(f"against-{axis}", f"Metrics against {LABELS[axis]}", needs, draw)


def curves(
    sample: Sample, settings: Settings, axis: str, names: tuple[str, ...]
) -> tuple[Figure, str]:
    """A panel per metric; a curve per true class, with intervals."""
    chosen = replace(settings, metrics=[BY_NAME[name] for name in names])
    drawn = figure(3.7 * len(names) + 0.8 * (len(names) == 1), 3.8)
    panels = drawn.subplots(1, len(names), squeeze=False)[0]
    any_drawn = False
    for k, (label, part) in enumerate(by_class(sample)):
        points = list(_points(part, chosen, axis))
        for axes, name in zip(panels, names, strict=True):
            any_drawn |= _curve(axes, points, name, k, plain(label))
    if not any_drawn:
        raise NotDrawn(f"no bin has {LEAST} rows")
    for axes, name in zip(panels, names, strict=True):
        _dress(axes, axis, name)
    caption = (
        f"{_sentence(', '.join(METRIC_LABELS[n] for n in names))} in bins of {LABELS[axis]} "
        f"with equal numbers of rows, at least {LEAST}, by true class; bars are "
        f"{settings.bootstrap.level:.0%} bootstrap intervals. {_thresholds(names, settings)}"
        f"{objects(sample)}."
    )
    return drawn, caption


def _sentence(text: str) -> str:
    """With a capital; the rest as it is."""
    return text[:1].upper() + text[1:]


def by_class(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """Each true class with its rows, or all rows where no class is known."""
    if "label_true" not in sample.columns:
        yield "all", sample
        return
    for code, name in enumerate(sample.names):
        rows = sample.columns["label_true"] == code
        if rows.sum() >= LEAST:
            yield name, sample[rows]


def _points(
    sample: Sample, settings: Settings, axis: str
) -> Iterator[tuple[float, dict[str, Result]]]:
    """The metrics of each bin of a column, at the bin's median."""
    values = sample.columns["z_true" if axis == "z" else axis]
    known = values[np.isfinite(values)]
    pieces = min(PIECES, len(known) // LEAST)
    if axis == "z" and pieces and np.ptp(np.quantile(known, [0.05, 0.95])) < STELLAR:
        pieces = 1
    if pieces < 1:
        return
    edges = np.unique(np.quantile(known, np.linspace(0, 1, pieces + 1)))
    edges[-1] = np.inf
    if len(edges) < 2:
        return
    groups = group(sample, [axis], {axis: edges.tolist()})
    for found, results in evaluate_groups(sample, groups, settings, resample(sample, settings)):
        if len(found.rows) >= LEAST:
            yield float(np.median(values[found.rows])), results


def _curve(
    axes: Axes, points: list[tuple[float, dict[str, Result]]], name: str, k: int, label: str
) -> bool:
    """Draw the points that have a value; whether there is any."""
    shown = [(x, r[name]) for x, r in points if r[name].value is not None]
    if not shown:
        return False
    x = np.array([x for x, _ in shown])
    y = np.array([r.value for _, r in shown], float)
    low = np.array([r.value if r.lo is None else r.lo for _, r in shown], float)
    high = np.array([r.value if r.hi is None else r.hi for _, r in shown], float)
    bars = np.clip([y - low, high - y], 0, None)
    look: dict[str, Any] = {"color": COLOURS[k % 7], "marker": MARKERS[k % 7], "label": label}
    axes.errorbar(x, y, bars, markersize=5, linewidth=1, capsize=2, **look)
    return True


def _dress(axes: Axes, axis: str, name: str) -> None:
    """Labels and scales of one panel."""
    axes.set(xlabel=LABELS[axis], ylabel=METRIC_LABELS[name])
    if axis == "snr" and axes.dataLim.x0 > 0:
        plain_log(axes)
    if name == "nmad" and axes.dataLim.y1 > 0:
        axes.set_yscale("log")
    elif name in ("gf", "acc"):
        axes.set_ylim(top=1.01)
    if axes.has_data():
        axes.legend()
    else:
        axes.text(0.5, 0.5, "not defined here", ha="center", color=GREY, transform=axes.transAxes)


def plain_log(axes: Axes) -> None:
    """A logarithmic x axis with numbers at 1, 2 and 5, which do not run into each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _thresholds(names: tuple[str, ...], settings: Settings) -> str:
    """The thresholds that were used."""
    used = [f"{n}: {say_threshold(settings.thr(n))}" for n in names if settings.thr(n)]
    return f"Thresholds: {'; '.join(used)}. " if used else ""


PLOTS = (
    Plot("redshift", "Redshift against truth", ("z", "z_true"), redshift),
    Plot("bias", "Bias against redshift", ("z", "z_true"), bias),
    against("z"),
    against("snr"),
    against("mag"),
)
