"""Speed of GaSNet-II: the whole pipeline against a plain loop, forms of one network, training.

    OMP_NUM_THREADS=1 python benchmarks/gasnet2.py -o benchmarks/results/gasnet2_speed.md

The pipeline: 61 networks of full size (1 classifier, 6 ensembles of 10; no point networks) on
simulated spectra. Weights are random, but for the classifier's last layer, which is fitted to the
labels, so that it is as sure of itself as a trained one and the share of ensembles that matter is
realistic. The plain loop runs the same networks as one writes them down, with Conv1d, BatchNorm1d
and MaxPool1d in eager mode, 256 spectra at once. Everything is timed in one run, in turns, in
seconds of CPU, so that a busy machine matters less, and the best turn counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from zspec.estimators.gasnet2 import GasNet2
from zspec.gasnet2 import forward
from zspec.gasnet2.forward import Precision, fold, place, run
from zspec.gasnet2.heads import heads
from zspec.gasnet2.labelled import take
from zspec.gasnet2.model import Config, Networks
from zspec.gasnet2.network import KERNEL, Block, NetworkSettings, ResNet
from zspec.gasnet2.parallel import Crew
from zspec.gasnet2.recipe import Recipe, TrainSettings, parse
from zspec.gasnet2.samples import Samples
from zspec.gasnet2.training import Set, Task, begin, in_bfloat16, losses
from zspec.simulate import stream
from zspec.training import find_recipe

MEMBERS = 10
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
PLAIN_BATCH = 256
"""Spectra that the plain loop takes at once."""


class Plain(nn.Module):
    """The network as the paper draws it: what the plain loop runs."""

    def __init__(self, network: ResNet) -> None:
        """With the weights of ``network``, in eval mode."""
        super().__init__()
        pairs = [_plain(block) for block in network.blocks]
        self.main = nn.ModuleList([main for main, _ in pairs])
        self.shortcut = nn.ModuleList([shortcut for _, shortcut in pairs])
        self.dense, self.out = network.dense, network.out
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, wave) to (n, outputs)."""
        x = x[:, None]
        for main, shortcut in zip(self.main, self.shortcut, strict=True):
            x = main(x) + shortcut(x)
        found: torch.Tensor = self.out(functional.relu(self.dense(x.flatten(1))))
        return found


def _plain(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The two branches of a block."""
    assert isinstance(block, Block)
    layers = (block.first, block.first_norm, block.second, block.second_norm)
    first, first_norm, second, second_norm = map(_one_dimensional, layers)
    pool = nn.MaxPool1d(KERNEL, stride=1, padding=KERNEL // 2)
    main = nn.Sequential(first, first_norm, nn.ReLU(), second, second_norm, nn.ReLU(), pool)
    return main, _one_dimensional(block.shortcut)


def _one_dimensional(layer: nn.Module) -> nn.Module:
    """The 1-D twin of a convolution of height 1, or of a batch norm."""
    made: nn.Module
    if isinstance(layer, nn.Conv2d):
        sizes = (layer.in_channels, layer.out_channels, KERNEL)
        made = nn.Conv1d(*sizes, stride=layer.stride[1], padding=int(layer.padding[1]))
        stored = {k: v[:, :, 0] if k == "weight" else v for k, v in layer.state_dict().items()}
    else:
        assert isinstance(layer, nn.BatchNorm2d)
        made, stored = nn.BatchNorm1d(layer.num_features, eps=layer.eps), layer.state_dict()
    made.load_state_dict(stored)
    return made


def fitted(network: ResNet, samples: Samples) -> ResNet:
    """The network with a last layer that tells the labels of ``samples``: ridge regression."""
    kept: list[torch.Tensor] = []
    handle = network.out.register_forward_hook(lambda _, given, __: kept.append(given[0]))
    with torch.no_grad():
        for part in torch.split(samples.flux, 64):
            network(part)
    handle.remove()
    features = torch.cat(kept).double()
    target = functional.one_hot(samples.label, network.out.out_features).double()
    gram = features.T @ features
    ridge = 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + ridge, features.T @ target)
    with torch.no_grad():
        network.out.weight.copy_(20 * weight.T.float())  # a logit of 20 is a sure class
    return network


def networks(recipe: Recipe, samples: Samples) -> tuple[ResNet, dict[int, list[ResNet]]]:
    """Classifier and ensembles, full size, with statistics of batch norm of real inputs."""

    def one(outputs: int, seed: int) -> ResNet:
        network = ResNet(outputs, NetworkSettings(), seed)
        with torch.no_grad():
            network(samples.flux[:32])
        return network.eval()

    classifier = fitted(one(len(recipe.classes), 0), samples)
    numbers = [i for i, entry in enumerate(recipe.classes) if entry.redshift]
    return classifier, {i: [one(1, 100 * i + k) for k in range(MEMBERS)] for i in numbers}


def models(
    recipe: Recipe, classifier: ResNet, ensembles: dict[int, list[ResNet]]
) -> dict[str, tuple[GasNet2, float]]:
    """The estimators of these networks, and the threshold that each run takes."""
    folded = {i: tuple(fold(net) for net in nets) for i, nets in ensembles.items()}
    every = Networks((fold(classifier),), folded, {})
    found = {}
    for precision in PRECISIONS:
        config = Config(heads(recipe), "unit", 1.0, {}, precision=precision)
        made = GasNet2(recipe.specs, every, config)
        found[f"{precision}, all ensembles"] = (made, 0.0)
        found[f"{precision}, those that matter"] = (made, recipe.predict.threshold)
    return found


def plain(classifier: nn.Module, ensembles: list[list[Plain]], flux: torch.Tensor) -> None:
    """Every network after the other."""
    with torch.no_grad():
        for part in torch.split(flux, PLAIN_BATCH):
            classifier(part).softmax(1)
            for nets in ensembles:
                z = torch.stack([net(part)[:, 0] for net in nets])
                z.mean(0), z.std(0, correction=0)


def pipeline(estimator: GasNet2, threshold: float, flux: torch.Tensor, chunk: int) -> float:
    """What ``predict`` does with a tensor, chunk by chunk; networks run per spectrum."""
    ran = 0
    with torch.inference_mode():
        for x in torch.split(flux, chunk):
            prob = estimator.probabilities(x)
            best = prob.argmax(1)
            for number in estimator.placed.members:
                mine = (prob[:, number] >= threshold) | (best == number)
                if mine.any():
                    estimator.redshifts(number, x[mine])
                    ran += int(mine.sum()) * MEMBERS
    return 1 + ran / len(flux)


def timed(runs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Least CPU seconds of each, all threads together, taken in turns."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for name, action in runs.items():
            start = time.process_time()
            action()
            best[name] = min(best[name], time.process_time() - start)
    return best


def whole(recipe: Recipe, samples: Samples, turns: int, chunk: int) -> list[str]:
    """The pipeline against the plain loop."""
    classifier, ensembles = networks(recipe, samples)
    flux = samples.flux
    kinds = models(recipe, classifier, ensembles)
    written = [[Plain(net) for net in nets] for nets in [[classifier], *ensembles.values()]]
    torch.testing.assert_close(  # the same networks
        written[1][0](flux[:2]), next(iter(ensembles.values()))[0](flux[:2]), rtol=1e-3, atol=1e-4
    )
    runs: dict[str, Callable[[], object]] = {
        "plain loop": lambda: plain(written[0][0], written[1:], flux)
    }
    ran = {"plain loop": 1.0 + MEMBERS * len(ensembles)}

    def count(name: str) -> None:
        ran[name] = pipeline(*kinds[name], flux, chunk)

    runs |= {name: partial(count, name) for name in kinds}
    found = timed(runs, turns)
    lines = ["| pipeline | networks a spectrum | spectra per CPU second | times the plain loop |"]
    lines.append("|---|---|---|---|")
    for name, seconds in found.items():
        faster = found["plain loop"] / seconds
        lines.append(f"| {name} | {ran[name]:.1f} | {len(flux) / seconds:.1f} | {faster:.1f} |")
    return lines


def forms(samples: Samples, turns: int) -> list[str]:
    """One network of full size in several forms and batches."""
    network = ResNet(1, NetworkSettings(), 1).eval()
    folded = fold(network)
    lines = ["| batch | Conv1d | as trained | folded | folded, bfloat16 |"]
    lines.append("|---|---|---|---|---|")
    flux = samples.flux[:256]
    for size in (8, 16, 32, 64, 256):
        parts = torch.split(flux, size)
        runs: dict[str, Callable[[], object]] = {
            name: lambda parts=parts, net=net: [net(x) for x in parts]  # type: ignore[misc]
            for name, net in (("plain", Plain(network)), ("trained", network))
        }
        for precision in PRECISIONS:
            placed = place(folded, "cpu", precision)
            runs[precision] = lambda parts=parts, placed=placed: [  # type: ignore[misc]
                run(placed, x) for x in parts
            ]
        with torch.inference_mode():
            found = timed(runs, turns)
        rates = " | ".join(f"{len(flux) / seconds:.0f}" for seconds in found.values())
        lines.append(f"| {size} | {rates} |")
    return lines


def training(samples: Samples, turns: int) -> list[str]:
    """Steps of training, full and quarter width."""
    lines = ["| width | batch | spectra/s |", "|---|---|---|"]
    known = Set(samples.flux, samples.label)
    for width in (1.0, 0.25):
        for size in (64, 128):
            settings = TrainSettings(batch=size, device="cpu")
            task = Task("class", "class", 13, (1,), 1, known, known)
            progress = begin(task, NetworkSettings(width=width), settings, Crew())
            network, adam = progress.networks[0].train(), progress.optimisers[0]
            rows = torch.arange(size) % len(samples)
            x, y = samples.flux[rows], samples.label[rows]

            def step() -> None:
                adam.zero_grad()  # noqa: B023 - called before the next turn of the loop
                losses(task, network(x), y, settings)[0].backward()  # type: ignore[no-untyped-call]  # noqa: B023
                adam.step()  # noqa: B023

            assert not in_bfloat16(settings, x.device)
            seconds = timed({"step": step}, 1 + turns)["step"]
            lines.append(f"| {width} | {size} | {size / seconds:.0f} |")
    return lines


def main() -> None:
    """Measure, print, and write a page where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", type=int, default=20, help="spectra of each of 13 classes")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=64, help="spectra of a chunk of predict")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = parse(find_recipe("gasnet2-sdss"))
    samples = take(stream("sdss", 1, 256), recipe, given.n)
    lines = ["# GaSNet-II: speed", ""]
    lines.append(
        f"Per second of CPU; {given.threads} thread(s), {len(samples)} simulated spectra, "
        f"chunks of {given.chunk}, batches of {forward.BATCH['cpu', 'float32']} (float32) and "
        f"{forward.BATCH['cpu', 'bfloat16']} (bfloat16), torch {torch.__version__}. Made by "
        f"`python benchmarks/gasnet2.py -n {given.n} --threads {given.threads}`."
    )
    parts: dict[str, Callable[[], list[str]]] = {
        "The pipeline of 61 networks": lambda: whole(recipe, samples, given.turns, given.chunk),
        "One network of full size, spectra per CPU second": lambda: forms(samples, given.turns),
        "Training, float32, spectra per CPU second": lambda: training(samples, given.turns),
    }
    print("\n".join(lines))
    for title, part in parts.items():
        made = ["", f"## {title}", "", *part()]
        print("\n".join(made), flush=True)
        lines += made
    if given.output:
        given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
