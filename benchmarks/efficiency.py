"""What redshifts of bright spectra lose against the Cramér-Rao bound: to noise, and to the bases.

    OMP_NUM_THREADS=1 python benchmarks/efficiency.py ../shared \
        -o benchmarks/results/efficiency.md

Each object of sets (a) and (b) of `elsewhere.py`, before the instruments of DESI and SDSS, is seen
``--draws`` times in the same exposures, with other noise of the variance that its pixels state. The
scatter about an object's own mean is what noise does to the estimate; its mean's distance from the
truth is what the bases do, whose shapes are not the source's. Both are compared with the bound of
the noise-free spectrum: with its shape known but for three polynomials an arm, and with the mixture
of the best basis free as well. ``model error`` is what the likelihood adds to the noise for real
spectra (2 % or so of the flux): the same again without it. ZERR does not enter: only what it is
worth is told.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import elsewhere
import numpy as np
import torch
from answers import FAST, Said, Truth, by, right
from elsewhere import CLASSES, Elsewhere
from mock_sets import clean
from numpy.typing import NDArray
from redrock_tables import SETS

from zspec import Chunk, checkpoint, cramer_rao
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import resolution
from zspec.likelihood.basis import LIGHT
from zspec.simulate.simulator import BLOCK
from zspec.survey import Spectra

Floats = NDArray[np.float64]
KINDS = ("ours", "redrock")
SURVEYS = ("desi", "sdss")
SNR = (5.0, 10.0, 20.0, 40.0)
FEWEST = 5
"""Objects of a bin below which there is no figure."""
MAD = 1.48
"""Standard deviations of a Gaussian in a median absolute deviation."""


@dataclass(frozen=True)
class Seen:
    """Objects that were seen several times; (n,) each, and (n, draw) where two are named."""

    kind: NDArray[np.str_]
    snr: Floats
    known: Floats
    """Bound of sigma_v, km/s, with the shape known."""
    free: Floats
    """With the mixture of the best basis free."""
    error: Floats
    """(n, draw) km/s; NaN where class or redshift are wrong."""
    zerr: Floats
    """(n, draw) km/s."""
    plain: Floats
    """(n, draw) ``error`` without the model error."""


def joined(parts: Sequence[Seen]) -> Seen:
    """Several blocks as one."""
    names = Seen.__dataclass_fields__
    return Seen(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def seen(source: Elsewhere, number: int, draws: int, model: Joint, plain: Joint) -> Seen:
    """A block of objects, fitted by two estimators."""
    observed, light = source.block(number), clean(source, number)
    truth = observed.truth
    known = Truth(truth["SPECTYPE"].astype(str), truth["Z"], truth["SNR"], truth["SED"])
    told: dict[str, list[Floats]] = {"error": [], "zerr": [], "plain": []}
    for draw in range(draws):
        rng = np.random.default_rng([source.seed, number, draw])
        noisy = again(observed.spectra, light, rng)
        for name, one in (("error", model), ("plain", plain)):
            said = by(one, noisy, FAST)
            told[name].append(errors(known, said))
            if name == "error":
                told["zerr"].append(LIGHT * said.sigma / (1 + known.z))
    columns = {name: np.stack(each, axis=1) for name, each in told.items()}
    bound = bounds(observed.spectra, light, known.z, model)
    return Seen(known.kind, known.snr, bound[0], bound[1], **columns)


def again(held: Spectra, light: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> Spectra:
    """The same spectra with other noise of the same variance."""
    arms = []
    for arm, flux in zip(held.arms, light, strict=True):
        ivar = np.where(arm.usable, arm.ivar, 0)
        sigma = np.where(ivar > 0, ivar, np.inf) ** -0.5
        noisy = flux + sigma * rng.standard_normal(flux.shape)
        arms.append(replace(arm, flux=noisy.astype(np.float32), good=None))
    return replace(held, arms=tuple(arms))


def errors(known: Truth, said: Said) -> Floats:
    """(n,) km/s; NaN where class or redshift are wrong."""
    velocity = LIGHT * (np.log1p(said.z) - np.log1p(known.z))
    return np.where(right(known, said) & (said.kind == known.kind), velocity, np.nan)


def bounds(
    held: Spectra, light: Sequence[NDArray[np.float32]], z: Floats, model: Joint
) -> tuple[Floats, Floats]:
    """(n,) km/s with the shape known, and with the mixture of the best basis free."""
    waves = [arm.wave for arm in held.arms]
    ivar = [np.where(arm.usable, arm.ivar, 0) for arm in held.arms]
    velocity = LIGHT / (1 + z)
    width = float(np.median(resolution(held.arms)))
    best = np.asarray(model.predict(Chunk(held, model.grid)).best)
    free = np.full(len(z), np.nan)
    for label in np.unique(best):
        rows = np.flatnonzero(best == label)
        flux, weight = ([part[rows] for part in parts] for parts in (light, ivar))
        basis = model.likelihood.bases[label]
        free[rows] = cramer_rao(waves, flux, weight, z[rows], basis, width)
    return velocity * cramer_rao(waves, light, ivar, z), velocity * free


def rows(title: str, every: Seen) -> Iterator[str]:
    """Lines of the table."""
    for kind, (low, high) in itertools.product(CLASSES, itertools.pairwise(SNR)):
        mine = (every.kind == kind) & (every.snr >= low) & (every.snr < high)
        mine &= np.isfinite(every.error).all(1) & np.isfinite(every.plain).all(1)
        if mine.sum() >= FEWEST:
            cells = [f"{mine.sum()}", *figures(every, mine)]
            yield f"| {title} | {kind} {low:g}–{high:g} | {' | '.join(cells)} |"


def figures(every: Seen, mine: NDArray[np.bool_]) -> list[str]:
    """Cells of one class and bin."""
    free, error = every.free[mine, None], every.error[mine]
    noise, bias = parts(error, free)
    noise_plain, bias_plain = parts(every.plain[mine], free)
    whole = MAD * np.median(np.abs(error / free))
    pull = MAD * np.median(np.abs(error / every.zerr[mine]))
    size = MAD * np.median(np.abs(error.mean(1)))
    return [
        f"{np.median(every.known[mine]):.1f}",
        f"{np.median(free):.1f}",
        f"{noise:.2f}",
        f"{bias:.2f}",
        f"{size:.1f}",
        f"{whole**-2:.2f}",
        f"{noise**-2:.2f}",
        f"{noise_plain**-2:.2f}",
        f"{bias_plain:.2f}",
        f"{pull:.2f}",
    ]


def parts(error: Floats, bound: Floats) -> tuple[float, float]:
    """Scatter about each object's mean, and of the means about 0, in units of the bound.

    error: (n, draw), bound: (n, 1). The scatter of a mean that noise alone gives is taken off.
    """
    draws = error.shape[1]
    mean = error.mean(1, keepdims=True)
    noise = MAD * np.median(np.abs((error - mean) / bound)) * np.sqrt(draws / (draws - 1))
    bias = MAD * np.median(np.abs(mean / bound))
    return float(noise), float(np.sqrt(max(bias**2 - noise**2 / draws, 0.0)))


HEAD = """# Redshifts of bright spectra against the Cramér-Rao bound

`python benchmarks/efficiency.py ../shared --blocks {blocks} --draws {draws}`, seed {seed};
checkpoint of zspec {model} (`--fast`, whose redshifts are those of the same fit); model error
{error:.3f} of the flux.

Each of n objects was seen {draws} times in the same exposures with other noise. Bounds in km/s
(median): of the noise-free shape, known but for three polynomials an arm, and with the mixture of
the best basis free as well; all that follows is in units of the latter. Noise: scatter about an
object's own mean. Bias: scatter of these means about the truth, less what noise gives them (in
km/s beside it, with it). eff: bound² over variance, of all errors, of noise alone, and of noise
alone without the model error. Pull: error over ZERR. All by medians of absolute deviations.

| set | class, SNR | n | bound, known | bound, free | noise | bias | bias, km/s | eff | eff, noise \
| the same without model error | bias without | pull |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--model", default="zspec", help="checkpoint of zspec, a name or a file")
    parser.add_argument("--blocks", type=int, default=2, help=f"of {BLOCK} objects, of each set")
    parser.add_argument("--draws", type=int, default=12, help="of the noise")
    parser.add_argument("--surveys", nargs="*", default=SURVEYS, help="whose instruments")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = checkpoint.load_estimator(args.model)
    assert isinstance(model, Joint)
    plain = Joint(model.likelihood, model.proposal, model.calibration.with_fit(model_error=0.0))
    lines = []
    for survey, kind in itertools.product(args.surveys, KINDS):
        ends = SNR[0], SNR[-1]
        source = elsewhere.sample(kind, survey, args.seed, args.shared, ends)
        every = [seen(source, i, args.draws, model, plain) for i in range(args.blocks)]
        lines += list(rows(f"{survey} {SETS[kind][:3]}", joined(every)))
    error = model.calibration.fit.model_error
    told = {"model": model.sha256[:12], "error": error, "seed": args.seed}
    head = HEAD.format(blocks=args.blocks, draws=args.draws, **told)
    text = head + "\n".join(lines) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
