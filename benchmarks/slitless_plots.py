"""Pictures of what a slitless estimator says, after those of Zhou et al. (CSST slitless, "P2")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from slitless_mocks import Answer, Floats, TestSet

OUTLIER = 0.02
CLOSE, FAR = 0.002, 0.01
SHARES = np.linspace(0.02, 0.98, 49)


def draw_model(folder: Path, answer: Answer, test: TestSet) -> None:
    """Redshifts (P2, Figs. 7 and 11), metrics by z (9, 12), reliability (10), sigma by SNR (12)."""
    n = len(answer.z)
    z, snr = test.z[:n], test.snr[:n]
    figure, axes = plt.subplots(2, 2, figsize=(11, 9), layout="constrained")
    shown = axes[0, 0].scatter(z, answer.z, c=np.log10(snr.clip(0.1)), s=2, cmap="viridis")
    figure.colorbar(shown, ax=axes[0, 0], label="log10 SNR")
    axes[0, 0].set(xlabel="true redshift", ylabel="predicted", title=answer.name)
    _by_redshift(axes[0, 1], answer, z)
    if np.isfinite(answer.sigma).all():
        for low, high in ((0, 1), (1, 2), (2, np.inf)):
            use = (snr >= low) & (snr < high)
            seen = [np.mean(np.abs(answer.pit[use] - 0.5) <= s / 2) for s in SHARES]
            axes[1, 0].plot(SHARES, seen, "o-", ms=3, label=f"SNR {low:g} to {high:g}")
        axes[1, 0].legend()
        axes[1, 1].scatter(snr, answer.sigma / (1 + z), s=2)
    axes[1, 0].plot([0, 1], [0, 1], "k--")
    axes[1, 0].set(xlabel="central interval", ylabel="share of truths inside")
    axes[1, 1].set(xlabel="SNR", ylabel="sigma / (1 + z)", xscale="log", yscale="log")
    _save(figure, folder / f"{answer.name.replace(': ', '-').replace(' ', '-')}.png")


def _by_redshift(axes: Axes, answer: Answer, z: Floats) -> None:
    """NMAD, eta and Ebar in bins of true redshift with equal numbers."""
    d = (answer.z - z) / (1 + z)
    edges = np.quantile(z, np.linspace(0, 1, 9))
    middle = 0.5 * (edges[1:] + edges[:-1])
    bins = [(z >= a) & (z <= b) for a, b in itertools.pairwise(edges)]
    nmad = [1.48 * np.median(np.abs(d[b] - np.median(d[b]))) for b in bins]
    axes.plot(middle, nmad, "o-", label="NMAD")
    axes.plot(middle, [np.mean(np.abs(d[b]) > OUTLIER) for b in bins], "s-", label="eta")
    if np.isfinite(answer.sigma).all():
        ebar = [np.mean(answer.sigma[b] / (1 + z[b])) for b in bins]
        axes.plot(middle, ebar, "^-", label="Ebar")
    axes.set(xlabel="true redshift", yscale="log")
    axes.legend()


def draw_purity(folder: Path, answers: Sequence[Answer], test: TestSet) -> None:
    """Share within ``CLOSE`` and beyond ``FAR`` of what is kept by ZCONF, of SNR >= 1."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for answer in answers:
        n = len(answer.z)
        use = np.flatnonzero((test.snr[:n] >= 1) & np.isfinite(answer.zconf))
        if not len(use):
            continue
        use = use[np.argsort(-answer.zconf[use])]
        d = np.abs(answer.z - test.z[:n])[use] / (1 + test.z[:n][use])
        kept = np.arange(1, len(d) + 1)
        for panel, hit in zip(axes, (d < CLOSE, d > FAR), strict=True):
            panel.plot(100 * kept / len(d), 100 * np.cumsum(hit) / kept, label=answer.name)
    for panel, value, what in zip(axes, (96.6, 0.13), ("within 0.002", "beyond 0.01"), strict=True):
        panel.plot(42, value, "k*", label="others, on other mocks")
        panel.set(xlabel="kept, % of SNR >= 1", ylabel=f"{what}, %")
        panel.legend()
    _save(figure, folder / "purity.png")


def draw_emulated(folder: Path, answers: Sequence[Answer], true: Floats) -> None:
    """Predictions with error bars against the truth, and the differences."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for answer in answers:
        style = {"fmt": "o", "ms": 4, "capsize": 2, "label": answer.name}
        axes[0].errorbar(true, answer.z, answer.sigma, **style)
        axes[1].errorbar(true, answer.z - true, answer.sigma, **style)
    axes[0].plot([0, 1], [0, 1], "k--")
    axes[1].axhline(0, color="k", ls="--")
    axes[1].set_yscale("symlog", linthresh=0.01)
    for panel, what in zip(axes, ("predicted", "predicted - true"), strict=True):
        panel.set(xlabel="true redshift", ylabel=what)
        panel.legend()
    _save(figure, folder / "emulated.png")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=80)
    plt.close(figure)
