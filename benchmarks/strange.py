"""What becomes of spectra that `likelihood` was not made for.

    python benchmarks/strange.py ../shared -o benchmarks/results/strange.md

Blends of two real SDSS spectra of equal median flux, analytic mocks on the pixels of another
survey, emission lines without any continuum, and four kinds of garbage. A redshift is right within
1000 km/s (3000 for quasars) of that of any object in the spectrum; garbage has none.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ladder import RIGHT
from numpy.typing import NDArray

from zspec import checkpoint, mock_spectra
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.flags import ZWarn
from zspec.likelihood.basis import LIGHT, STEP
from zspec.likelihood.labelled import listed
from zspec.survey import Arm, Spectra

COUNT = 16
"""Spectra of a kind."""
BRIGHT = 5.0
"""Median SNR of the spectra that are blended."""
LAMOST = 10 ** (np.arange(35_682, 39_588) * STEP)
"""Å: the pixels of LAMOST's low-resolution spectra; their LSF has R = 1800."""
WAVE: NDArray[np.float64] = 10 ** (np.arange(35_700, 39_600, dtype=np.float64) * STEP)

Truth = list[tuple[str, float]]
"""Spectype and redshift of each object in a spectrum."""
Sample = tuple[Spectra, Truth]
Array = NDArray[np.float64]


def blends(shared: Path, rng: np.random.Generator) -> Iterator[tuple[str, Sample]]:
    """Pairs of classes."""
    by: dict[str, list[tuple[float, Spectra]]] = {}
    for line, one in listed(shared / "data/sdss/manifest.csv"):
        if line["label_ok"] == "1" and float(line["sn_median"]) > BRIGHT and len(one.arms) == 1:
            by.setdefault(line["class"], []).append((float(line["z"]), one))
    for a, b in (("GALAXY", "STAR"), ("GALAXY", "GALAXY"), ("QSO", "GALAXY"), ("QSO", "STAR")):
        for _ in range(COUNT):
            (z1, first), (z2, second) = (by[k][rng.integers(len(by[k]))] for k in (a, b))
            if len(first.arms[0].wave) == len(second.arms[0].wave):
                yield f"blend of {a} and {b}", (blended(first, second), [(a, z1), (b, z2)])


def blended(first: Spectra, second: Spectra) -> Spectra:
    """The sum of two, the second scaled to the median of the first."""
    a, b = first.arms[0], second.arms[0]
    both = (a.ivar[0] > 0) & (b.ivar[0] > 0)
    scale = np.float32(np.median(a.flux[0, both]) / np.median(b.flux[0, both]))
    variance = 1 / np.maximum(a.ivar, 1e-20) + scale**2 / np.maximum(b.ivar, 1e-20)
    ivar = np.where(both, 1 / variance, 0).astype(np.float32)
    arm = dataclasses.replace(a, flux=a.flux + scale * b.flux, ivar=ivar, good=None)
    return dataclasses.replace(first, arms=(arm,))


def mocks(snr: float) -> Iterator[tuple[str, Sample]]:
    """Analytic objects as LAMOST would see them."""
    made = mock_spectra({"A": (LAMOST, LAMOST / 1800 / 2.355)}, 3 * COUNT, 3, snr)
    assert made.truth is not None
    for i in range(len(made)):
        truth = [(str(made.truth.spectype[i]), float(made.truth.z[i]))]
        yield f"mock {truth[0][0]}, SNR {snr:g}", (made[i : i + 1], truth)


def seen(flux: Array, sigma: float, rng: np.random.Generator) -> Spectra:
    """``flux`` (pixel,) with white noise."""
    noisy = (flux + sigma * rng.standard_normal(len(WAVE)))[None].astype(np.float32)
    arm = Arm("A", WAVE, noisy, np.full_like(noisy, sigma**-2))
    return Spectra((arm,), np.arange(1), np.arange(1, dtype=np.int32))


def bumps(centres: Array, heights: Array, width: float) -> Array:
    """Gaussians of one width in Å."""
    shape = np.exp(-0.5 * ((WAVE - centres[:, None]) / width) ** 2)
    return np.asarray(heights @ shape)


def lines_only(rng: np.random.Generator) -> Sample:
    """[O II], Hβ, [O III], [O III] and Hα on nothing."""
    z = float(rng.uniform(0.05, 0.35))
    waves = np.array([3728.5, 4862.7, 4960.3, 5008.2, 6564.6]) * (1 + z)
    flux = bumps(waves, np.array([10.0, 5.0, 7.0, 20.0, 15.0]), 3.0)
    return seen(flux, 1.0, rng), [("GALAXY", z)]


def random_lines(rng: np.random.Generator) -> Sample:
    """Eight bumps of either sign on a flat continuum."""
    at, heights = rng.uniform(4000, 9000, 8), rng.uniform(-20, 20, 8)
    return seen(5 + bumps(at, heights, float(rng.uniform(2, 30))), 0.5, rng), []


def walk(rng: np.random.Generator) -> Sample:
    """Noise that is correlated over 100 pixels, three times what is noise."""
    rough = np.convolve(rng.standard_normal(len(WAVE) + 200), np.ones(100) / 10, "same")
    return seen(10 + 3 * rough[100:-100], 0.7, rng), []


def sawtooth(rng: np.random.Generator) -> Sample:
    """Orders that do not join."""
    return seen(10 + 4 * ((WAVE / rng.uniform(150, 600)) % 1), 0.7, rng), []


def fringes(rng: np.random.Generator) -> Sample:
    """A sine."""
    return seen(10 + 3 * np.sin(WAVE / rng.uniform(10, 60)), 0.7, rng), []


GARBAGE: dict[str, Callable[[np.random.Generator], Sample]] = {
    "emission lines only": lines_only,
    "random lines": random_lines,
    "correlated noise": walk,
    "sawtooth": sawtooth,
    "fringes": fringes,
}


def samples(shared: Path) -> Iterator[tuple[str, Sample]]:
    """All of them, by kind."""
    rng = np.random.default_rng(5)
    yield from blends(shared, rng)
    yield from mocks(20.0)
    yield from mocks(3.0)
    for name, make in GARBAGE.items():
        for _ in range(COUNT):
            yield name, make(rng)


def judged(fitter: Likelihood, sample: Sample) -> tuple[bool, bool, bool]:
    """Whether it is right, has ZWARN 0, and is out of distribution."""
    found = fitter.predict(Chunk(sample[0]))
    assert found.zwarn is not None
    best = int(found.best[0])
    kind, z = found.classes[best].spectype, found.z[0, best]
    right = any(
        kind == spectype and abs(np.log1p(z) - np.log1p(true)) * LIGHT < RIGHT[spectype]
        for spectype, true in sample[1]
    )
    bits = int(found.zwarn[0])
    return right, bits == 0, bool(bits & ZWarn.OUT_OF_DISTRIBUTION)


def report(shared: Path) -> str:
    """The table as markdown."""
    fitter = Likelihood.load(checkpoint.find("likelihood"))
    rows: dict[str, list[tuple[bool, bool, bool]]] = {}
    for name, sample in samples(shared):
        rows.setdefault(name, []).append(judged(fitter, sample))
    out = [
        "# Spectra that `likelihood` was not made for",
        "",
        "`python benchmarks/strange.py ../shared`",
        "",
        "| kind | n | right | ZWARN 0 | wrong with ZWARN 0 | OUT_OF_DISTRIBUTION |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in rows.items():
        right, clear, strange = np.array(each).T
        counts = (len(each), right.sum(), clear.sum(), (clear & ~right).sum(), strange.sum())
        out.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join([*out, ""])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = report(args.shared)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
