"""What the likelihood recovers from mock spectra of each survey, and what its bound allows.

    OMP_NUM_THREADS=1 python benchmarks/mocks.py sdss desi -o benchmarks/results/mocks.md

2,000 mocks of each survey as ``zspec simulate`` makes them, of sources that are in no training set.
``--keep DIR`` keeps what was found of each spectrum, and takes it from there the next time.
``eff`` is the bound's variance over that of the redshifts that are right; the bound is made of the
noise-free spectrum with the noise of its own spectrum, free in basis and polynomials. It is given
where fewer than 2 % are catastrophic. SNR is per pixel, as in the truth table.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import Chunk, Prediction, ZWarn, checkpoint, cramer_rao, plugins
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.simulate.artefacts import Artefact
from zspec.simulate.exposure import Exposed, join
from zspec.simulate.fibre import Fibre
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import BLOCK, OBJECTS, Simulator, simulator
from zspec.simulate.sources.drawing import draw

SURVEYS = ("sdss", "desi", "4most", "csst")
SPLIT = "test"
CLASSES = ("GALAXY", "QSO", "STAR")
RIGHT = {"GALAXY": 1000.0, "QSO": 3000.0, "STAR": 1000.0}
"""km/s."""
GOOD = {"GALAXY": 0.0015, "QSO": 0.015, "STAR": 0.0015}
"""Thresholds of GF (GaSNet-II, equation 10); for stars it is a velocity of 450 km/s."""
SNR = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf)
LIGHT = 299792.458
FEWEST = 20
"""Rows of a bin below which there is no figure."""
BLANKS = 6
"""Blocks of blank fibres beside those that come by themselves."""
STEP = 0.05
"""ln(flux): a step between cameras that counts as large."""
Rows = dict[str, NDArray[Any]]


def measure(survey: str, number: int, seed: int) -> Rows:
    """Truth, answer and bound of each mock, (n,) a column."""
    fitter = Likelihood.load(checkpoint.find("likelihood"))
    source = simulator(plugins.survey(survey), seed, split=SPLIT)
    parts = [_block(source, k, fitter) for k in range(-(-number // BLOCK))]
    rows = {name: np.concatenate([p[name] for p in parts])[:number] for name in parts[0]}
    if not isinstance(source.instrument, Fibre):
        return rows
    empty = simulator(plugins.survey(survey), seed, settings={"artefacts.blank": "1.0"})
    more = [_block(empty, k, fitter) for k in range(BLANKS)]
    return {name: np.concatenate([rows[name], *[p[name] for p in more]]) for name in rows}


def _block(source: Simulator, number: int, fitter: Likelihood) -> Rows:
    """One block of mocks."""
    observed = source.block(number)
    observed = replace(observed, spectra=source.survey.masked(observed.spectra))
    start = time.process_time()
    found = fitter.predict(Chunk(observed.spectra))
    seconds = (time.process_time() - start) / BLOCK
    row = np.arange(len(observed.spectra))
    assert found.zwarn is not None
    truth = {k: observed.truth[k] for k in ("LABEL", "SPECTYPE", "Z", "MAG", "SNR", "ARTEFACT")}
    known = observed.spectra.zwarn
    return {
        **truth,
        "STEP": observed.truth.get("STEP", np.zeros(len(row))),
        "SPECTYPE_FIT": np.array([found.classes[b].spectype for b in found.best]),
        "Z_FIT": found.z[row, found.best],
        "ZERR": found.sigma[row, found.best],
        "ZWARN": found.zwarn if known is None else found.zwarn | known,
        "BOUND": bounds(source, number, observed, fitter, found),
        "SECONDS": np.full(len(row), seconds),
    }


def clean(source: Simulator, number: int, observed: Observed) -> Sequence[NDArray[np.float32]]:
    """Noise-free flux (n, pixel) of each arm of a block."""
    if observed.clean:
        return observed.clean
    assert isinstance(source.instrument, Fibre)
    optics = source.instrument.optics("cpu")
    seed = [source.seed, number, OBJECTS]
    objects = draw(source.population, BLOCK, seed, source.instrument.wave, seds=source.split)
    flux = optics.spread @ objects.flux.T
    same = torch.ones_like(flux)
    return [part.T.numpy() for part, _ in join(Exposed(flux, same, same), optics)]


def bounds(
    source: Simulator, number: int, observed: Observed, fitter: Likelihood, found: Prediction
) -> NDArray[np.float64]:
    """(n,) bound of 1 sigma of z; NaN where the class is wrong, or nothing is there."""
    truth, arms = observed.truth, observed.spectra.arms
    kinds = np.array([found.classes[b].spectype for b in found.best])
    there = (truth["ARTEFACT"] & int(Artefact.BLANK)) == 0
    light, width = clean(source, number, observed), resolution(arms)
    out = np.full(len(kinds), np.nan)
    for label in np.unique(found.best):
        rows = np.flatnonzero((found.best == label) & there & (kinds == truth["SPECTYPE"]))
        if len(rows):
            out[rows] = cramer_rao(
                [arm.wave for arm in arms],
                [flux[rows] for flux in light],
                [np.where(arm.usable[rows], arm.ivar[rows], 0) for arm in arms],
                truth["Z"][rows],
                fitter.bases[label],
                float(np.median(width[rows])),
            )
    return out


def off(rows: Rows) -> NDArray[np.float64]:
    """(n,) (z - z_true) / (1 + z_true)."""
    return np.asarray((rows["Z_FIT"] - rows["Z"]) / (1 + rows["Z"]), np.float64)


def within(rows: Rows, limit: Mapping[str, float], light: float) -> NDArray[np.bool_]:
    """(n,) whether a redshift is within the limit of its true class."""
    limits = np.array([limit[kind] for kind in rows["SPECTYPE"]])
    return np.asarray(np.abs(off(rows)) * light < limits, np.bool_)


def right(rows: Rows) -> NDArray[np.bool_]:
    """(n,) class right, and redshift within the velocity of the class."""
    same: NDArray[np.bool_] = rows["SPECTYPE_FIT"] == rows["SPECTYPE"]
    return same & within(rows, RIGHT, LIGHT)


def spread(x: NDArray[np.float64]) -> float:
    """1.48 times the median absolute deviation; NaN of too few."""
    x = x[np.isfinite(x)]
    return float(1.48 * np.median(np.abs(x - np.median(x)))) if len(x) >= FEWEST else np.nan


def some(rows: Rows, which: NDArray[np.bool_]) -> Rows:
    """The rows of a choice."""
    return {name: values[which] for name, values in rows.items()}


def figures(rows: Rows) -> list[str]:
    """Cells: n, class, GF, right, NMAD, pull, eff, ZWARN 0, right of these."""
    n = len(rows["Z"])
    if n < FEWEST:
        return [str(n), *[""] * 8]
    good, sure = right(rows), rows["ZWARN"] == 0
    error = rows["Z_FIT"] - rows["Z"]
    wrong = 1 - within(rows, RIGHT, LIGHT).mean()
    eff = spread((error / rows["BOUND"])[good]) ** -2 if wrong < 0.02 else np.nan
    cells = [
        f"{(rows['SPECTYPE_FIT'] == rows['SPECTYPE']).mean():.3f}",
        f"{within(rows, GOOD, 1.0).mean():.3f}",
        f"{good.mean():.3f}",
        f"{spread(off(rows)):.1e}",
        f"{spread((error / rows['ZERR'])[good]):.2f}",
        f"{eff:.2f}",
        f"{sure.mean():.3f}",
        f"{good[sure].mean():.3f}" if sure.sum() >= FEWEST else "",
    ]
    return [str(n), *("" if cell == "nan" else cell for cell in cells)]


HEAD = "n | class | GF | right | NMAD | pull | eff | ZWARN 0 | right of these |"


def table(first: str, rows: Sequence[tuple[str, Rows]]) -> list[str]:
    """Markdown of some choices of rows; empty ones are left out."""
    lines = [f"| {' | '.join([name, *figures(one)])} |" for name, one in rows if len(one["Z"])]
    return [f"| {first} | {HEAD}", "|" + "---|" * 10, *lines, ""]


def bins(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """By class and SNR."""
    for kind in CLASSES:
        for low, high in itertools.pairwise(SNR):
            inside = (rows["SPECTYPE"] == kind) & (rows["SNR"] >= low) & (rows["SNR"] < high)
            name = f"{low:g}–{high:g}" if np.isfinite(high) else f"> {low:g}"
            yield f"{kind} {name}", some(rows, inside)


def injected(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Without artefacts, and with each."""
    yield "nothing", some(rows, (rows["ARTEFACT"] == 0) & (rows["STEP"] < STEP))
    for bit in Artefact:
        if bit != Artefact.BLANK:
            name = (bit.name or "").lower().replace("_", " ")
            yield name, some(rows, (rows["ARTEFACT"] & int(bit)) != 0)
    yield f"step over {STEP:g}", some(rows, rows["STEP"] >= STEP)


def report(survey: str, every: Rows) -> list[str]:
    """All tables of a survey."""
    blank = (every["ARTEFACT"] & int(Artefact.BLANK)) != 0
    rows = some(every, ~blank)
    kinds = [(kind, some(rows, rows["SPECTYPE"] == kind)) for kind in CLASSES]
    labels = [(name, some(rows, rows["LABEL"] == name)) for name in np.unique(rows["LABEL"])]
    quiet = int((blank & (every["ZWARN"] == 0)).sum())
    bits = every["ZWARN"][blank]
    flags = [
        f"{f.name} {np.mean((bits & int(f)) != 0):.2f}" for f in ZWarn if (bits & int(f)).any()
    ]
    sky = f"{quiet} of {blank.sum()} blank fibres have ZWARN 0 ({', '.join(flags)})."
    return [
        f"## {survey}",
        "",
        f"{len(rows['Z'])} mocks of objects, {every['SECONDS'].mean() * 1000:.0f} ms of CPU each. "
        + (sky if blank.any() else "There are no blank fibres."),
        "",
        *table("class", [("all", rows), *kinds]),
        *(table("label", labels) if len(labels) > len(CLASSES) else []),
        *table("class, SNR", list(bins(rows))),
        *table("injected", list(injected(rows))),
    ]


def get(survey: str, number: int, seed: int, kept: Path | None) -> Rows:
    """What was found, measured now or kept from before."""
    path = kept / f"{survey}-{number}-{seed}.npz" if kept else None
    if path and path.exists():
        with np.load(path) as file:
            return dict(file)
    rows = measure(survey, number, seed)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **rows)  # type: ignore[arg-type]
    return rows


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("surveys", nargs="*", default=SURVEYS)
    parser.add_argument("-n", "--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = [
        "# `likelihood` on mock spectra",
        "",
        f"Seed {args.seed}, sources of the part {SPLIT!r}, default populations. class: share whose "
        "spectype is right; GF: |dz|/(1+z) below 0.0015 (GALAXY, STAR) or 0.015 (QSO), whatever "
        "the class; right: class right and velocity within 1000 (QSO: 3000) km/s. NMAD of all; "
        "pull of ZERR and eff of those that are right; eff where over 98 % of the redshifts are.",
        "",
    ]
    for survey in args.surveys:
        out += report(survey, get(survey, args.number, args.seed, args.keep))
    text = "\n".join(out)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
