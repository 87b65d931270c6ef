"""SNR and redshifts of each class beside GaSNet-II's tables 1 to 3, and the depth of each survey.

    OMP_NUM_THREADS=1 python benchmarks/population.py -o benchmarks/results/population.md

The first table is that of `docs/explanation/simulate.md`. ``flat`` are draws for training: what
SNR they cover.
The last table are the numbers of ``[depth]`` in each ``population.toml``: a fit to the SNR of flat
mocks, per pixel of 1e-4 in log10 λ, against their magnitude.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from zspec import plugins
from zspec.simulate.fibre import Fibre
from zspec.simulate.simulator import Simulator, simulator
from zspec.simulate.slitless import Slitless
from zspec.simulate.sources.plan import snr_at
from zspec.simulate.sources.population import Depth

Array = NDArray[np.float64]

BLOCKS, FLAT = 48, 24
"""Blocks of 64 mocks."""
PAPER = {
    "sdss": {
        "STAR A0": (26.2, None), "STAR F5": (30.5, None), "STAR F9": (34.9, None),
        "STAR G2": (33.7, None), "STAR K1": (32.8, None), "STAR K3": (31.1, None),
        "STAR K5": (31.0, None), "GALAXY nan": (5.82, 0.46), "GALAXY AGN": (14.3, 0.21),
        "GALAXY STARBURST": (9.78, 0.15), "GALAXY STARFORMING": (12.4, 0.11),
        "QSO nan": (2.64, 1.68), "QSO BROADLINE": (6.54, 1.78),
    },
    "desi": {"STAR": (19.1, None), "QSO": (6.54, 1.59), "GALAXY": (7.53, 0.196)},
    "4most": {
        "Dyn": (74.5, None), "GalHR": (39.9, None), "ESN": (12.8, None),
        "GalDiskLR": (140.4, None), "MCsn": (72.3, None), "COSMO_AGN": (6.3, 2.2),
        "ClusB": (5.8, 0.52), "WAVES": (1.6, 0.32), "RedGAL": (8.7, 0.33),
        "tides_host": (19.7, 0.11),
    },
}  # fmt: skip
"""Mean of the median SNR and mean z; GaSNet-II, tables 1 to 3."""
PER_ANGSTROM = ("4most",)
"""Where the SNR is compared per Å, since pixels are far finer than the paper's."""
REFERENCE = {"sdss": 20.0, "desi": 20.0, "4most": 20.0, "csst": 21.0}
"""Magnitude of the depth."""


def pixel(source: Simulator) -> tuple[float, float]:
    """Roots of the Å, and of the 1e-4 in log10 λ, of a native pixel: medians."""
    waves: list[Array]
    if isinstance(source.instrument, Fibre):
        waves = [camera.wave for camera in source.instrument.spec.cameras]
    else:
        assert isinstance(source.instrument, Slitless)
        waves = [band.wave() for band in source.instrument.design.used if band.name == "GI"]
    step = np.concatenate([np.gradient(wave) for wave in waves])
    log = np.concatenate([np.gradient(np.log10(wave)) for wave in waves]) / 1e-4
    return float(np.median(step) ** 0.5), float(np.median(log) ** 0.5)


def truth(source: Simulator, blocks: int) -> dict[str, NDArray[np.generic]]:
    """Columns of so many blocks, without blank fibres."""
    parts = [source.block(k).truth for k in range(blocks)]
    key = "SNR_GI" if "SNR_GI" in parts[0] else "SNR"
    names = {"LABEL": "LABEL", "SNR": key, "Z": "Z", "MAG": "MAG"}
    made = {name: np.concatenate([p[k] for p in parts]) for name, k in names.items()}
    return {name: values[made["SNR"] > 0] for name, values in made.items()}


def lines(survey: str) -> list[str]:
    """Table rows of a survey's classes."""
    source = simulator(plugins.survey(survey), 2)
    factor = 1 / pixel(source)[0] if survey in PER_ANGSTROM else 1.0
    drawn = truth(source, BLOCKS)
    flat = truth(simulator(plugins.survey(survey), 2, flat=True), FLAT)
    out = []
    for label, (snr, z) in PAPER[survey].items():
        mine, even = drawn["LABEL"] == label, flat["LABEL"] == label
        ours = drawn["SNR"][mine] * factor
        low, high = np.percentile(flat["SNR"][even] * factor, (2.5, 97.5))
        cells = [f"{ours.mean():.1f}", f"{snr:g}", f"{ours.mean() / snr:.2f}"]
        zs = drawn["Z"][mine]
        cells += ["", "", ""] if z is None else [
            f"{zs.mean():.3f}", f"{z:g}", f"{zs.min():.2f}–{zs.max():.2f}"
        ]  # fmt: skip
        out.append(f"| {survey} | {label} | {' | '.join(cells)} | {low:.1f}–{high:.0f} |")
    return out


def depth(survey: str) -> str:
    """Table row of a survey's depth."""
    source = simulator(plugins.survey(survey), 2, flat=True)
    rows, at = truth(source, FLAT), REFERENCE[survey]
    snr, mag = rows["SNR"].astype(float) / pixel(source)[1], rows["MAG"].astype(float)

    def misfit(p: Array) -> Array:
        ratio = np.log(snr / snr_at(Depth(at, float(np.exp(p[0])), float(p[1])), mag))
        return np.asarray(np.arctan(2 * ratio))  # hardly hears outliers

    found = least_squares(misfit, [1.0, 20.0]).x
    used = source.population.depth
    cells = [f"{np.exp(found[0]):.2f}", f"{used.snr:g}", f"{found[1]:.2f}", f"{used.sky:g}"]
    return f"| {survey} | {at:g} | {' | '.join(cells)} |"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = [
        "| survey | class | SNR | SNR, P1 | ratio | z | z, P1 | z range | SNR of 95 % if flat |",
        "|" + "---|" * 9,
        *(line for survey in PAPER for line in lines(survey)),
        "",
        "| survey | magnitude | SNR, fit | in the TOML | sky, fit | in the TOML |",
        "|" + "---|" * 6,
        *map(depth, REFERENCE),
        "",
    ]
    text = "\n".join(out)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
