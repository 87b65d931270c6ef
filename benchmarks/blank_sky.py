"""How often blank sky passes: real sky fibres and simulated ones, by cross-validation over plates.

    python benchmarks/blank_sky.py ../shared -o benchmarks/results/blank_sky.md

The threshold of DELTACHI2 is learned from the sky fibres of four groups of plates by the rule that
`zspec train` uses, and applied to the fifth: to its real fibres, and to blank fibres drawn from
them. A drawn fibre has the ivar of one real fibre and residuals of many: stretches of 64 pixels of
flux / error, each from a fibre of the group at the same wavelengths and with a sign of its own,
faded into one another at equal variance. So residuals of sky lines have the strength, shape and
place that they have in real data. Metadata (SOURCETYPE, ZWARNING) are not looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from ladder import plate_groups
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.likelihood.labelled import listed
from zspec.likelihood.validate import FOLDS, blank, cases, threshold
from zspec.survey import Arm, Spectra

BLOCK = 64
"""Pixels of a stretch; neighbours overlap by half."""
BATCH = 50
"""Fibres that are predicted at once."""
SEED = 1

Array = NDArray[np.float64]


def residuals(fibres: Sequence[Spectra], rng: np.random.Generator) -> Array:
    """(fibre, pixel) flux / error; white noise where a pixel is not good."""
    arms = [one.arms[0] for one in fibres]
    flux, ivar = (np.concatenate([getattr(a, name) for a in arms]) for name in ("flux", "ivar"))
    white = rng.standard_normal(flux.shape)
    return np.asarray(np.where(ivar > 0, flux * np.sqrt(ivar), white))


def mixed(source: Array, rng: np.random.Generator) -> Array:
    """(pixel,) one draw of stretches of (fibre, pixel) residuals."""
    fade = np.sin(np.pi * (np.arange(BLOCK) + 0.5) / BLOCK)  # squares of neighbours sum to 1
    half, size = BLOCK // 2, source.shape[1]
    out = np.zeros(size + 2 * BLOCK)
    padded = np.pad(source, ((0, 0), (BLOCK, BLOCK)))
    for start in range(0, size + BLOCK, half):
        part = padded[rng.integers(len(source)), start : start + BLOCK]
        out[start : start + len(part)] += rng.choice([-1.0, 1.0]) * fade[: len(part)] * part
    return out[BLOCK : BLOCK + size]


def drawn(fibres: Sequence[Spectra], n: int, rng: np.random.Generator) -> Iterator[Spectra]:
    """``n`` blank fibres in batches."""
    source = residuals(fibres, rng)
    for start in range(0, n, BATCH):
        picked = [fibres[i].arms[0] for i in rng.integers(len(fibres), size=min(BATCH, n - start))]
        ivar = np.concatenate([arm.ivar for arm in picked])
        scale = np.where(ivar > 0, np.maximum(ivar, 1e-30) ** -0.5, 0)
        flux = scale * np.stack([mixed(source, rng) for _ in picked])
        width = np.concatenate([_width(arm) for arm in picked])
        arm = Arm(picked[0].name, picked[0].wave, flux.astype(np.float32), ivar, None, width)
        yield Spectra((arm,), np.arange(len(picked)), np.arange(len(picked), dtype=np.int32))


def _width(arm: Arm) -> NDArray[np.float32]:
    """(1, pixel) LSF of one fibre."""
    assert arm.resolution is not None
    return np.broadcast_to(arm.resolution, arm.flux.shape).astype(np.float32)


def passed(fitter: Likelihood, spectra: Spectra) -> int:
    """How many have ZWARN 0."""
    found = fitter.predict(Chunk(spectra)).zwarn
    assert found is not None
    return int((found == 0).sum())


def wilson(hits: int, n: int) -> str:
    """A rate with its 95 % interval (Wilson 1927)."""
    z, p = 1.96, hits / n
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = ((middle + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return f"{100 * p:.2f} % ({100 * max(low, 0):.2f}–{100 * high:.2f} %)"


def line(name: str, limit: float, real: tuple[int, int], simulated: tuple[int, int]) -> str:
    """One line of the table; pairs are (passed, all)."""
    return (
        f"| {name} | {limit:.1f} | {real[0]} of {real[1]} | {simulated[0]} of {simulated[1]} | "
        f"{wilson(*simulated)} |"
    )


def report(shared: Path, number: int, only: Sequence[int]) -> str:
    """The table as markdown; ``only`` these groups of plates."""
    fitter = Likelihood.load(checkpoint.find("likelihood"))
    lines = [(a, b) for a, b in listed(shared / "data/sdss/manifest.csv") if a["is_sky"] == "1"]
    groups = np.array(plate_groups([a["plate"] for a, _ in lines]))
    given = [blank(a, b) for a, b in lines]
    ranked = [c.ranked(fitter.calibration.temper) for c in cases(given, [fitter] * FOLDS, (1,))]
    deltas = np.array([float(one.delta) for one in ranked])
    out, real, simulated = [], np.zeros(2, int), np.zeros(2, int)
    for group in only:
        mine = [one for (_, one), other in zip(lines, groups, strict=True) if other == group]
        plates = sorted({a["plate"] for (a, _), g in zip(lines, groups, strict=True) if g == group})
        limit = threshold(deltas[groups != group])
        judge = fitter.calibrated_by(dataclasses.replace(fitter.calibration, delta=limit))
        rng = np.random.default_rng([SEED, group])
        good = np.array([sum(passed(judge, one) for one in mine), len(mine)])
        blanks = sum(passed(judge, some) for some in drawn(mine, number, rng))
        real, simulated = real + good, simulated + np.array([blanks, number])
        out.append(line(" ".join(plates), limit, tuple(good), (blanks, number)))
    everything = line("all", threshold(deltas), tuple(real), tuple(simulated))
    ships = f"The threshold that ships, from bases without the objects: {fitter.calibration.delta}."
    return "\n".join([*HEAD, *out, everything, "", ships, ""])


HEAD = [
    "# Blank sky with ZWARN 0",
    "",
    "`python benchmarks/blank_sky.py ../shared`: the threshold of DELTACHI2 from the sky fibres of "
    "the other plates (last line: from all), 2,000 drawn fibres a group, seed 1.",
    "",
    "| plates | threshold | real sky fibres that pass | drawn ones | rate (95 %) |",
    "|---|---|---|---|---|",
]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("-n", type=int, default=2000, help="drawn fibres a group of plates")
    parser.add_argument("--groups", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = report(args.shared, args.n, args.groups)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
