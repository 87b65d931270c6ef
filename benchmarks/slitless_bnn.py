"""The slitless network against the paper's figures, the likelihood and the Cramér-Rao bound.

    python benchmarks/slitless_bnn.py slitless-bnn dropout.safetensors ensemble.safetensors \
        -n 20000 --likelihood 1000 --emulated DATA/csst/cess-mock-11.fits -o slitless_bnn.md

Simulates a test set (sources that no training saw, the survey's own redshifts), predicts it with
each model, and writes tables: metrics of all and of SNR >= 1, coverage in bins of SNR, purity by
ZCONF, emulated spectra of others, and what 200 passes cost. ``--plots`` is a folder for pictures.
Bins of fewer spectra than ``--least`` are left out of the coverage; it needs other spectra than
those calibrated on, which the split of sources guarantees.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import zspec
from zspec import Chunk, Estimator, Spectra, checkpoint, plugins
from zspec.calibration.maps import covariate
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.likelihood.bound import cramer_rao
from zspec.simulate.simulator import BLOCK, cut, glue, simulator
from zspec.slitless.heads import Weights
from zspec.slitless.inputs import scale, signal_to_noise

Floats = NDArray[np.float64]

PAPER = (
    ("paper: CNN", "0.00047", "0.954", "-"),
    ("paper: BNN", "0.00063", "0.92", "0.00228"),
)
"""Zhou et al. (CSST slitless), section 4: NMAD, eta in per cent, Ebar; other mocks."""
OUTLIER = 0.02
CLOSE, FAR = 0.002, 0.01
KEPT = (1.0, 0.8, 0.6, 0.42, 0.2)
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, np.inf)


@dataclass
class TestSet:
    """Simulated spectra that no training saw."""

    spectra: Spectra
    clean: tuple[NDArray[np.float32], ...]
    z: Floats
    snr: Floats
    """The survey's: mean over bands of the median of flux / error."""


@dataclass
class Answer:
    """What one estimator says of the test set, or of its first rows."""

    name: str
    z: Floats
    sigma: Floats
    zconf: Floats
    pit: Floats
    """(n,) mapped CDF at the truth; of a Gaussian where there is no map."""


def simulate(survey: str, n: int, seed: int) -> TestSet:
    """``n`` spectra of the test sources, without those that a neighbour contaminates."""
    source = simulator(plugins.survey(survey), seed, split="test")
    parts, clean, size = [], [], 0
    for number in itertools.count():
        block = source.block(number)
        for row in np.flatnonzero(block.truth["ARTEFACT"] == 0):
            parts.append(cut(block, slice(row, row + 1)))
            clean.append([light[row] for light in block.clean])
        size = len(parts)
        if size >= n:
            break
    observed = glue(parts[:n])
    spectra = observed.spectra
    assert spectra.truth is not None
    bands = tuple(np.stack(c) for c in zip(*clean[:n], strict=True))
    snr = np.asarray(observed.truth["SNR"], np.float64)
    return TestSet(spectra, bands, np.asarray(spectra.truth.z), snr)


def chunks(spectra: Spectra) -> Iterator[Spectra]:
    """Pieces of a size that fits into memory."""
    yield from spectra.split(BLOCK * 4)


def ask(name: str, model: Estimator, test: TestSet, n: int) -> list[Answer]:
    """Answers of an estimator, and of the point network where it has one."""
    said = [model.predict(Chunk(part, model.grid)) for part in chunks(test.spectra[:n])]
    rows = [np.arange(len(p.best)) for p in said]
    z, sigma = (
        np.concatenate([getattr(p, f)[r, p.best] for p, r in zip(said, rows, strict=True)])
        for f in ("z", "sigma")
    )
    nan = [np.full(len(r), np.nan) for r in rows]
    zconf = np.concatenate(
        [x if p.zconf is None else p.zconf for p, x in zip(said, nan, strict=True)]
    )
    t = (test.z[:n] - z) / sigma
    answers = [Answer(name, z, sigma, zconf.astype(np.float64), _cdf(model, t, test, n))]
    if isinstance(model, SlitlessBNN):
        point = np.concatenate([p.extra["Z_POINT"] for p in said])
        unknown = np.full(n, np.nan)
        answers.insert(0, Answer(f"{name}: point network", point, unknown, unknown, unknown))
    return answers


def _cdf(model: Estimator, t: Floats, test: TestSet, n: int) -> Floats:
    """Probability that the estimator gives to redshifts below the truth."""
    normal = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in t])
    if not isinstance(model, SlitlessBNN):
        return normal
    calibration = model.trained.calibration
    x = np.concatenate([_covariate(model, part) for part in chunks(test.spectra[:n])])
    return calibration.cdf(t * calibration.widening(x), x)


def _covariate(model: SlitlessBNN, spectra: Spectra) -> Floats:
    batch = Chunk(spectra, model.grid).batch
    snr = signal_to_noise(torch.from_numpy(batch.flux), torch.from_numpy(batch.error))
    return covariate(snr.double().numpy())


def bounds(test: TestSet, n: int) -> Floats:
    """(n,) Cramér-Rao bound of sigma_z, marginal over three polynomials a band."""
    arms = test.spectra[:n].arms
    clean = [light[:n] for light in test.clean]
    return cramer_rao([a.wave for a in arms], clean, [a.ivar for a in arms], test.z[:n])


def nmad(d: Floats) -> float:
    """1.48 times the median absolute deviation."""
    return float(1.48 * np.median(np.abs(d - np.median(d))))


def metrics_table(answers: Sequence[Answer], test: TestSet, least: float, bound: Floats) -> str:
    """NMAD, eta, Ebar and coverage of spectra above an SNR; the bound as errors drawn from it."""
    lines = [
        f"\n## Spectra with SNR >= {least:g}\n" if least else "\n## All spectra\n",
        "| | n | NMAD | eta % | Ebar | 68 % | 95 % | ECE of ZCONF |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {a} | | {b} | {c} | {d} | | | |" for a, b, c, d in PAPER]
    for answer in answers:
        n = len(answer.z)
        use = (test.snr[:n] >= least) & np.isfinite(answer.z)
        lines.append(_metrics_row(answer, test.z[:n], use))
    use = (test.snr[: len(bound)] >= least) & np.isfinite(bound)
    z, sigma = test.z[: len(bound)][use], bound[use]
    draws = sigma * np.random.default_rng(0).standard_normal(len(sigma)) / (1 + z)
    share = 100 * np.mean(np.abs(draws) > OUTLIER)
    ebar = np.mean(sigma / (1 + z))
    text = (
        f"| Cramér-Rao bound | {use.sum()} | {nmad(draws):.5f} | {share:.2f} | {ebar:.5f} | | | |"
    )
    return "\n".join([*lines, text])


def _metrics_row(answer: Answer, true: Floats, use: NDArray[np.bool_]) -> str:
    """One estimator's line."""
    z, sigma, true = answer.z[use], answer.sigma[use], true[use]
    d = (z - true) / (1 + true)
    cells = [
        answer.name,
        str(len(z)),
        f"{nmad(d):.5f}",
        f"{100 * np.mean(np.abs(d) > OUTLIER):.2f}",
    ]
    if np.isfinite(sigma).all():
        inside = covered(answer.pit[use])
        cells += [f"{np.mean(sigma / (1 + true)):.5f}", *(f"{v:.1f}" for v in inside)]
        cells.append(f"{calibration_error(answer.zconf[use], np.abs(d) < CLOSE):.3f}")
    return f"| {' | '.join(cells + ['-'] * (8 - len(cells)))} |"


def covered(pit: Floats) -> list[float]:
    """Per cent of truths in the central 68.27 and 95 % intervals."""
    return [float(100 * np.mean(np.abs(pit - 0.5) <= share / 2)) for share in (0.6827, 0.95)]


def calibration_error(said: Floats, happened: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error of a probability, in bins of equal numbers."""
    order = np.argsort(said)
    parts = np.array_split(order, bins)
    gaps = [abs(said[p].mean() - happened[p].mean()) * len(p) for p in parts if len(p)]
    return float(np.sum(gaps) / len(said))


def coverage_table(answers: Sequence[Answer], test: TestSet, least: int) -> str:
    """Coverage of the mapped central intervals in bins of the survey's SNR."""
    lines = [
        "\n## Coverage by SNR, in per cent\n",
        "| | SNR | n | 68 % | 95 % |\n|---|---|---|---|---|",
    ]
    for answer in answers:
        if not np.isfinite(answer.pit).any():
            continue
        snr = test.snr[: len(answer.z)]
        for low, high in itertools.pairwise(EDGES):
            use = (snr >= low) & (snr < high) & np.isfinite(answer.pit)
            if use.sum() >= least:
                inside = covered(answer.pit[use])
                shares = " | ".join(f"{v:.1f}" for v in inside)
                lines.append(f"| {answer.name} | {low:g}-{high:g} | {use.sum()} | {shares} |")
    return "\n".join(lines)


def purity_table(answers: Sequence[Answer], test: TestSet) -> str:
    """Of the best by ZCONF with SNR >= 1: how many are close, and how many far off."""
    head = f"| | kept % | ZCONF above | within {CLOSE} % | beyond {FAR} % |\n|---|---|---|---|---|"
    lines = ["\n## Purity and completeness by ZCONF, SNR >= 1\n", head]
    lines.append("| others, on other mocks | 42 | | 96.6 | 0.13 |")
    for answer in answers:
        if not np.isfinite(answer.zconf).any():
            continue
        n = len(answer.z)
        use = np.flatnonzero((test.snr[:n] >= 1) & np.isfinite(answer.zconf))
        use = use[np.argsort(-answer.zconf[use])]
        d = np.abs(answer.z - test.z[:n]) / (1 + test.z[:n])
        for share in KEPT:
            best = use[: max(1, round(share * len(use)))]
            close, far = 100 * np.mean(d[best] < CLOSE), 100 * np.mean(d[best] > FAR)
            cells = f"{100 * share:.0f} | {answer.zconf[best[-1]]:.3f} | {close:.1f} | {far:.2f}"
            lines.append(f"| {answer.name} | {cells} |")
    return "\n".join(lines)


def emulated_table(models: Sequence[tuple[str, Estimator]], path: Path) -> str:
    """Spectra of another group's emulator, predicted without training on them."""
    lines = [
        "\n## Emulated spectra of others\n",
        "| | SNR | z true | z | sigma | pull | ZCONF | ZWARN |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for spectra in zspec.read(path):
        assert spectra.truth is not None
        for name, model in models:
            said = model.predict(Chunk(spectra, model.grid))
            for i, true in enumerate(spectra.truth.z):
                z, sigma = said.z[i, said.best[i]], said.sigma[i, said.best[i]]
                snr = math.nan if spectra.snr is None else spectra.snr[i]
                zconf = math.nan if said.zconf is None else said.zconf[i]
                bits = 0 if said.zwarn is None else said.zwarn[i]
                numbers = f"{true:.4f} | {z:.4f} | {sigma:.4f} | {(z - true) / sigma:+.1f}"
                flags = "+".join(zspec.flags.names(int(bits))) or "0"
                lines.append(f"| {name} | {snr:.1f} | {numbers} | {zconf:.2f} | {flags} |")
    return "\n".join(lines)


def cost_table(models: Sequence[tuple[str, Estimator]], test: TestSet, n: int = 1000) -> str:
    """CPU time of all passes of 1,000 spectra against that of one."""
    lines = [f"\n## Cost of the passes, {n} spectra, CPU seconds\n"]
    lines.append("| | one pass | all passes | ratio |\n|---|---|---|---|")
    for name, model in models:
        if isinstance(model, SlitlessBNN):
            batch = Chunk(test.spectra[:n], model.grid).batch
            x = scale(torch.from_numpy(batch.flux), torch.from_numpy(batch.error))
            one = [type(w)(*(part[:1] for part in w)) for w in model.weights]
            single, every = (_best_time(model, x, weights) for weights in (one, model.weights))
            lines.append(f"| {name} | {single:.3f} | {every:.3f} | {every / single:.2f} |")
    return "\n".join(lines)


def _best_time(model: SlitlessBNN, x: torch.Tensor, weights: list[Weights]) -> float:
    """The least CPU time of three runs."""
    times = []
    for _ in range(3):
        started = time.process_time()
        model.model.run(x, weights)
        times.append(time.process_time() - started)
    return min(times)


def draw_plots(folder: Path, answers: Sequence[Answer], test: TestSet) -> None:
    """Redshifts (P2, Figs. 7 and 11), reliability (10), metrics by z (9, 12), purity."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for answer in answers:
        n = len(answer.z)
        z, snr = test.z[:n], test.snr[:n]
        d = (answer.z - z) / (1 + z)
        figure, axes = plt.subplots(2, 2, figsize=(11, 9), layout="constrained")
        shown = axes[0, 0].scatter(z, answer.z, c=np.log10(snr.clip(0.1)), s=2, cmap="viridis")
        figure.colorbar(shown, ax=axes[0, 0], label="log10 SNR")
        axes[0, 0].set(xlabel="true redshift", ylabel="predicted", title=answer.name)
        edges = np.quantile(z, np.linspace(0, 1, 9))
        middle = 0.5 * (edges[1:] + edges[:-1])
        bins = [(z >= a) & (z <= b) for a, b in itertools.pairwise(edges)]
        axes[0, 1].plot(middle, [nmad(d[b]) for b in bins], "o-", label="NMAD")
        axes[0, 1].plot(middle, [np.mean(np.abs(d[b]) > OUTLIER) for b in bins], "s-", label="eta")
        axes[0, 1].set(xlabel="true redshift", yscale="log")
        if np.isfinite(answer.sigma).all():
            ebar = [np.mean(answer.sigma[b] / (1 + z[b])) for b in bins]
            axes[0, 1].plot(middle, ebar, "^-", label="Ebar")
            share = np.linspace(0.02, 0.98, 49)
            seen = [np.mean(np.abs(answer.pit - 0.5) <= s / 2) for s in share]
            axes[1, 0].plot(share, seen, "o-", ms=3)
            axes[1, 1].scatter(snr, answer.sigma / (1 + z), s=2)
        axes[0, 1].legend()
        axes[1, 0].plot([0, 1], [0, 1], "k--")
        axes[1, 0].set(xlabel="central interval", ylabel="share of truths inside")
        axes[1, 1].set(xlabel="SNR", ylabel="sigma / (1 + z)", xscale="log", yscale="log")
        figure.savefig(folder / f"{answer.name.replace(': ', '-').replace(' ', '-')}.png", dpi=80)
        plt.close(figure)


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="shipped names or .safetensors files")
    parser.add_argument("--survey", default="csst")
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--likelihood", type=int, default=0, help="first rows to fit, too")
    parser.add_argument("--least", type=int, default=5000, help="spectra in a bin of coverage")
    parser.add_argument("--emulated", type=Path)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Simulate, predict, write."""
    asked = arguments()
    test = simulate(asked.survey, asked.n, asked.seed)
    models = [(Path(m).stem, checkpoint.load_estimator(m)) for m in asked.models]
    answers = [answer for name, m in models for answer in ask(name, m, test, asked.n)]
    if asked.likelihood:
        models.append(("likelihood", checkpoint.load_estimator("likelihood")))
        answers += ask("likelihood", models[-1][1], test, min(asked.n, asked.likelihood))
    bound = bounds(test, min(asked.n, asked.likelihood or asked.n))
    seed = f"survey {asked.survey}, {asked.n} test spectra, seed {asked.seed}"
    parts = [f"# The slitless network\n\n{seed}, zspec {zspec.__version__}."]
    parts += [metrics_table(answers, test, least, bound) for least in (0.0, 1.0)]
    parts += [coverage_table(answers, test, asked.least), purity_table(answers, test)]
    if asked.emulated:
        parts.append(emulated_table(models, asked.emulated))
    parts.append(cost_table(models, test))
    asked.output.write_text("\n".join(parts) + "\n", encoding="utf-8")
    if asked.plots:
        asked.plots.mkdir(parents=True, exist_ok=True)
        draw_plots(asked.plots, answers, test)


if __name__ == "__main__":
    main()
