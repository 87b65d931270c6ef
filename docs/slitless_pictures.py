"""The pictures of docs/explanation/slitless.md: ``python docs/slitless_pictures.py ../shared``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt
from zspec_csst import CSST

from zspec import Spectra
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import glue, simulator
from zspec.survey import make_options

PICTURES = Path(__file__).parent / "pictures"
SEED = 11
BLOCKS = 24
COLOURS = {"GU": "#56b4e9", "GV": "#009e73", "GI": "#d55e00"}
"""Colour-blind safe (Okabe & Ito)."""
LINES = {"[O II]": 3728.5, "4000 Å": 4000.0, "Hβ": 4862.7, "[O III]": 5008.2, "Hα": 6564.6}
"""Å, vacuum."""


def draw_stamps(path: Path, observed: Observed, chosen: list[int]) -> None:
    """Direct-to-dispersed images of some sources, and the spectra that are extracted from them."""
    figure, axes = plt.subplots(
        2 * len(chosen), 2, figsize=(11, 2.6 * len(chosen)), height_ratios=[1, 1.6] * len(chosen)
    )
    for k, row in enumerate(chosen):
        truth = {name: column[row] for name, column in observed.truth.items()}
        for j, (arm, clean) in enumerate(zip(observed.spectra.arms, observed.clean, strict=True)):
            image = observed.images[f"{arm.name}_IMAGE"][row]
            sigma = float(np.sqrt(np.median(observed.images[f"{arm.name}_VARIANCE"][row])))
            top, below = axes[2 * k, j], axes[2 * k + 1, j]
            shown = {"vmin": -2 * sigma, "vmax": 4 * sigma, "cmap": "gray_r"}
            extent = (arm.wave[0], arm.wave[-1], 0, len(image))
            top.imshow(image, aspect="auto", origin="lower", extent=extent, **shown)
            top.set(xticks=[], yticks=[])
            below.plot(arm.wave, arm.flux[row], lw=0.6, color=COLOURS[arm.name])
            below.plot(arm.wave, clean[row], lw=1.0, color="black")
            mark_lines(below, float(truth["Z"]))
            below.axhline(0, lw=0.5, color="gray")
            below.margins(x=0)
        axes[2 * k, 0].set_title(
            f'z = {truth["Z"]:.3f}, {truth["MAG"]:.2f} mag, r_eff = {truth["R_EFF"]:.2f}", '
            f"n = {truth['SERSIC']:.1f}, b/a = {truth['AXIS_RATIO']:.2f}",
            fontsize=8,
            loc="left",
        )
        said = [name for name in ("NEIGHBOUR", "ZERO_ORDER") if truth[name]]
        axes[2 * k, 1].set_title(
            f"SNR {truth['SNR_GV']:.1f} in GV, {truth['SNR_GI']:.1f} in GI  {' '.join(said)}",
            fontsize=8,
            loc="left",
        )
    finish(figure, path)


def exemplary(truth: Mapping[str, NDArray[Any]]) -> list[int]:
    """A source alone, one with a neighbour, one with a zero order, each near 6 in SNR of GI."""
    plain, neighbour, zero_order = ~truth["NEIGHBOUR"], truth["NEIGHBOUR"], truth["ZERO_ORDER"]
    seen = truth["CONTAM_TRUE_GI"] > 0.05
    kinds = (plain & ~zero_order, neighbour & ~zero_order & seen, plain & zero_order & seen)
    away = np.abs(np.log(truth["SNR_GI"].clip(0.05) / 6))
    return [int(np.where(kind, away, np.inf).argmin()) for kind in kinds]


def mark_lines(axes: plt.Axes, z: float) -> None:
    """Where lines lie at redshift ``z``, within the wavelengths of the axes."""
    low, high = axes.get_xlim()
    for name, line in LINES.items():
        at = line * (1 + z)
        if low < at < high:
            axes.axvline(at, lw=0.5, ls=":", color="gray")
            axes.text(at, axes.get_ylim()[1], name, fontsize=6, va="top", rotation=90)


def draw_pairs(path: Path, emulated: Spectra, observed: Observed, rows: list[int]) -> None:
    """Spectra of the emulator beside the mocks nearest in redshift, SNR and colour."""
    figure, axes = plt.subplots(len(rows), 2, figsize=(11, 2.0 * len(rows)), sharex=True)
    assert emulated.truth is not None  # its catalogue has redshifts
    wanted, offered = looks(emulated), looks(observed.spectra)
    for k, row in enumerate(rows):
        z = float(emulated.truth.z[row])
        near = ((observed.truth["Z"] - z) / 0.03) ** 2
        near += (((offered - wanted[row]) / (0.2, 0.1)) ** 2).sum(1)
        near += 1e9 * (observed.truth["ARTEFACT"] > 0)
        best = int(near.argmin())
        for axis, spectra, at, redshift in (
            (axes[k, 0], emulated, row, z),
            (axes[k, 1], observed.spectra, best, float(observed.truth["Z"][best])),
        ):
            for arm in spectra.arms:
                band = next(a for a in observed.spectra.arms if a.name == arm.name)
                inside = (arm.wave >= band.wave[0] - 1) & (arm.wave <= band.wave[-1] + 1)
                flux = np.where(arm.usable[at], arm.flux[at], np.nan)[inside]
                axis.plot(arm.wave[inside], flux, lw=0.6, color=COLOURS[arm.name])
                good = inside & arm.usable[at]
                axis.plot(arm.wave[good], arm.ivar[at, good] ** -0.5, lw=0.6, color="gray")
            axis.axhline(0, lw=0.5, color="black")
            mark_lines(axis, redshift)
            axis.set_title(f"z = {redshift:.3f}", fontsize=8, loc="left")
            axis.margins(x=0.01)
    axes[0, 0].set_title("emulated by others", fontsize=9, loc="right")
    axes[0, 1].set_title("zspec simulate", fontsize=9, loc="right")
    finish(figure, path)


def looks(spectra: Spectra) -> NDArray[np.float64]:
    """(n, 2) ln of the mean flux over error of GI, and of the flux of GI over that of GV."""
    middles = [(5000, 6300), (6500, 9000)]
    mean, error = [], []
    for arm, (low, high) in zip(spectra.arms, middles, strict=True):
        inside = (arm.wave > low) & (arm.wave < high)
        mean.append(arm.flux[:, inside].mean(1).clip(0.01).astype(np.float64))
        error.append(np.sqrt(1 / np.median(arm.ivar[:, inside], axis=1)))
    return np.log(np.stack([mean[1] / error[1], mean[1] / mean[0]], axis=1))


def draw_distributions(path: Path, truth: dict[str, NDArray[np.floating]]) -> None:
    """SNR by band, redshift, magnitude and shapes of the population."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.5))
    bins = np.arange(-1.5, 1.71, 0.1)
    for band, colour in COLOURS.items():
        snr = np.log10(truth[f"SNR_{band}"].clip(10**-1.5))
        axes[0, 0].hist(snr, bins, histtype="step", color=colour, label=band)
    axes[0, 0].legend(frameon=False)
    axes[0, 0].set_xlabel("log10 of the median SNR per pixel")
    named = {"Z": "redshift", "MAG": "magnitude (AB, i)", "R_EFF": "r_eff (arcsec)"}
    named |= {"SERSIC": "Sérsic index", "AXIS_RATIO": "b/a"}
    for axis, (name, label) in zip(axes.flat[1:], named.items(), strict=True):
        axis.hist(truth[name], 40, histtype="step", color="black")
        axis.set_xlabel(label)
    finish(figure, path)


def finish(figure: plt.Figure, path: Path) -> None:
    """Save, small enough for the documentation."""
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data/")
    parser.add_argument(
        "-o", "--output", type=Path, default=PICTURES, help="folder for the pictures"
    )
    args = parser.parse_args()
    imaging = simulator(CSST(), SEED, settings={"images": "true"})
    imaged = glue([imaging.block(number) for number in range(2)])
    draw_stamps(args.output / "slitless_stamps.png", imaged, exemplary(imaged.truth))
    three = simulator(CSST(), SEED, settings={"use": '["GU", "GV", "GI"]'})
    truths = [three.block(number).truth for number in range(BLOCKS)]
    truth = {k: np.concatenate([t[k] for t in truths]) for k in truths[0]}
    draw_distributions(args.output / "slitless_distributions.png", truth)
    emulated = next(
        CSST().read(
            args.shared / "data/csst/cess-mock-11.fits",
            options=make_options(CSST(), {"bands": "GV,GI"}),
        )
    )
    plain = simulator(CSST(), SEED)
    many = glue([plain.block(number) for number in range(16)])
    draw_pairs(args.output / "slitless_pairs.png", emulated, many, [3, 4, 7, 2, 5, 10])


if __name__ == "__main__":
    main()
