"""Slitless mocks against spectra emulated by others, boxes against optimal rows, and the rate.

    OMP_NUM_THREADS=1 python benchmarks/slitless.py ../shared -o benchmarks/results/slitless.md

Each of the emulator's sources is simulated again: a smooth spectral energy distribution with its
seven magnitudes (emission lines left out: they change the mean SNR of a band little), shapes as the
simulator draws them for its magnitude, and the emulator's own PSF, sky, dark current, read noise
and exposure. SNR is the mean over the pixels of a band, of noise-free flux here and of its clipped
flux there, which is biased high below 1.5 (in brackets, not judged).

The emulator sums rows that hold 60 to 90 % of a source's light, but counts all of its light in
them, so that its SNR is that of more light than its rows hold. "ours" is what the simulator makes,
with optimal rows and no light that is not there. "all light" counts as the emulator does, in a box
of ± 1.4 σ around each of our shapes; "same rows" likewise, in as many rows as its variance stands
for: that tests throughput, noise and units alone, and "all light" our sizes too. Ratios are ours
over its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from zspec_csst import CSST

from zspec import Arm, open_fits
from zspec.simulate.instrument import read_instrument
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import BLOCK, simulator
from zspec.simulate.slitless import Slitless
from zspec.simulate.slitless.design import Design, Extraction
from zspec.simulate.slitless.dispersion import electrons
from zspec.simulate.sources import draw
from zspec.survey import make_options

Float = NDArray[np.float64]

BANDS = ("GV", "GI")
PIVOTS = {"NUV": 2877, "U": 3595, "G": 4798, "R": 6186, "I": 7642, "Z": 9046, "Y": 9654}
"""Å; pivot wavelengths of CSST's imaging bands, Zhan 2021, table 1 (rounded)."""
BACKGROUND = 23.0
"""V magnitude per arcsec2 of the emulator's sky: the one at which the variances of its three bands
give the same number of rows (11.0, 10.6 and 10.5 for its first source)."""
SKY_AT = 22.5, {"GU": 0.019, "GV": 0.214, "GI": 0.329}
"""The sky of P2 in e-/s/pixel is that of the emulator's spectrum at 22.5, to 4 %."""
REE80 = {"GU": 0.17, "GV": 0.19, "GI": 0.19}
"""Arcsec within which 80 % of the light of a point source lies: the emulator's README."""
GAUSSIAN_80 = float(np.sqrt(2 * np.log(5)))
"""Radius of 80 % of a two-dimensional Gaussian, in sigmas."""
DRAWS = 96
"""Shapes for each of the emulator's sources."""
SEED = 11


@dataclass(frozen=True)
class Emulated:
    """The emulator's sources."""

    name: NDArray[np.str_]
    z: Float
    magnitudes: Float
    """(n, 7) of PIVOTS."""
    arms: tuple[Arm, ...]


def read_emulated(path: Path) -> Emulated:
    """The sources of the file, in the bands of BANDS."""
    with open_fits(path) as file:
        magnitudes = [file.column("CATALOG", f"MAG_{name}") for name in PIVOTS]
    (spectra,) = CSST().read(path, options=make_options(CSST(), {"bands": ",".join(BANDS)}))
    assert spectra.truth is not None  # its catalogue has redshifts
    names = np.asarray(spectra.table["NAME"], np.str_)
    return Emulated(names, spectra.truth.z, np.stack(magnitudes, 1), spectra.arms)


def as_emulated(design: Design, band: str, parameters: dict[str, float]) -> Design:
    """The design with the emulator's figures, for one band: the PSF differs between bands."""
    bright, skies = SKY_AT
    dimmed = 10 ** (-0.4 * (BACKGROUND - bright))
    bands = tuple(dataclasses.replace(b, sky=skies[b.name] * dimmed) for b in design.bands)
    return dataclasses.replace(
        design,
        use=(band,),
        telescope=dataclasses.replace(
            design.telescope,
            area=np.pi * parameters["radi"] ** 2,
            psf=REE80[band] / GAUSSIAN_80 * np.sqrt(8 * np.log(2)),
        ),
        detector=dataclasses.replace(
            design.detector,
            dark=parameters["dc_value"],
            exposures=int(parameters["expnum"]),
            seconds=parameters["expt"],
            scale=parameters["arcsecperpix"],
        ),
        contamination=dataclasses.replace(design.contamination, neighbours=0.0, zero_orders=0.0),
        bands=bands,
    )


def repeated(emulated: Emulated, source: int, wave: torch.Tensor) -> Objects:
    """DRAWS objects with the magnitudes of one source: AB magnitudes are linear in ln λ between."""
    lam = wave.numpy()
    at = np.log(list(PIVOTS.values()))
    magnitude = np.interp(np.log(lam), at, emulated.magnitudes[source])
    flux = 10 ** (-0.4 * (magnitude + 48.6)) * 2.99792458e18 / lam**2 * 1e17  # Oke & Gunn 1983
    text, number = np.full(DRAWS, "GALAXY"), np.zeros(DRAWS)
    truth = {"LABEL": text, "SPECTYPE": text, "SUBTYPE": text, "SED": text, "EBV": number}
    truth |= {"Z": number + emulated.z[source]}
    truth |= {"MAG": number + emulated.magnitudes[source][list(PIVOTS).index("I")]}
    return Objects(wave, torch.tensor(flux, dtype=torch.float32).repeat(DRAWS, 1), truth)


def theirs(arm: Arm, wave: Float) -> Float:
    """(n,) SNR of the emulator's spectra in pixels that lie in the range of ``wave``."""
    inside = (arm.wave >= wave[0] - 1) & (arm.wave <= wave[-1] + 1)
    ratio = arm.flux[:, inside] * np.sqrt(arm.ivar[:, inside])
    good = arm.usable[:, inside]
    return np.asarray((ratio * good).sum(1) / good.sum(1), np.float64)


def emulated_rows(arm: Arm, design: Design) -> Float:
    """(n,) rows that the emulator's variance stands for, from the middle third of its pixels."""
    band = design.used[0]
    third = slice(len(arm.wave) // 3, 2 * len(arm.wave) // 3)
    wave = arm.wave[third]
    unit = electrons(band, wave, design.area_time) * np.diff(arm.wave).mean()
    variance = unit**2 / np.where(arm.ivar[:, third] > 0, arm.ivar[:, third], np.nan)
    rows = (variance - unit * arm.flux[:, third]) / design.background(band)
    return np.asarray(np.nanmedian(rows, axis=1), np.float64)


def counted(flux: Float, rows: Float, design: Design) -> Float:
    """(n,) SNR of flux densities (n, pixel) whose whole light lies in so many rows (n,)."""
    band = design.used[0]
    counts = flux * electrons(band, band.wave(), design.area_time) * band.step
    return np.asarray((counts / np.sqrt(counts + rows[:, None] * design.background(band))).mean(1))


@dataclass(frozen=True)
class Compared:
    """One band of the emulator's n sources, and what is made of their like."""

    theirs: Float
    """(n,)"""
    rows: Float
    """(n,) that the emulator summed."""
    ours: Float
    """(n, 3) 16, 50 and 84 % of DRAWS mocks, as the simulator extracts them."""
    like: Float
    """(n,) median, if the light beyond the rows of a box is counted as the emulator counts it."""
    same: Float
    """(n,) the same, with the emulator's number of rows."""


def compare_band(emulated: Emulated, arm: Arm, design: Design) -> Compared:
    """Mocks of the emulator's sources in one band, with its instrument's figures."""
    boxed = dataclasses.replace(design, extraction=Extraction("box"))
    summed = emulated_rows(arm, design)
    ours, like, same = [], [], []
    for i in range(len(emulated.name)):
        made = Slitless(design)
        objects = repeated(emulated, i, made.wave)
        seen = made.observe(objects, [SEED, i])
        clean = seen.clean[0].astype(np.float64)
        ratio = (seen.clean[0] * np.sqrt(seen.spectra.arms[0].ivar)).mean(1)
        ours.append(np.percentile(ratio, [16, 50, 84]))
        rows = (Slitless(boxed).arrange(objects, [SEED, i]).weights.rows > 0).sum(1).double()
        like.append(np.median(counted(clean, rows.numpy(), design)))
        same.append(np.median(counted(clean, np.full(DRAWS, summed[i]), design)))
    reference = theirs(arm, design.used[0].wave())
    return Compared(reference, summed, np.array(ours), np.array(like), np.array(same))


def compare(folder: Path, design: Design) -> list[str]:
    """Tables of SNRs, ours and the emulator's."""
    emulated = read_emulated(folder / "data/csst/cess-mock-11.fits")
    text = (folder / "data/instruments/csst/emulator_parameters.json").read_text()
    parameters = {k: float(v) for k, v in json.loads(text).items() if isinstance(v, (int, float))}
    lines: list[str] = []
    for arm in emulated.arms:
        found = compare_band(emulated, arm, as_emulated(design, arm.name, parameters))
        lines += table_of(arm.name, emulated, found)
    return lines


def table_of(band: str, emulated: Emulated, found: Compared) -> list[str]:
    """One band's table, and how many of its sources agree."""
    judged = (found.theirs > 1.5) | (band == "GI")
    lines = [
        f"| {band} of | z | i | its rows | its SNR | ours (16–84 %) | all light | same rows |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for i, name in enumerate(emulated.name):
        low, middle, high = found.ours[i]
        shown = [f"{v[i] / found.theirs[i]:.2f}" for v in (found.like, found.same)]
        cells = [name.split("_")[0], f"{emulated.z[i]:.3f}", f"{emulated.magnitudes[i][4]:.2f}"]
        cells += [f"{found.rows[i]:.0f}", f"{found.theirs[i]:.2f}"]
        cells += [f"{middle:.2f} ({low:.2f}–{high:.2f})"]
        cells += shown if judged[i] else [f"({v})" for v in shown]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    medians = {"ours": found.ours[:, 1], "all light": found.like, "same rows": found.same}
    for name, values in medians.items():
        ratio = values[judged] / found.theirs[judged]
        within = np.abs(ratio - 1) <= 0.3
        lines.append(
            f"- {band}, {name}: {within.sum()} of {judged.sum()} within 30 %; median ratio "
            f"{np.median(ratio):.2f}, from {ratio.min():.2f} to {ratio.max():.2f}."
        )
    return [*lines, ""]


def extraction(design: Design, objects: Objects) -> list[str]:
    """Table of SNRs of the same sources, extracted with optimal weights and with boxes."""
    alone = dataclasses.replace(design.contamination, neighbours=0.0, zero_orders=0.0)
    methods = {"optimal": Extraction()}
    methods |= {f"box ± {width} σ": Extraction("box", width) for width in (1.0, 1.4, 2.0, 3.0)}
    lines = ["| rows | SNR of GV | SNR of GI | GI over optimal |", "| --- | --- | --- | --- |"]
    best: Float | None = None
    for name, method in methods.items():
        made = Slitless(dataclasses.replace(design, extraction=method, contamination=alone))
        truth = made.observe(objects, [SEED]).truth
        best = truth["SNR_GI"] if best is None else best
        ratio = np.median(truth["SNR_GI"] / best)
        medians = [f"{np.median(truth[f'SNR_{band}']):.3f}" for band in BANDS]
        lines.append(f"| {name} | {medians[0]} | {medians[1]} | {ratio:.3f} |")
    return lines


def rates() -> list[str]:
    """Spectra per second of CPU, from drawing the source to flux and ivar."""
    lines = ["| made | spectra/s of CPU |", "| --- | --- |"]
    choices = {"GV and GI": {}, "GV and GI, with images": {"images": "true"}}
    choices["GU, GV and GI, with images"] = {"images": "true", "use": '["GU", "GV", "GI"]'}
    for name, settings in choices.items():
        source = simulator(CSST(), SEED, settings=settings)
        source.block(0)  # tables are made once
        start, blocks = time.process_time(), 4
        for number in range(1, blocks + 1):
            source.block(number)
        lines.append(f"| {name} | {blocks * BLOCK / (time.process_time() - start):.0f} |")
    return lines


def distribution(blocks: int) -> list[str]:
    """Quantiles of SNR and z of the population."""
    source = simulator(CSST(), SEED, settings={"use": '["GU", "GV", "GI"]'})
    made = [source.block(number).truth for number in range(blocks)]
    lines = ["| | 5 % | 25 % | 50 % | 75 % | 95 % | below 1 |", "| --- |" + " --- |" * 6]
    for name in ("SNR_GU", "SNR_GV", "SNR_GI", "Z", "MAG", "R_EFF"):
        values = np.concatenate([truth[name] for truth in made])
        cells = [f"{v:.2f}" for v in np.percentile(values, [5, 25, 50, 75, 95])]
        below = f"{(values < 1).mean():.0%}" if name.startswith("SNR") else ""
        lines.append(f"| {name} | " + " | ".join([*cells, below]) + " |")
    gi = np.log10(np.concatenate([truth["SNR_GI"] for truth in made]).clip(0.05))
    counts, edges = np.histogram(gi, bins=np.arange(-1.0, 2.01, 0.1))
    peak = 10 ** (edges[counts.argmax()] + 0.05)
    return [*lines, "", f"In log SNR the distribution of GI is densest at {peak:.1f}."]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder that holds data/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file")
    parser.add_argument("--blocks", type=int, default=16, help="blocks of the distributions")
    args = parser.parse_args()
    torch.set_num_threads(1)
    instrument = read_instrument(CSST.simulation / "instrument.toml")
    assert isinstance(instrument, Slitless)
    source = simulator(CSST(), SEED)
    objects = draw(source.population, 512, [SEED, 1], instrument.wave)
    sections = {
        "Against the emulator's eleven": compare(args.shared, instrument.design),
        "Optimal rows or a box": extraction(instrument.design, objects),
        "What the population looks like": distribution(args.blocks),
        "Rate": rates(),
    }
    text = "# Slitless mocks\n\n" + (__doc__ or "").partition("\n\n")[2]
    text += "".join(
        f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items()
    )
    print(text)
    args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
