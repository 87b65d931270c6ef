"""The README's picture, from the example: ``python docs/picture.py`` writes pictures/fit.png."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

import zspec
from zspec import Chunk, Spectra, checkpoint
from zspec.estimators.likelihood import Likelihood
from zspec.likelihood import pixels, scan
from zspec.likelihood.basis import STEP

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "coadd-example.fits"
ROW = 7
COLOURS = {"B": "#0072b2", "R": "#009e73", "Z": "#d55e00"}
"""Colour-blind safe (Okabe & Ito)."""


def draw_fit(axes: plt.Axes, spectra: Spectra, model: tuple[np.ndarray, ...], title: str) -> None:
    """Flux of each arm and the best model, against wavelength."""
    for arm, fitted in zip(spectra.arms, model, strict=True):
        flux = np.where(arm.usable[0], arm.flux[0], np.nan)
        axes.plot(arm.wave, flux, lw=0.4, color=COLOURS[arm.name], label=arm.name)
        axes.plot(arm.wave, fitted[0], lw=1.0, color="black")
    axes.set(xlabel="wavelength (Å, vacuum)", ylabel="flux (1e-17 erg/s/cm²/Å)", title=title)
    axes.margins(x=0.01)


def draw_scan(axes: plt.Axes, spectra: Spectra, fitter: Likelihood) -> None:
    """-2 ln evidence above its least, of galaxies and quasars, at every redshift."""
    native = pixels.native(spectra.arms)
    sums, extra = pixels.gather(native), scan.nuisance(native)
    curves = {}
    for basis in fitter.bases:
        if basis.spectype != "STAR":
            z = 10 ** (STEP * np.arange(basis.shifts[0], basis.shifts[1] + 1)) - 1
            curves[basis.name] = (z, scan.scan(sums, extra, basis)[0].numpy())
    least = min(chi2.min() for _, chi2 in curves.values())
    for (name, (z, chi2)), colour in zip(curves.items(), ("#d55e00", "#0072b2"), strict=False):
        axes.semilogy(1 + z, chi2 - least + 1, lw=0.6, color=colour, label=name)
    axes.set(xlabel="1 + z", ylabel="−2 ln evidence, above its least + 1", xscale="log")
    axes.set_xticks([1, 2, 3, 4, 6, 8], ["1", "2", "3", "4", "6", "8"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")


def main() -> None:
    """Fit one spectrum of the example, and draw it."""
    spectra = next(zspec.read(EXAMPLE))[ROW : ROW + 1]
    fitter = checkpoint.load_estimator("likelihood")
    assert isinstance(fitter, Likelihood)
    found = fitter.predict(Chunk(spectra), frozenset({"model"}))
    best = int(found.best[0])
    z, sigma = found.z[0, best], found.sigma[0, best]
    truth = "" if spectra.truth is None else f"; simulated at {spectra.truth.z[0]:.5f}"
    title = f"{found.classes[best].name}, z = {z:.5f} ± {sigma:.5f}{truth}"
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 3.6), width_ratios=(2, 1), layout="constrained"
    )
    assert found.model is not None
    draw_fit(left, spectra, found.model, title)
    draw_scan(right, spectra, fitter)
    figure.savefig(HERE / "pictures" / "fit.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
