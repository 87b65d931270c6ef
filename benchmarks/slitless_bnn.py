"""The slitless network against the paper's figures, other estimators and the Cramér-Rao bound.

    python benchmarks/slitless_bnn.py slitless-bnn -n 20000 --against likelihood zspec --rows 1000 \
        --emulated DATA/csst/cess-mock-11.fits --plots plots -o slitless_bnn.md

Simulates a test set (sources that no training saw, the survey's own redshifts), predicts it with
each model, and writes tables: metrics of all and of SNR >= 1, coverage in bins of SNR with
``--each`` spectra in each (of another seed; sources are none of those calibrated on), purity by
ZCONF, emulated spectra of others, and what 200 passes cost. Estimators after ``--against`` see the
first ``--rows`` spectra. ``--plots`` is a folder for pictures.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from slitless_mocks import Answer, Bools, Floats, TestSet, ask, bounds, simulate, strata
from slitless_plots import draw_emulated, draw_model, draw_purity

import zspec
from zspec import Chunk, Estimator, checkpoint
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.slitless.heads import Weights
from zspec.slitless.inputs import scale

Models = Sequence[tuple[str, Estimator]]

PAPER = (
    ("paper: CNN", "0.00047", "0.954", "-"),
    ("paper: BNN", "0.00063", "0.92", "0.00228"),
)
"""Zhou et al. (CSST slitless), section 4: NMAD, eta in per cent, Ebar; other mocks."""
OUTLIER = 0.02
CLOSE, FAR = 0.002, 0.01
KEPT = (1.0, 0.8, 0.6, 0.42, 0.2)
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, np.inf)


def nmad(d: Floats) -> float:
    """1.48 times the median absolute deviation."""
    return float(1.48 * np.median(np.abs(d - np.median(d))))


def metrics_table(
    answers: Sequence[Answer], test: TestSet, least: float, bound: Floats, title: str
) -> str:
    """NMAD, eta, Ebar and coverage of spectra above an SNR; the bound as errors drawn from it."""
    lines = [
        f"\n## {title}, SNR >= {least:g}\n" if least else f"\n## {title}\n",
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


def _metrics_row(answer: Answer, true: Floats, use: Bools) -> str:
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


def calibration_error(said: Floats, happened: Bools, bins: int = 10) -> float:
    """Expected calibration error of a probability, in bins of equal numbers."""
    order = np.argsort(said)
    parts = np.array_split(order, bins)
    gaps = [abs(said[p].mean() - happened[p].mean()) * len(p) for p in parts if len(p)]
    return float(np.sum(gaps) / len(said))


def coverage_table(answers: Sequence[Answer], test: TestSet) -> str:
    """Coverage of the mapped central intervals in bins of the survey's SNR."""
    lines = [
        "\n## Coverage by SNR, in per cent\n",
        "| | SNR | n | 68 % | 95 % |\n|---|---|---|---|---|",
    ]
    for answer in answers:
        if not np.isfinite(answer.pit).any():
            continue
        for low, high in itertools.pairwise(EDGES):
            use = (test.snr >= low) & (test.snr < high) & np.isfinite(answer.pit)
            shares = " | ".join(f"{v:.1f}" for v in covered(answer.pit[use]))
            lines.append(f"| {answer.name} | {low:g}-{high:g} | {use.sum()} | {shares} |")
    return "\n".join(lines)


def purity_table(answers: Sequence[Answer], test: TestSet) -> str:
    """Of the best by ZCONF with SNR >= 1: how many are close, and how many far off."""
    head = f"| | kept % | ZCONF above | within {CLOSE} % | beyond {FAR} % |\n|---|---|---|---|---|"
    n = len(answers[0].z)
    lines = [f"\n## Purity and completeness by ZCONF, {n} spectra, those of SNR >= 1\n", head]
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


def emulated(models: Models, path: Path) -> tuple[str, list[Answer], Floats]:
    """Spectra of another group's emulator, predicted without training on them, and their truth."""
    lines = [
        "\n## Emulated spectra of others\n",
        "| | SNR | z true | z | sigma | pull | ZCONF | ZWARN |\n|---|---|---|---|---|---|---|---|",
    ]
    (spectra,) = zspec.read(path)
    assert spectra.truth is not None
    assert spectra.snr is not None
    true, answers = np.asarray(spectra.truth.z), []
    for name, model in models:
        said = model.predict(Chunk(spectra, model.grid))
        at = (np.arange(len(true)), said.best)
        z, sigma = said.z[at], said.sigma[at]
        zconf = np.full(len(z), math.nan) if said.zconf is None else said.zconf.astype(float)
        bits = np.zeros(len(z), int) if said.zwarn is None else said.zwarn
        answers.append(Answer(name, z, sigma, zconf, np.full(len(z), math.nan)))
        for i, snr in enumerate(spectra.snr):
            pull = (z[i] - true[i]) / sigma[i]
            numbers = f"{true[i]:.4f} | {z[i]:.4f} | {sigma[i]:.4f} | {pull:+.1f}"
            flags = "+".join(zspec.flags.names(int(bits[i]))) or "0"
            lines.append(f"| {name} | {snr:.1f} | {numbers} | {zconf[i]:.2f} | {flags} |")
    return "\n".join(lines), answers, true


def cost_table(models: Models, test: TestSet, n: int = 1000) -> str:
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


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="shipped names or .safetensors files")
    parser.add_argument("--survey", default="csst")
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--against", nargs="*", default=[], help="other estimators, by name")
    parser.add_argument("--rows", type=int, default=1000, help="first spectra, which they see")
    parser.add_argument("--each", type=int, default=5000, help="spectra in a bin of coverage")
    parser.add_argument("--emulated", type=Path)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def compared(asked: argparse.Namespace, answers: Sequence[Answer], test: TestSet) -> list[str]:
    """The models and other estimators on the same first spectra."""
    n = min(asked.rows, asked.n)
    others = [(name, checkpoint.load_estimator(name)) for name in asked.against]
    same = [a.first(n) for a in answers]
    same += [answer for name, m in others for answer in ask(name, m, test, n)]
    limit, title = bounds(test, n), f"The same {n} spectra"
    tables = [metrics_table(same, test, least, limit, title) for least in (0.0, 1.0)]
    return [*tables, purity_table(same, test)]


def main() -> None:
    """Simulate, predict, write."""
    asked = arguments()
    test = simulate(asked.survey, asked.n, asked.seed)
    models = [(Path(m).stem, checkpoint.load_estimator(m)) for m in asked.models]
    answers = [answer for name, m in models for answer in ask(name, m, test, asked.n)]
    seed = f"survey {asked.survey}, {asked.n} test spectra, seed {asked.seed}"
    parts = [f"# The slitless network\n\n{seed}, zspec {zspec.__version__}."]
    if models:
        bound, title = bounds(test, asked.n), f"All {asked.n} spectra"
        parts += [metrics_table(answers, test, least, bound, title) for least in (0.0, 1.0)]
        parts.append(purity_table(answers, test))
    parts += compared(asked, answers, test)
    if asked.each and models:
        more = strata(asked.survey, asked.seed + 1, EDGES, asked.each)
        said = [a for name, m in models for a in ask(name, m, more, len(more.z))]
        parts.append(coverage_table(said, more))
    if asked.emulated:
        table, seen, true = emulated(models, asked.emulated)
        parts.append(table)
    if models:
        parts.append(cost_table(models, test))
    asked.output.write_text("\n".join(parts) + "\n", encoding="utf-8")
    if asked.plots:
        asked.plots.mkdir(parents=True, exist_ok=True)
        for answer in answers:
            draw_model(asked.plots, answer, test)
        draw_purity(asked.plots, answers, test)
        if asked.emulated:
            draw_emulated(asked.plots, seen, true)


if __name__ == "__main__":
    main()
