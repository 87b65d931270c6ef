"""What the network alone says of mock spectra of each survey and of real ones, and how it learned.

    OMP_NUM_THREADS=1 python benchmarks/proposal.py ../shared -o benchmarks/results/proposal.md
    python benchmarks/proposal.py --draw benchmarks/results/proposal_history.csv \
        -o docs/pictures/proposal_training.png

Mocks are as `zspec simulate` makes them, flat in class, redshift and magnitude, of sources that
neither training nor validation has seen. The network has seen no real spectrum. ``near``: the
highest bin of all classes is within three bins (1000 km/s) of the truth. ``windows``: bins, of all
classes, that hold all but a thousandth of the density; median and nine tenths of the spectra.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import SpectrumBatch, checkpoint, plugins, sources
from zspec.proposal.model import Proposal, ProposalModel
from zspec.proposal.validate import NEAR
from zspec.simulate.simulator import simulator
from zspec.simulate.supply import pieces
from zspec.survey import Spectra

SNR = ((0, 1), (1, 2), (2, 5), (5, np.inf))
NEVER = -99.0
"""Stands for the density beyond a class's range."""
LEFT = 1e-3
"""Share of the density that is left outside of the windows."""
PREFIX = "proposal."
"""Of the network's tensors in the joint estimator's checkpoint."""
SKIPPED = ("coadd-25", "stack")
"""DESI's file whose labels somebody saw by eye, for smoke tests only, and a mean of spectra."""
Rows = dict[str, NDArray[Any]]


def load(path: Path) -> ProposalModel:
    """The network of a checkpoint, its own or the joint estimator's."""
    tensors, meta = checkpoint.load(path)
    if "estimator" not in meta:
        return ProposalModel.restore(meta["proposal"], tensors)
    own = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    return ProposalModel.restore(meta["config"]["proposal"], own)


def judge(
    model: ProposalModel, found: Proposal, kind: NDArray[np.str_], z: NDArray[np.float64]
) -> Rows:
    """What is said of n spectra of true class and redshift; an empty class is no object."""
    n, size = len(kind), model.bins.count
    flat = found.log_q.reshape(n, -1)
    middle = 0.5 * (model.edges[1:] + model.edges[:-1])
    mode = middle[flat.argmax(1) % size]
    share = np.sort(np.exp(flat.astype(np.float64)), axis=1)[:, ::-1].cumsum(1) * model.bins.width
    whole = np.logaddexp.reduce(found.log_q.astype(np.float64), axis=2).argmax(1)
    names = np.array(model.classes)
    number = np.array([model.classes.index(k) if k in model.classes else 0 for k in kind])
    at = np.clip(((np.log1p(z) - model.edges[0]) / model.bins.width), 0, size - 1)
    return {
        "kind": kind,
        "right": names[whole] == kind,
        "near": np.abs(mode - np.log1p(z)) <= (NEAR + 0.5) * model.bins.width,
        "log_q": np.maximum(
            found.log_q[np.arange(n), number, np.nan_to_num(at).astype(int)], NEVER
        ),
        "bins": (share < 1 - LEFT).sum(1) + 1,
        "blank": found.blank,
        "distance": model.distance(found.features),
    }


def mocks(model: ProposalModel, survey: str, number: int, seed: int) -> Rows:
    """Mock spectra of a survey, with the SNR of each."""
    source = simulator(plugins.survey(survey), seed, flat=True, split="test")
    parts = []
    for observed in pieces(source, 256, number):
        spectra = source.survey.masked(observed.spectra)
        rows = one_by_one(model, spectra)
        parts.append({**rows, "snr": observed.truth["SNR"]})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def one_by_one(model: ProposalModel, spectra: Spectra) -> Rows:
    """Spectra with truth."""
    assert spectra.truth is not None
    found = model.propose(SpectrumBatch.from_spectra(spectra, model.grid))
    return judge(model, found, spectra.truth.spectype, spectra.truth.z)


def listed(manifest: Path, sky: bool) -> Iterator[tuple[dict[str, str], Spectra]]:
    """Lines of a manifest, of labelled spectra or of blank sky, with the spectrum of each."""
    wanted: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    with manifest.open(newline="", encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            good = line.get("label_ok", "1") == "1" and line["class"]
            if (line.get("is_sky") == "1" if sky else good) and not line["file"].startswith(
                SKIPPED
            ):
                wanted[line["file"]][int(line["row"])] = line
    for name, lines in wanted.items():
        for chunk in sources.read(sources.Source(manifest.parent / name))[1]:
            for i, row in enumerate(chunk.rows.tolist()):
                if row in lines:
                    yield lines[row], chunk[i : i + 1]


def real(model: ProposalModel, manifest: Path, sky: bool = False) -> Rows:
    """Labelled spectra of a manifest, or its blank sky."""
    parts = []
    for line, one in listed(manifest, sky):
        found = model.propose(SpectrumBatch.from_spectra(one, model.grid))
        kind = np.array(["" if sky else line["class"]])
        parts.append(judge(model, found, kind, np.array([float(line["z"] or "nan")])))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def speed(model: ProposalModel, batch: SpectrumBatch) -> float:
    """Milliseconds of CPU that a spectrum takes in batches of 64; the best of five."""
    taken = []
    for _ in range(5):
        start = time.process_time()
        model.propose(batch)
        taken.append((time.process_time() - start) / len(batch.ids))
    return 1e3 * min(taken)


HEADER = (
    "| data | class | SNR | spectra | class right | near | ln q at truth, median | lowest 5 % "
    "| windows | called blank | distance, median |\n|" + "---|" * 11
)


def line(name: str, kind: str, snr: str, rows: Rows, at: NDArray[np.bool_]) -> str:
    """One line of the table; empty where there are no such spectra."""
    if not at.any():
        return ""
    log_q = np.quantile(rows["log_q"][at].astype(float), [0.5, 0.05])
    bins = np.quantile(rows["bins"][at], [0.5, 0.9])
    object_ = bool(kind)
    cells = (
        [f"{rows[k][at].mean():.3f}" for k in ("right", "near")] if object_ else ["", ""],
        [f"{x:.1f}" for x in log_q] if object_ else ["", ""],
        [f"{bins[0]:.0f}, {bins[1]:.0f}", f"{(rows['blank'][at] > 0.5).mean():.3f}"],
        [f"{np.median(rows['distance'][at]):.1f}"],
    )
    text = " | ".join(cell for part in cells for cell in part)
    return f"| {name} | {kind or 'nothing'} | {snr} | {int(at.sum())} | {text} |"


def lines(name: str, rows: Rows) -> Iterator[str]:
    """The lines of some data: by class, and by SNR where it is known."""
    for kind in ("GALAXY", "QSO", "STAR", ""):
        own = rows["kind"] == kind
        yield line(name, kind, "all", rows, own)
        if "snr" not in rows or not kind:
            continue
        for low, high in SNR:
            snr = rows["snr"].astype(float)
            yield line(name, kind, f"{low}-{high:g}", rows, own & (snr >= low) & (snr < high))


def draw(history: Path, out: Path) -> None:
    """Loss, class and redshift against the step."""
    from matplotlib.figure import Figure

    with history.open(newline="", encoding="utf-8") as handle:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    step = [row["step"] for row in rows]
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, label in (("train", "training"), ("valid", "validation")):
        left.plot(step, [row[name] for row in rows], ".-", label=label)
    for name, label in (("right", "class right"), ("near", "redshift near")):
        middle.plot(step, [row[name] for row in rows], ".-", label=label)
    right.plot(step, [row["rate"] for row in rows], ".-", label="learning rate")
    for axis in (left, middle, right):
        axis.set_xlabel("step")
        axis.legend(fontsize=8)
    left.set_ylabel("cross-entropy, nats")
    figure.savefig(out, dpi=110)


def report(model: ProposalModel, shared: Path, surveys: Sequence[str], number: int) -> str:
    """All of it as markdown."""
    text = ["# The network alone", "", f"`{__doc__.splitlines()[2].strip()}`", "", HEADER]
    for survey in surveys:
        text += filter(None, lines(f"mocks of {survey}", mocks(model, survey, number, seed=71)))
    for name in ("sdss", "desi"):
        rows = real(model, shared / f"data/{name}/manifest.csv")
        text += filter(None, lines(f"real {name}", rows))
    sky = real(model, shared / "data/sdss/manifest.csv", sky=True)
    text += filter(None, lines("real sdss, sky fibres", sky))
    source = simulator(plugins.survey("sdss"), 72, flat=True, split="test")
    batch = next(iter(pieces(source, 256))).spectra
    taken = speed(model, SpectrumBatch.from_spectra(batch, model.grid))
    size = sum(p.numel() for p in model.network.parameters())
    text += ["", f"{size} weights; {taken:.1f} ms of CPU a spectrum, in batches of 64."]
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, or draw."""
    assert __doc__ is not None
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("shared", type=Path, nargs="?", help="the shared folder, with data/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--draw", type=Path, help="history to draw, and nothing else")
    parser.add_argument("--model", default="zspec", help="shipped name or checkpoint")
    parser.add_argument("--number", type=int, default=600, help="mocks of each survey")
    parser.add_argument("--surveys", nargs="*", default=["sdss", "desi", "4most", "csst"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.draw:
        return draw(asked.draw, asked.out)
    model = load(checkpoint.find(asked.model))
    asked.out.write_text(report(model, asked.shared, asked.surveys, asked.number))


if __name__ == "__main__":
    main()
