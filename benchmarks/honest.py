"""Whether ZERR and p(z) are honest, by class and SNR, on simulated spectra.

    python benchmarks/honest.py ../shared --number 5000 --strangers 1000 \
        --work DIR -o benchmarks/results/honest.md

Three times. Exactness: draws from the fitter's own prior, with nothing that calibration widens.
Honesty: sources of ``zspec simulate``, of the part that is kept for tests, calibrated as shipped;
line shifts, doublets, dust, forest and absorbers are the simulator's own, but its continua were
learned from spectra and templates that the bases were learned from, too. Strangers: published
templates that the bases were not learned from: redrock's archetypes of stars and quasars, and the
draws of its older galaxy template, for which the galaxy basis is learned again without that file.
Pixels, LSF and noise are those of real SDSS and DESI coadds, half of each; the noise is scaled to
the SNR. All but the first have wavelengths that are off by what the calibration takes real ones to
be off by (``scatter.FLOOR``), a velocity for each spectrum.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import beta

import zspec
from zspec import Arm, Chunk, Spectra, checkpoint, cramer_rao, plugins
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.likelihood.basis import LIGHT, PIXEL_LN, Basis, blur, broadened
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.labelled import listed
from zspec.likelihood.nuisance import CALIBRATED
from zspec.likelihood.pixels import NPOLY
from zspec.likelihood.scatter import FLOOR
from zspec.likelihood.solve import broadening
from zspec.likelihood.templates import read_template
from zspec.likelihood.train import label, learn_bases
from zspec.metrics.densities import judge
from zspec.simulate.sources import draw, read_population
from zspec.training import find_recipe

Array = NDArray[np.float64]

SNR = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Median per Å."""
CLASSES = ("GALAXY", "QSO", "STAR")
RIGHT = {"GALAXY": 1000.0, "QSO": 3000.0, "STAR": 1000.0}
"""km/s."""
FILES = {"sdss": ("sdss/spectra/spec-*.fits", 8), "desi": ("desi/coadd-*.fits", 8)}
"""Where noise comes from, below data/, and of how many spectra."""
EFFICIENT = 5.0
"""SNR above which ``eff`` must be within its limits."""
DRAWS = 400
"""Bootstrap draws."""
Z_HELD_OUT = {"GALAXY": (0.02, 1.5), "QSO": (0.3, 4.0), "STAR": (-0.0015, 0.0015)}
"""Redshifts of held-out sources, flat in ln(1+z): where their features are on the detector."""
FINE = 4
"""Steps of a grid pixel on which simulated sources are drawn: lines of gas are narrower."""
SEEN = (3450.0, 10400.0)
"""Å: what simulated sources are drawn for; all arms lie within."""


@dataclass(frozen=True)
class Instrument:
    """Pixels, LSF and noise of one real spectrum."""

    arms: tuple[Arm, ...]
    """One row each; the flux is not used."""

    @property
    def width(self) -> float:
        """Sigma of the LSF in grid pixels, as the fitter takes it."""
        return float(resolution(self.arms)[0])


@dataclass(frozen=True)
class Drawn:
    """n noise-free objects on a grid that is even in ln λ."""

    start: float
    """ln λ of the first pixel, in grid pixels."""
    flux: Array
    """(n, pixel)"""
    z: Array
    """(n,)"""
    label: NDArray[np.intp]
    """(n,) the basis of their class or type, for the bound."""
    shift: Array
    """(n,) grid pixels by which the flux is to be moved to where it is observed."""
    fine: int = 1
    """Pixels of the flux in a grid pixel."""


Source = Callable[[np.random.Generator, int, Instrument], Iterator[Drawn]]
"""About n objects of one class, in parts of one grid each."""


@dataclass
class Found:
    """What became of the spectra of one class and SNR, (n,) each."""

    level: Array
    """Of the truth in p(z)."""
    inner: Array
    """The same in p(z) of the true spectype alone."""
    z: Array
    sigma: Array
    true: Array
    bound: Array

    def velocity(self) -> Array:
        """|Δv| in km/s."""
        return LIGHT * np.abs(self.z - self.true) / (1 + self.true)


def instruments(shared: Path, rng: np.random.Generator) -> list[Instrument]:
    """Noise of real spectra, SDSS and DESI in turn."""
    found = [list(_noises(shared / "data", *FILES[name], rng)) for name in FILES]
    return [one for pair in zip(*found, strict=True) for one in pair]


def _noises(
    data: Path, pattern: str, number: int, rng: np.random.Generator
) -> Iterator[Instrument]:
    """Some spectra with data in nine tenths of their pixels."""
    paths = sorted(data.glob(pattern))
    for at in rng.permutation(len(paths)):
        for spectra in zspec.read(paths[at]):
            for row in range(len(spectra)):
                one = spectra[row : row + 1]
                good = np.concatenate([arm.ivar[0] > 0 for arm in one.arms])
                if good.mean() > 0.9 and number:
                    number -= 1
                    yield Instrument(one.arms)


def own(bases: Sequence[Basis], spectype: str, prior: float) -> Source:
    """Draws from the Gaussian prior of the bases of a spectype, ``prior`` times its width."""
    mine = [i for i, basis in enumerate(bases) if basis.spectype == spectype]

    def draw(rng: np.random.Generator, n: int, seen: Instrument) -> Iterator[Drawn]:
        for number, count in zip(*np.unique(rng.choice(mine, n), return_counts=True), strict=True):
            basis = bases[number]
            shape = rng.multivariate_normal(0 * basis.mean, basis.spread, count)
            vectors = broadened(basis, broadening(basis, seen.width)).numpy()
            flux = (basis.mean + prior * shape) @ vectors
            z = _redshifts(basis, rng, count)
            yield Drawn(basis.k0, flux, z, np.full(count, number), np.log1p(z) / PIXEL_LN)

    return draw


def _redshifts(basis: Basis, rng: np.random.Generator, n: int) -> Array:
    """(n,) from the fitter's prior on the redshift."""
    low, high = np.log1p(basis.z_range)
    u = np.linspace(low, high, 4001)
    weight = torch.exp(-basis.rarity(torch.from_numpy(u / PIXEL_LN)) / 2).numpy()
    summed = np.cumsum(weight)
    return np.expm1(np.interp(rng.uniform(0, summed[-1], n), summed, u))


def held_out(bases: Sequence[Basis], spectype: str, folder: Path) -> Source:
    """Published spectra that ``bases`` were not learned from."""
    names = {"GALAXY": "galaxy-old", "QSO": "qso", "STAR": "star"}
    kind = "rrtemplate" if spectype == "GALAXY" else "rrarchetype"
    template = read_template(folder / f"{kind}-{names[spectype]}.fits")
    flux = template.vectors
    if template.coefficients is not None:
        flux = template.coefficients @ flux
    labels = [_basis_of(bases, spectype, name) for name in template.subtypes or [""] * len(flux)]
    low, high = np.log1p(Z_HELD_OUT[spectype])

    def draw(rng: np.random.Generator, n: int, seen: Instrument) -> Iterator[Drawn]:
        pick = rng.integers(0, len(flux), n)
        sharp = spectype != "QSO"  # the archetypes of quasars were made from observed spectra
        vectors = blur(flux[pick], seen.width if sharp else 0.0)
        z = np.expm1(rng.uniform(low, high, n))
        shift = (np.log1p(z) + FLOOR * rng.standard_normal(n)) / PIXEL_LN
        yield Drawn(template.k0, vectors, z, np.array(labels)[pick], shift)

    return draw


def simulated(bases: Sequence[Basis], spectype: str) -> Source:
    """Sources of SDSS's population that are kept for tests, flat in class and redshift."""
    whole = read_population(_simulation() / "population.toml", flat=True)
    kept = tuple(c for c in whole.classes if c.spectype == spectype)
    population = dataclasses.replace(whole, classes=kept)
    step = PIXEL_LN / FINE
    low, high = (math.log(wave) for wave in SEEN)

    def source(rng: np.random.Generator, n: int, seen: Instrument) -> Iterator[Drawn]:
        grid = (low, step, int((high - low) / step))
        made = draw(population, n, [int(rng.integers(2**31))], grid, seds="test")
        flux = blur(made.flux.numpy().astype(np.float64), seen.width * FINE)
        label = [_basis_of(bases, spectype, str(name)) for name in made.truth["SUBTYPE"]]
        shift = FLOOR * rng.standard_normal(n) / PIXEL_LN
        yield Drawn(low / PIXEL_LN, flux, made.truth["Z"], np.array(label), shift, FINE)

    return source


def _simulation() -> Path:
    """The folder of SDSS's simulation."""
    folder = plugins.survey("sdss").simulation
    assert folder is not None
    return folder


def _basis_of(bases: Sequence[Basis], spectype: str, name: str) -> int:
    """The basis of a star's type, else the first of the spectype."""
    mine = [i for i, basis in enumerate(bases) if basis.spectype == spectype]
    return next((i for i in mine if name and name.startswith(bases[i].subtype)), mine[0])


def observe(drawn: Drawn, seen: Instrument, snr: float, rng: np.random.Generator) -> Truth:
    """Spectra of this median SNR per Å, with the noise of the instrument.

    Polynomials are drawn from the fitter's prior of them.
    """
    waves = [arm.wave for arm in seen.arms]
    n = len(drawn.z)
    root = [np.sqrt(arm.ivar.astype(np.float64)) for arm in seen.arms]
    flux, tilted = [], []
    order = np.arange(NPOLY)
    for wave, weight in zip(waves, root, strict=True):
        model = sampled(drawn, wave)
        x = np.log(wave / wave[0]) / np.log(wave[-1] / wave[0]) * 2 - 1
        basis = np.polynomial.legendre.legvander(x, NPOLY - 1) * np.sqrt(2 * order + 1)
        level = np.average(model, axis=1, weights=weight[0] ** 2)
        tilt = CALIBRATED * level[:, None] * rng.standard_normal((n, NPOLY))
        flux.append(model)
        tilted.append(tilt @ basis.T)
    per = [np.gradient(wave) ** 0.5 for wave in waves]
    parts = [np.abs(f + t) * r / p for f, t, r, p in zip(flux, tilted, root, per, strict=True)]
    good = np.concatenate([arm.ivar[0] > 0 for arm in seen.arms])
    scale = np.median(np.concatenate(parts, 1)[:, good], axis=1, keepdims=True) / snr
    return _noisy(drawn, seen, [f / scale for f in flux], [t / scale for t in tilted], rng)


def sampled(drawn: Drawn, wave: Array) -> Array:
    """(n, pixel) the objects at wavelengths in Å."""
    place = np.log(wave) / PIXEL_LN - drawn.start - drawn.shift[:, None]
    pairs = zip(drawn.flux, place * drawn.fine, strict=True)
    return np.stack([ndimage.map_coordinates(f, [p], order=3, mode="constant") for f, p in pairs])


@dataclass(frozen=True)
class Truth:
    """Noisy spectra, and their noise-free light."""

    spectra: Spectra
    flux: list[Array]
    """(n, pixel) an arm, without polynomials."""


def _noisy(
    drawn: Drawn,
    seen: Instrument,
    flux: list[Array],
    tilted: list[Array],
    rng: np.random.Generator,
) -> Truth:
    """The light with polynomials and noise."""
    arms = []
    n = len(drawn.z)
    for arm, light, tilt in zip(seen.arms, flux, tilted, strict=True):
        ivar = np.repeat(arm.ivar, n, axis=0)
        sigma = np.where(ivar > 0, np.maximum(ivar, 1e-30), np.inf) ** -0.5
        made = (light + tilt + sigma * rng.standard_normal(light.shape)).astype(np.float32)
        width = None if arm.resolution is None else np.broadcast_to(arm.resolution, arm.flux.shape)
        more = None if width is None else np.repeat(width, n, axis=0)
        arms.append(Arm(arm.name, arm.wave, made, ivar, resolution=more))
    index = np.arange(n)
    return Truth(Spectra(tuple(arms), index.astype(np.int64), index.astype(np.int32)), flux)


def measure(
    fitter: Likelihood, spectype: str, drawn: Drawn, seen: Instrument, truth: Truth
) -> Found:
    """Predictions of some spectra, and their bound."""
    said = fitter.predict(Chunk(truth.spectra), frozenset({"zpdf"}))
    row = np.arange(len(drawn.z))
    assert said.zpdf is not None
    spectypes = np.array([c.spectype for c in said.classes])
    mine = said.zpdf[spectypes[said.zpdf.label] == spectype]
    level, inner = (
        np.array([judge(*pdf.marginal(i), z).level for i, z in enumerate(drawn.z)])
        for pdf in (said.zpdf, mine)
    )
    bound = np.full(len(row), np.nan)
    for number in np.unique(drawn.label):
        at = drawn.label == number
        bound[at] = cramer_rao(
            [arm.wave for arm in truth.spectra.arms],
            [light[at] for light in truth.flux],
            [arm.ivar[at] for arm in truth.spectra.arms],
            drawn.z[at],
            fitter.bases[number],
            seen.width,
        )
    z, sigma = said.z[row, said.best], said.sigma[row, said.best]
    return Found(level, np.nan_to_num(inner, nan=1.0), z, sigma, drawn.z, bound)


def run(
    fitter: Likelihood,
    sources: dict[str, Source],
    noises: Sequence[Instrument],
    number: int,
    seed: int,
    kept: Path,
) -> dict[tuple[str, float], Found]:
    """All classes at every SNR, ``number`` spectra each; what is in the folder ``kept`` is done."""
    out = {}
    kept.mkdir(parents=True, exist_ok=True)
    for c, (spectype, source) in enumerate(sources.items()):
        for s, snr in enumerate(SNR):
            path = kept / f"{spectype}-{snr:g}-{number}-{seed}.npz"
            if not path.is_file():
                rng = np.random.default_rng([seed, c, s])
                found = fill(fitter, (spectype, source), noises, number, snr, rng)
                np.savez(path.with_suffix(".part.npz"), **dataclasses.asdict(found))
                path.with_suffix(".part.npz").replace(path)
            with np.load(path) as stored:
                out[spectype, snr] = Found(**stored)
    return out


def fill(
    fitter: Likelihood,
    of: tuple[str, Source],
    noises: Sequence[Instrument],
    number: int,
    snr: float,
    rng: np.random.Generator,
) -> Found:
    """One class at one SNR."""
    spectype, source = of
    parts = []
    for seen in noises:
        for drawn in source(rng, math.ceil(number / len(noises)), seen):
            truth = observe(drawn, seen, snr, rng)
            parts.append(measure(fitter, spectype, drawn, seen, truth))
    fields = [f.name for f in dataclasses.fields(Found)]
    return Found(*(np.concatenate([getattr(p, name) for p in parts]) for name in fields))


def share(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """A fraction with its 95 % interval (Clopper and Pearson 1934)."""
    k, n = int(hits.sum()), len(hits)
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return k / n, float(low), float(high)


def spread(x: Array) -> tuple[float, float, float]:
    """1.48 median |x - median x| with its 95 % interval by bootstrap."""
    picks = np.random.default_rng(1).integers(0, len(x), (DRAWS, len(x)))
    drawn = x[picks]
    widths = 1.48 * np.median(np.abs(drawn - np.median(drawn, axis=1, keepdims=True)), axis=1)
    low, high = np.percentile(widths, [2.5, 97.5])
    return float(1.48 * np.median(np.abs(x - np.median(x)))), float(low), float(high)


def cell(found: tuple[float, float, float], limits: tuple[float, float]) -> str:
    """A figure with its interval, bold where that excludes the tolerance."""
    value, low, high = found
    text = f"{value:.3f} ({low:.3f}–{high:.3f})"
    return text if high >= limits[0] and low <= limits[1] else f"**{text}**"


@dataclass(frozen=True)
class Tolerance:
    """What may be off."""

    points: float
    """Of coverage."""
    pull: float
    """Of the width of pulls."""
    eff: tuple[float, float]
    """Where SNR is above EFFICIENT."""


EXACT = Tolerance(0.02, 0.05, (0.8, 1.1))
HONEST = Tolerance(0.05, 0.15, (0.0, np.inf))
"""Redshifts of sources with shapes of their own are not limited by noise alone."""


def line(spectype: str, snr: float, found: Found, may: Tolerance) -> str:
    """One class and SNR of a table."""
    points, pull = may.points, may.pull
    right = found.velocity() < RIGHT[spectype]
    cells = [f"{spectype} {snr:g}", str(len(right)), f"{right.mean():.3f}"]
    for level, limit in ((found.level, 0.6827), (found.level, 0.95), (found.inner, 0.6827)):
        cells.append(cell(share(level <= limit), (limit - points, limit + points)))
    if right.mean() > 0.98:
        off = (found.z - found.true)[right]
        cells.append(cell(spread(off / found.sigma[right]), (1 - pull, 1 + pull)))
        known = np.isfinite(found.bound[right])
        value, low, high = (s**-2 for s in spread(off[known] / found.bound[right][known]))
        limits = may.eff if snr > EFFICIENT else (0.0, np.inf)
        cells.append(cell((value, high, low), limits))
    else:
        cells += ["", ""]
    return "| " + " | ".join(cells) + " |"


def table(found: dict[tuple[str, float], Found], may: Tolerance) -> list[str]:
    """All classes and SNR."""
    head = "| class, SNR per Å | n | right | cov68 | cov95 | cov68 of its class | pull | eff |"
    rows = [line(*key, one, may) for key, one in found.items()]
    return [head, "|" + "---|" * 8, *rows, ""]


def relearned(fitter: Likelihood, shared: Path) -> Likelihood:
    """The same with a galaxy basis that never saw the older galaxy template."""
    recipe = find_recipe("likelihood")
    entry = next(e for e in recipe["basis"] if e["name"] == "GALAXY")
    kept = [s for s in entry["sources"] if s["file"] != "rrtemplate-galaxy-old.fits"]
    lines = listed(shared / recipe["manifest"])
    real = [label(text, one) for text, one in lines if text["label_ok"] == "1"]
    only = {**recipe, "basis": [{**entry, "sources": kept}]}
    basis = learn_bases(only, shared / recipe["templates"], real)[0]
    bases = [basis if b.name == "GALAXY" else b for b in fitter.bases]
    return Likelihood(bases, fitter.meta, fitter.calibration)


def report(shared: Path, number: int, few: int, seed: int, prior: float, work: Path) -> str:
    """All tables as markdown; the third of ``few`` spectra a class and SNR."""
    noises = instruments(shared, np.random.default_rng(seed))
    shipped = Likelihood.load(checkpoint.find("likelihood"))
    exact = shipped.calibrated_by(Calibration())
    work /= hashlib.sha256(checkpoint.find("likelihood").read_bytes()).hexdigest()[:12]
    mine = {kind: own(exact.bases, kind, prior) for kind in CLASSES}
    inside = run(exact, mine, noises, number, seed, work / f"exact-{prior:g}")
    near = {kind: simulated(shipped.bases, kind) for kind in CLASSES}
    honest = run(shipped, near, noises, number, seed, work / "honest")
    other = relearned(shipped, shared)
    folder = shared / "data" / "templates"
    theirs = {kind: held_out(other.bases, kind, folder) for kind in CLASSES}
    outside = run(other, theirs, noises, few, seed, work / "strangers")
    text = [
        "# Honest sigma and p(z)",
        "",
        f"At least {number} simulated spectra a class and SNR ({few} in the third table), seed "
        f"{seed}; noise and LSF of "
        f"{len(noises)} real spectra of SDSS and DESI. Intervals: 95 %. Bold: the interval "
        "excludes the tolerance. cov: of highest-density regions of p(z), all rows; of its class: "
        "of p(z) where the spectype is known. pull, eff: right rows, where over 98 % are right. "
        f"Draws are {prior:g} times as wide as the fitter's prior. In "
        f"the second and third table wavelengths are off by {LIGHT * FLOOR:.1f} km/s (1 sigma).",
        "",
        "## Exactness: draws from the fitter's own prior, no calibration",
        "",
        *table(inside, EXACT),
        "## Honesty: simulated sources, calibrated as shipped",
        "",
        *table(honest, HONEST),
        "## Strangers: published templates that the bases were not learned from, calibrated",
        "",
        *table(outside, HONEST),
    ]
    return "\n".join(text)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    parser.add_argument("--number", type=int, default=300, help="spectra a class and SNR")
    parser.add_argument("--strangers", type=int, default=300, help="the same in the third table")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prior", type=float, default=1.0, help="draws' widths in the prior's")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder that keeps what was done with this model"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = report(args.shared, args.number, args.strangers, args.seed, args.prior, args.work)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
