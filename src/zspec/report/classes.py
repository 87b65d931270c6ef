"""Plots of classes: the confusion matrix, accuracy against SNR, and what ZCONF keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.evaluation.measure import Settings
from zspec.evaluation.sample import Sample
from zspec.metrics import Threshold, say_threshold
from zspec.metrics.redshifts import log_bias
from zspec.metrics.registry import GOOD_ALL
from zspec.report.redshifts import curves
from zspec.report.style import COLOURS, GREY, NotDrawn, Plot, figure, objects, plain, rows_with

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(sample: Sample, _: Settings) -> tuple[Figure, str]:
    """Shares of each true class by the class that was found, with counts."""
    every = sample
    sample = rows_with(sample, "label", "label_true")
    true, found = sample.columns["label_true"], sample.columns["label"]
    size = len(sample.names)
    counts = np.bincount(true * size + found, minlength=size**2).reshape(size, size)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    side = max(4.2, 0.75 * size + 1.8)
    drawn = figure(side + 0.8, side)
    axes = drawn.subplots()
    axes.grid(visible=False)
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(size, size):
        text, colour = f"{share[i, j]:.3f}\n{counts[i, j]}", "w" if share[i, j] > 0.55 else "k"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    names = [plain(name) for name in sample.names]
    axes.set_xticks(range(size), names, rotation=30 if size > 4 else 0)
    axes.set_yticks(range(size), names)
    axes.set(xlabel="found", ylabel="true")
    drawn.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    known = int((every.columns["label_true"] >= 0).sum())
    none = f" {known - len(true)} rows have no class and are not shown." * (known > len(true))
    caption = (
        f"Confusion matrix: each row is a true class and sums to 1; below each share its number "
        f"of rows.{none} Overall {float((true == found).sum()) / known:.1%} are right. "
        f"{objects(sample)}."
    )
    return drawn, caption


def accuracy(sample: Sample, settings: Settings) -> tuple[Figure, str]:
    """Accuracy against SNR, by true class; GaSNet-II Fig. C1."""
    return curves(sample, settings, "snr", ("acc",))


def cuts(sample: Sample, settings: Settings) -> tuple[Figure, str]:
    """Purity and completeness of what a cut in ZCONF keeps."""
    without = int(sample.unanswered.sum())  # never kept, and never complete
    sample = rows_with(sample, "z", "z_true", "zconf")
    total = len(sample) + without
    conf = sample.columns["zconf"]
    good, used = _good(sample, settings)
    order = np.argsort(-conf, kind="stable")
    kept = np.arange(1, len(sample) + 1)
    right = np.cumsum(good[order])
    last = np.append(np.diff(conf[order]) != 0, True)  # rows of equal ZCONF are kept together
    cut = conf[order][last]
    drawn = figure(7, 4.4)
    axes = drawn.subplots()
    purity, completeness = (right / kept)[last], right[last] / total
    axes.step(cut, purity, where="pre", color=COLOURS[0], label="purity")
    axes.step(
        cut, completeness, where="pre", color=COLOURS[1], linestyle="--", label="completeness"
    )
    axes.set(xlabel="least ZCONF that is kept", ylabel="fraction", xlim=(0, 1), ylim=(0, 1.02))
    if "zwarn" in sample.columns:
        zero = sample.columns["zwarn"] == 0
        for name, x, marker in _points(zero, good, total):
            axes.axhline(x, color=GREY, linewidth=0.8, linestyle=marker, label=name)
    axes.legend()
    none = f" {without} rows without an answer are among all." * (without > 0)
    caption = (
        f"Purity (good among the kept) and completeness (kept and good among all) of the rows "
        f"with at least this ZCONF; good: bias < {used}. Grey: the same of ZWARN = 0."
        f"{none} {objects(sample)}."
    )
    return drawn, caption


def _good(sample: Sample, settings: Settings) -> tuple[NDArray[np.bool_], str]:
    """Rows whose redshift is good by the threshold of ``purity``, and that threshold."""
    thr: Threshold = settings.thr("purity") or GOOD_ALL
    limit: Any = thr
    if not isinstance(thr, float | int):
        if "label_true" not in sample.columns:
            raise NotDrawn("no true class: name its column with --class-true")
        by_class = np.array([*(thr.get(name, np.nan) for name in sample.names), np.nan])
        limit = by_class[sample.columns["label_true"]]
    return log_bias(sample.columns["z"], sample.columns["z_true"]) < limit, say_threshold(thr)


def _points(
    zero: NDArray[np.bool_], good: NDArray[np.bool_], total: int
) -> list[tuple[str, float, str]]:
    """Purity and completeness of ZWARN = 0, with the style of their lines."""
    if not zero.any():
        return []
    return [
        ("purity of ZWARN 0", float(good[zero].mean()), "-"),
        ("completeness of ZWARN 0", float((good & zero).sum()) / total, "--"),
    ]


PLOTS = (
    Plot("confusion", "Confusion matrix", ("label", "label_true"), confusion),
    Plot("accuracy-snr", "Accuracy against SNR", ("label", "label_true", "snr"), accuracy),
)
LAST = (Plot("cuts", "Purity and completeness against ZCONF", ("z", "z_true", "zconf"), cuts),)
