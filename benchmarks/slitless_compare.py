"""Clean against noisy augmentation, heads on the same features, one network against several.

    python benchmarks/slitless_compare.py slitless-bnn-small --parts noise heads \
        --train 6000 --valid 2000 --epochs 1 -n 3000 -o benchmarks/results/slitless_compare.md

``noise``: networks by the recipe but ``--epochs`` epochs of ``--train`` spectra, with fresh noise
on noise-free spectra, and with P2's noise on noise. ``heads``: MC-dropout and a plain Gaussian on
the frozen features of the first of these (whose head is the recipe's), or of ``--features``.
``ensemble``: several networks from different starts with plain heads. All are trained on the same
simulated sources and asked of the same ``-n`` spectra of others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from slitless_bnn import metrics_table
from slitless_mocks import Answer, TestSet, ask, bounds, simulate

import zspec
from zspec import plugins
from zspec.estimators.slitless_bnn import SlitlessBNN
from zspec.slitless import training
from zspec.slitless.heads import Kind
from zspec.slitless.recipe import Recipe, parse
from zspec.slitless.samples import Samples, load
from zspec.training import find_recipe

HEADS: tuple[Kind, ...] = ("mnf", "dropout", "gaussian")
MEMBERS = 3
PARTS = ("noise", "heads", "ensemble")


class Bench:
    """What all trainings share."""

    def __init__(self, asked: argparse.Namespace) -> None:
        """Simulate what they learn from and are asked of."""
        said = parse(find_recipe(asked.recipe))
        self.features = SlitlessBNN.load(asked.features).model if asked.features else None
        self.grid = plugins.survey(said.data.survey).grid
        data = replace(said.data, train=asked.train, valid=asked.valid)
        self.recipe = replace(said, data=data, point=replace(said.point, epochs=asked.epochs))
        spectype = said.label.spectype
        self.train, self.valid = load(data, Path(), self.grid, said.seed + 1, spectype)
        self.test = simulate(data.survey, asked.n, asked.seed)
        self.costs: list[str] = []

    def fit(self, name: str, recipe: Recipe, train: Samples, frozen: bool = False) -> list[Answer]:
        """Train, and say what the result says of the test set."""
        started = time.process_time()
        start = self.features if frozen else None
        made = training.fit(recipe, self.grid, train, self.valid, "cpu", start=start)
        self.features = self.features or made.model
        self.costs.append(f"| {name} | {time.process_time() - started:.0f} |")
        print(self.costs[-1], flush=True)
        return ask(name, SlitlessBNN(recipe, self.grid, made), self.test, len(self.test.z))


def heads(bench: Bench) -> Iterator[Answer]:
    """Other heads on the same features."""
    if bench.features is None:
        raise SystemExit("--parts heads needs --features, or noise before it")
    for kind in HEADS:
        if kind != bench.recipe.head.kind:
            recipe = replace(bench.recipe, head=replace(bench.recipe.head, kind=kind))
            yield from bench.fit(f"head {kind}", recipe, bench.train, frozen=True)


def noise(bench: Bench) -> Iterator[Answer]:
    """Fresh noise on noise-free spectra, and noise on noise."""
    for name, light in (("clean", bench.train.clean), ("noisy", bench.train.flux)):
        yield from bench.fit(f"noise {name}", bench.recipe, replace(bench.train, clean=light))


def ensemble(bench: Bench) -> Iterator[Answer]:
    """Several networks from different starts."""
    network = replace(bench.recipe.network, members=MEMBERS)
    head = replace(bench.recipe.head, kind="gaussian")
    several = replace(bench.recipe, network=network, head=head)
    yield from bench.fit(f"ensemble of {MEMBERS}", several, bench.train)


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a shipped name or a TOML file")
    parser.add_argument("--features", type=Path, help="checkpoint whose networks heads stand on")
    parser.add_argument("--parts", nargs="+", choices=PARTS, required=True)
    parser.add_argument("--train", type=int, default=12_000)
    parser.add_argument("--valid", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("-n", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def written(asked: argparse.Namespace, test: TestSet, answers: list[Answer]) -> list[str]:
    """Both tables."""
    limit, title = bounds(test, asked.n), f"{asked.n} test spectra"
    return [metrics_table(answers, test, least, limit, title) for least in (0.0, 1.0)]


def main() -> None:
    """Train, ask, write."""
    asked = arguments()
    torch.set_num_threads(1)
    bench = Bench(asked)
    kinds = {"heads": heads, "noise": noise, "ensemble": ensemble}
    answers = [answer for part in asked.parts for answer in kinds[part](bench)]
    about = (
        f"{asked.train} spectra to train on, {asked.valid} to calibrate on, {asked.epochs} epochs "
        f"of a network from scratch, seeds {bench.recipe.seed} and {asked.seed}; "
        f"zspec {zspec.__version__}."
    )
    parts = [f"# Slitless networks compared\n\n{about}"]
    parts += written(asked, bench.test, answers)
    parts += ["\n## Training, seconds of CPU\n\n| | s |\n|---|---|", *bench.costs]
    asked.output.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
