"""The joint estimator beside its parts and redrock, on spectra that none of them has seen.

    OMP_NUM_THREADS=1 python benchmarks/joint.py ../shared --work zspec.training \
        -n 500 -o benchmarks/results/joint.md

Real SDSS spectra by cross-validation over objects: bases without the fold's objects (``--work``
keeps them in its ``folds``, and reads them where it finds them), weights, thresholds and ZCONF
without its predictions, sky fibres by limits that were learned without their plate. The network has
seen mocks alone, whose sources hold no spectrum of that sample. Mocks are those of ``zspec
simulate``, of the sources for tests. ``network`` is the mode of the network's density; its "ZWARN
0" is a probability above 0.95 within three bins. redrock's answers are those of
`results/redrock_sdss.csv`. CPU is that of one process with one thread, chunks of 64 rows for mocks,
one row at a time for real spectra, reading not included.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ladder
import numpy as np
import paired
import redrock_sdss
import torch
from numpy.typing import NDArray

from zspec import Chunk, Estimator, checkpoint, plugins
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood
from zspec.flags import names
from zspec.joint import recipe, train
from zspec.joint.calibrating import learned
from zspec.joint.cases import JointCase
from zspec.joint.judging import SURE
from zspec.joint.proposed import Proposer, ask
from zspec.likelihood import labelled
from zspec.likelihood.basis import LIGHT
from zspec.likelihood.validate import fold_of
from zspec.simulate.artefacts import Artefact
from zspec.simulate.simulator import BLOCK, simulator
from zspec.survey import Spectra
from zspec.training import find_recipe

SURVEYS = ("sdss", "desi", "4most", "csst")
CLASSES = ("GALAXY", "QSO", "STAR")
SNR = (0.0, 1.0, 2.0, 5.0, np.inf)
FEWEST = 20
"""Rows below which there is no figure."""
FAST: frozenset[str] = frozenset({"fast"})
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What is known of n spectra."""

    kind: NDArray[np.str_]
    """Empty: blank sky."""
    z: Floats
    snr: Floats
    name: NDArray[np.str_]
    """File and row, to list failures."""


@dataclass(frozen=True)
class Said:
    """What one method says of them."""

    kind: NDArray[np.str_]
    z: Floats
    sigma: Floats
    zwarn: NDArray[np.int64]
    seconds: float
    """CPU per spectrum; NaN where it was not measured here."""

    def __getitem__(self, rows: Bools) -> Said:
        """Of some rows."""
        parts = (self.kind[rows], self.z[rows], self.sigma[rows], self.zwarn[rows])
        return Said(*parts, self.seconds)


def by(estimator: Estimator, spectra: Spectra, want: frozenset[str] = frozenset()) -> Said:
    """What an estimator says."""
    start = time.process_time()
    found = estimator.predict(Chunk(spectra, estimator.grid), want)  # type: ignore[arg-type]
    seconds = (time.process_time() - start) / len(spectra)
    row = np.arange(len(spectra))
    assert found.zwarn is not None
    kinds = np.array([c.spectype for c in found.classes])[found.best]
    return Said(kinds, found.z[row, found.best], found.sigma[row, found.best], found.zwarn, seconds)


def by_network(model: Proposer, spectra: Spectra) -> Said:
    """What the network alone says: the mode of its density, between bins by a parabola."""
    start = time.process_time()
    said = ask(model, Chunk(spectra, model.grid).batch)
    peak = said.peaks(1)
    row, kind, at = torch.arange(len(said)), peak.kind[:, 0], peak.bin[:, 0]
    last = said.log_q.shape[2] - 1
    low, mid, high = (said.log_q[row, kind, (at + k).clamp(0, last)] for k in (-1, 0, 1))
    off = ((low - high) / (2 * (low - 2 * mid + high))).nan_to_num(0.0, 0.0, 0.0).clamp(-0.5, 0.5)
    u = said.edges[at] + (0.5 + off) * said.width
    seconds = (time.process_time() - start) / len(spectra)
    zwarn = np.where(peak.mass[:, 0].numpy() > SURE, 0, 1)
    sigma = np.full(len(said), said.width / 12**0.5) * np.exp(u.numpy())
    names_ = np.array(said.kinds)[kind.numpy()]
    return Said(names_, np.expm1(u.numpy()), sigma, zwarn, seconds)


def joined(parts: Sequence[Said]) -> Said:
    """Of several sets of spectra, one after the other."""
    size = np.array([len(part.z) for part in parts])
    seconds = float(np.sum([p.seconds for p in parts] * size) / size.sum())
    return Said(
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.sigma for part in parts]),
        np.concatenate([part.zwarn for part in parts]),
        seconds,
    )


Method = Callable[[Spectra], Said]


def methods(joint: Joint, likelihood: Likelihood) -> dict[str, Method]:
    """All that can be asked."""
    return {
        "zspec": lambda spectra: by(joint, spectra),
        "zspec --fast": lambda spectra: by(joint, spectra, FAST),
        "likelihood": lambda spectra: by(likelihood, spectra),
        "network": lambda spectra: by_network(joint.proposal, spectra),
    }


def mocks(survey: str, number: int, seed: int, joint: Joint, likelihood: Likelihood) -> Answers:
    """Truth and answers on mocks."""
    source = simulator(plugins.survey(survey), seed, split="test")
    truths: list[Truth] = []
    parts: dict[str, list[Said]] = {}
    for block in range(-(-number // BLOCK)):
        observed = source.block(block)
        spectra = source.survey.masked(observed.spectra)
        blank = (observed.truth["ARTEFACT"] & int(Artefact.BLANK)) != 0
        kinds = np.where(blank, "", observed.truth["SPECTYPE"].astype(str))
        label = np.array([f"{survey} {block}:{i}" for i in range(len(spectra))])
        truths.append(Truth(kinds, observed.truth["Z"], observed.truth["SNR"], label))
        for name, method in methods(joint, likelihood).items():
            parts.setdefault(name, []).append(method(spectra))
    fields = ("kind", "z", "snr", "name")
    truth = Truth(*(np.concatenate([getattr(t, f) for t in truths]) for f in fields))
    return Answers(truth, {name: joined(each) for name, each in parts.items()})


@dataclass(frozen=True)
class Answers:
    """What all methods say of the same spectra."""

    truth: Truth
    said: Mapping[str, Said]

    def some(self, rows: Bools) -> Answers:
        """Of some spectra."""
        t = self.truth
        truth = Truth(t.kind[rows], t.z[rows], t.snr[rows], t.name[rows])
        return Answers(truth, {name: one[rows] for name, one in self.said.items()})


def real(shared: Path, work: Path, joint: Joint) -> Answers:
    """Truth and answers on real spectra."""
    asked = recipe.parse(joint.meta["recipe"])
    likelihood = train.part(asked.likelihood.model, shared)
    lines = list(labelled.spectra(find_recipe(asked.likelihood.recipe), shared))
    fitters = train.folds(asked, shared, work / "folds", lines, likelihood.calibration)
    every, sky = train.validation(asked, likelihood, lines, fitters, joint.proposal)
    return judged(lines, fitters, joint.proposal, every, sky)


def judged(
    lines: Sequence[labelled.Line],
    fitters: Sequence[Likelihood],
    model: Proposer,
    every: Sequence[JointCase],
    sky: Sequence[JointCase],
) -> Answers:
    """Answers on real spectra, each by bases and a calibration that did not see it."""
    plates = [line["plate"] for line, _ in lines if line["is_sky"] == "1"]
    groups = ladder.plate_groups(plates)
    group = dict(zip(plates, groups, strict=True))
    joints = []
    for fold, fitter in enumerate(fitters):
        kept = [c for c in every if c.group != "real" or fold_of(c.known.key) != fold]
        others = [c for c, other in zip(sky, groups, strict=True) if other != fold]
        joints.append(Joint(fitter, model, learned(kept, others, fitter.calibration)))
    used = [row for row in lines if "1" in (row[0]["label_ok"], row[0]["is_sky"])]
    parts: dict[str, list[Said]] = {}
    for line, one in used:
        blank = line["is_sky"] == "1"
        fold = group[line["plate"]] if blank else fold_of(line["object"])
        for name, method in methods(joints[fold], fitters[fold]).items():
            parts.setdefault(name, []).append(method(one))
    said = {name: joined(each) for name, each in parts.items()}
    said["redrock 0.21"] = redrock([line for line, _ in used])
    return Answers(labels([line for line, _ in used]), said)


def labels(lines: Sequence[Mapping[str, str]]) -> Truth:
    """The labels of the manifest; those of sky fibres mean nothing."""
    return Truth(
        np.array(["" if line["is_sky"] == "1" else line["class"] for line in lines]),
        np.array([float(line["z"] or "nan") for line in lines]),
        np.array([float(line["sn_median"] or "nan") for line in lines]),
        np.array([f"{Path(line['file']).name} {line['row']}" for line in lines]),
    )


def redrock(lines: Sequence[Mapping[str, str]]) -> Said:
    """Redrock's answers of the same rows."""
    table = redrock_sdss.read(Path(__file__).parent / "results" / "redrock_sdss.csv")
    rows = [table[line["file"], line["row"]] for line in lines]
    return Said(
        np.array([row["spectype"] for row in rows]),
        np.array([float(row["z"]) for row in rows]),
        np.array([float(row["zerr"]) for row in rows]),
        np.array([int(row["zwarn"]) for row in rows]),
        float("nan"),
    )


def off(truth: Truth, said: Said) -> Floats:
    """(n,) (z - z_true) / (1 + z_true)."""
    return np.asarray((said.z - truth.z) / (1 + truth.z))


def right(truth: Truth, said: Said) -> Bools:
    """(n,) whether the redshift is within the velocity that the true class allows."""
    limit = np.array([ladder.RIGHT.get(kind, 0) for kind in truth.kind])
    return np.asarray(np.abs(np.log1p(off(truth, said))) * LIGHT < limit)


def figures(truth: Truth, said: Said) -> list[str]:
    """Cells of one method on rows with an object."""
    n = len(truth.z)
    if n < FEWEST:
        return [str(n), *[""] * 10]
    shift = np.abs(np.log1p(off(truth, said)))
    hit, sure = right(truth, said), said.zwarn == 0
    good = []
    for kind in CLASSES:
        mine = truth.kind == kind
        few = mine.sum() < FEWEST
        good.append("" if few else f"{(shift[mine] < paired.GF[kind]).mean():.3f}")
    d = off(truth, said)
    pull = ((said.z - truth.z) / said.sigma)[hit]
    return [
        str(n),
        f"{(said.kind == truth.kind).mean():.3f}",
        *good,
        f"{LIGHT * 1.48 * np.median(np.abs(d - np.median(d))):.0f}",
        f"{1 - hit.mean():.3f}",
        f"{1.48 * np.median(np.abs(pull - np.median(pull))):.2f}",
        f"{sure.mean():.3f}",
        f"{hit[sure].mean():.4f}" if sure.sum() >= FEWEST else "",
        "" if np.isnan(said.seconds) else f"{1000 * said.seconds:.0f}",
    ]


HEAD = (
    "| method | n | class | GF GALAXY | GF QSO | GF STAR | NMAD km/s | catastrophic | pull "
    "| ZWARN 0 | right of these | ms CPU |"
)


def table(answers: Answers) -> list[str]:
    """Markdown of all methods on the rows with an object."""
    there = answers.some(answers.truth.kind != "")
    rows = [f"| {' | '.join([k, *figures(there.truth, s)])} |" for k, s in there.said.items()]
    return [HEAD, "|" + "---|" * 12, *rows, ""]


def blanks(answers: Answers, what: str) -> list[str]:
    """How many fibres without an object pass."""
    sky = answers.some(answers.truth.kind == "")
    if not len(sky.truth.z):
        return []
    said = ", ".join(f"{name} {(one.zwarn == 0).sum()}" for name, one in sky.said.items())
    return [f"{what} with ZWARN 0, of {len(sky.truth.z)}: {said}.", ""]


def by_snr(answers: Answers) -> Iterator[str]:
    """Right and ZWARN 0 of each method in bins of SNR."""
    there = answers.some(answers.truth.kind != "")
    known = list(there.said)
    yield f"| class, SNR | n | {' | '.join(f'{k}: right' for k in known)} |"
    yield "|" + "---|" * (len(known) + 2)
    for kind, (low, high) in itertools.product(CLASSES, itertools.pairwise(SNR)):
        t = there.truth
        one = there.some((t.kind == kind) & (t.snr >= low) & (t.snr < high))
        n = len(one.truth.z)
        if n >= FEWEST:
            cells = [
                f"{(right(one.truth, s) & (s.kind == kind)).mean():.3f}" for s in one.said.values()
            ]
            name = f"{kind} {low:g}–{high:g}" if np.isfinite(high) else f"{kind} > {low:g}"
            yield f"| {name} | {n} | {' | '.join(cells)} |"
    yield ""


def failures(answers: Answers) -> list[str]:
    """Real rows where zspec or the likelihood fails in class or redshift, side by side."""
    t, said = answers.truth, answers.said
    wrong = np.zeros(len(t.z), bool)
    for name in ("zspec", "likelihood"):
        wrong |= ~right(t, said[name]) | (said[name].kind != t.kind)
    rows = []
    for i in np.flatnonzero(wrong & (t.kind != "")):
        cells = [t.name[i], t.kind[i], f"{t.z[i]:.4f}", f"{t.snr[i]:.1f}"]
        for one in said.values():
            flag = " ".join(names(int(one.zwarn[i]))) if one.zwarn[i] > 1 else ""
            cells.append(f"{one.kind[i]} {one.z[i]:.4f} {flag}".strip())
        rows.append(f"| {' | '.join(cells)} |")
    head = f"| file, row | label | z | SNR | {' | '.join(said)} |"
    return [head, "|" + "---|" * (len(said) + 4), *rows, ""]


def bits(answers: Answers) -> str:
    """How often MODELS_DISAGREE and OUT_OF_DISTRIBUTION are set on rows with an object."""
    zwarn = answers.said["zspec"].zwarn[answers.truth.kind != ""]
    every = [name for value in zwarn.tolist() for name in names(value)]
    counted = {name: every.count(name) for name in sorted(set(every))}
    return "zspec's bits: " + ", ".join(f"{k} {v}" for k, v in counted.items()) + "."


def paired_table(answers: Answers, keys: NDArray[np.str_]) -> list[str]:
    """Zspec and redrock, with intervals of their differences by bootstrap over objects."""
    t, a, b = answers.truth, answers.said["zspec"], answers.said["redrock 0.21"]
    known = paired.Labels(t.kind, t.z, keys, t.kind == "")
    ours, theirs = (paired.Answers(s.kind, s.z, s.zwarn) for s in (a, b))
    lines = paired.table(known, ours, theirs, "0.21")
    return [lines[0].replace("likelihood", "zspec"), *lines[1:], ""]


def on_real(answers: Answers) -> Iterator[str]:
    """All tables of real spectra."""
    keys = np.array([name.split()[0] for name in answers.truth.name])
    yield from ["", "## Real SDSS spectra, cross-validated", "", *table(answers)]
    yield from blanks(answers, "Sky fibres")
    yield from [bits(answers), "", *paired_table(answers, keys), *failures(answers)]


def on_mocks(survey: str, answers: Answers) -> Iterator[str]:
    """All tables of mocks of a survey."""
    yield from [f"## Mocks: {survey}", "", *table(answers), *blanks(answers, "Blank fibres")]
    yield from by_snr(answers)


def report(parts: Sequence[str], args: argparse.Namespace) -> Iterator[str]:
    """All that is asked for."""
    joint = Joint.load(checkpoint.find(args.model))
    likelihood = alone(joint, args.shared)
    yield "# `zspec` beside its parts"
    yield ""
    yield (
        f"Mocks: {args.number} of each survey, seed {args.seed}. GF: |ln(1+z)/(1+z_true)| < 0.0015 "
        "(GALAXY, STAR), 0.015 (QSO); catastrophic: velocity off by more than 1000 km/s (QSO: "
        "3000); right: not catastrophic; NMAD of all rows; pull of those that are right."
    )
    for part in parts:
        if part == "real":
            yield from on_real(real(args.shared, args.work, joint))
        else:
            yield from on_mocks(part, mocks(part, args.number, args.seed, joint, likelihood))


def alone(joint: Joint, shared: Path) -> Likelihood:
    """The likelihood that the checkpoint was made of, as it ships alone."""
    return train.part(recipe.parse(joint.meta["recipe"]).likelihood.model, shared)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("parts", nargs="*", default=("real", *SURVEYS), help="all by default")
    parser.add_argument("--work", type=Path, required=True, help="folder of a training")
    parser.add_argument("--model", default="zspec", help="checkpoint")
    parser.add_argument("-n", "--number", type=int, default=2000, help="mocks of each survey")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in report(args.parts, args):
        print(line, flush=True)
        lines.append(line)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
