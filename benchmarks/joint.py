"""The joint estimator beside its parts and redrock, on spectra that none of them has seen.

    OMP_NUM_THREADS=1 python benchmarks/joint.py ../shared --work zspec.training \
        -n 500 -o benchmarks/results/joint.md

Real SDSS spectra by cross-validation over objects: bases without the fold's objects (``--work``
keeps them in its ``folds``, and reads them where it finds them), weights, thresholds and ZCONF
without its predictions, sky fibres by limits that were learned without their plate. The network has
seen mocks alone, whose sources hold no spectrum of that sample. Real DESI spectra, which nothing
was learned from, by what ships. Mocks are those of ``zspec simulate``, of the sources for tests.
``network`` is the mode of the network's density; its "ZWARN 0" is a probability above 0.95 within
three bins. ``gasnet2`` is the network of ``--gasnet2`` for the survey; its sources learned from
some of the real SDSS spectra, its stars have redshift 0, and its "ZWARN 0" is its own: without
UNSTABLE. redrock's answers are those of `results/redrock_sdss.csv` and `redrock_desi.csv`. CPU is
that of one process with one thread, chunks of 64 rows for mocks, one row at a time for real
spectra, reading not included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import ladder
import numpy as np
import redrock_desi
import redrock_sdss
import torch
from answers import Answers, Method, Said, Truth, joined, methods
from joint_tables import on_desi, on_mocks, on_real

from zspec import checkpoint, plugins
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood
from zspec.joint import recipe, train
from zspec.joint.calibrating import learned
from zspec.joint.cases import JointCase
from zspec.joint.proposed import Proposer
from zspec.likelihood import labelled
from zspec.likelihood.validate import fold_of
from zspec.simulate.artefacts import Artefact
from zspec.simulate.simulator import BLOCK, simulator
from zspec.training import find_recipe

SURVEYS = ("sdss", "desi", "4most", "csst")
PARTS = ("real", "real-desi", *SURVEYS)
GASNET2 = ("sdss=gasnet2-sdss", "desi=gasnet2-desi", "4most=gasnet2-4most")


def mocks(
    survey: str,
    number: int,
    seed: int,
    known: Mapping[str, Method],
    settings: Mapping[str, str] | None = None,
) -> Answers:
    """Truth and answers on mocks; ``settings`` are changes to the instrument."""
    source = simulator(plugins.survey(survey), seed, settings=settings, split="test")
    truths: list[Truth] = []
    parts: dict[str, list[Said]] = {}
    for block in range(-(-number // BLOCK)):
        observed = source.block(block)
        spectra = source.survey.masked(observed.spectra)
        blank = (observed.truth["ARTEFACT"] & int(Artefact.BLANK)) != 0
        kinds = np.where(blank, "", observed.truth["SPECTYPE"].astype(str))
        label = np.array([f"{survey} {block}:{i}" for i in range(len(spectra))])
        truths.append(Truth(kinds, observed.truth["Z"], observed.truth["SNR"], label))
        for name, method in known.items():
            parts.setdefault(name, []).append(method(spectra))
    fields = ("kind", "z", "snr", "name")
    truth = Truth(*(np.concatenate([getattr(t, f) for t in truths]) for f in fields))
    return Answers(truth, {name: joined(each) for name, each in parts.items()})


Known = Callable[[Joint, Likelihood], dict[str, Method]]
"""What can be asked, once the joint estimator and the likelihood are there."""


def real(shared: Path, work: Path, joint: Joint, known: Known) -> Answers:
    """Truth and answers on real spectra."""
    asked = recipe.parse(joint.meta["recipe"])
    likelihood = train.part(asked.likelihood.model, shared)
    lines = list(labelled.spectra(find_recipe(asked.likelihood.recipe), shared))
    fitters = train.folds(asked, shared, work / "folds", lines, likelihood.calibration)
    every, sky = train.validation(asked, likelihood, lines, fitters, joint.proposal)
    joints = without(lines, fitters, joint.proposal, every, sky)
    return judged(lines, [known(*pair) for pair in joints])


def without(
    lines: Sequence[labelled.Line],
    fitters: Sequence[Likelihood],
    model: Proposer,
    every: Sequence[JointCase],
    sky: Sequence[JointCase],
) -> Iterator[tuple[Joint, Likelihood]]:
    """Of each fold, estimators whose bases and calibration did not see it."""
    groups = ladder.plate_groups(sky_plates(lines) * len(fitters))
    for fold, fitter in enumerate(fitters):
        kept = [c for c in every if c.group != "real" or fold_of(c.known.key) != fold]
        others = [c for c, other in zip(sky, groups, strict=True) if other != fold]
        yield Joint(fitter, model, learned(kept, others, fitter.calibration)), fitter


def sky_plates(lines: Sequence[labelled.Line]) -> list[str]:
    """Plate of each sky fibre."""
    return [line["plate"] for line, _ in lines if line["is_sky"] == "1"]


def judged(lines: Sequence[labelled.Line], known: Sequence[Mapping[str, Method]]) -> Answers:
    """Answers on real spectra, each by the methods of its fold."""
    plates = sky_plates(lines)
    group = dict(zip(plates, ladder.plate_groups(plates), strict=True))
    used = [row for row in lines if "1" in (row[0]["label_ok"], row[0]["is_sky"])]
    parts: dict[str, list[Said]] = {}
    for line, one in used:
        blank = line["is_sky"] == "1"
        fold = group[line["plate"]] if blank else fold_of(line["object"])
        for name, method in known[fold].items():
            parts.setdefault(name, []).append(method(one))
    said = {name: joined(each) for name, each in parts.items()}
    said["redrock 0.21"] = redrock([line for line, _ in used], "redrock_sdss.csv")
    return Answers(labels([line for line, _ in used]), said)


def labels(lines: Sequence[Mapping[str, str]]) -> Truth:
    """The labels of the manifest; those of sky fibres mean nothing."""
    return Truth(
        np.array(["" if line["is_sky"] == "1" else line["class"] for line in lines]),
        np.array([float(line["z"] or "nan") for line in lines]),
        np.array([float(line["sn_median"] or "nan") for line in lines]),
        np.array([f"{Path(line['file']).name} {line['row']}" for line in lines]),
    )


def desi(shared: Path, known: Mapping[str, Method]) -> Answers:
    """Truth and answers on the labelled real DESI spectra."""
    lines = list(redrock_desi.labelled(shared))
    said = {name: joined([ask(one) for _, one in lines]) for name, ask in known.items()}
    said["redrock 0.21"] = redrock([line for line, _ in lines], "redrock_desi.csv")
    named = [{**line, "is_sky": "0", "sn_median": line["sn"]} for line, _ in lines]
    return Answers(labels(named), said)


def redrock(lines: Sequence[Mapping[str, str]], kept: str) -> Said:
    """Redrock's answers of the same rows, from a table among the results."""
    table = redrock_sdss.read(Path(__file__).parent / "results" / kept)
    rows = [table[line["file"], line["row"]] for line in lines]
    return Said(
        np.array([row["spectype"] for row in rows]),
        np.array([float(row["z"]) for row in rows]),
        np.array([float(row["zerr"]) for row in rows]),
        np.array([int(row["zwarn"]) for row in rows]),
        float("nan"),
    )


def report(args: argparse.Namespace) -> Iterator[str]:
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
    yield ""
    named = dict(pair.split("=", 1) for pair in args.gasnet2)
    for part in args.parts:
        name = named.get({"real": "sdss", "real-desi": "desi"}.get(part, part))
        known = partial(methods, gasnet2=checkpoint.load_estimator(name) if name else None)
        if part == "real":
            yield from on_real(real(args.shared, args.work, joint, known))
        elif part == "real-desi":
            yield from on_desi(desi(args.shared, known(joint, likelihood)))
        else:
            asked = known(joint, likelihood)
            yield from on_mocks(part, mocks(part, args.number, args.seed, asked))


def alone(joint: Joint, shared: Path) -> Likelihood:
    """The likelihood that the checkpoint was made of, as it ships alone."""
    return train.part(recipe.parse(joint.meta["recipe"]).likelihood.model, shared)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="all by default")
    parser.add_argument("--work", type=Path, required=True, help="folder of a training")
    parser.add_argument("--model", default="zspec", help="checkpoint")
    parser.add_argument("--gasnet2", nargs="*", default=GASNET2, metavar="SURVEY=MODEL")
    parser.add_argument("-n", "--number", type=int, default=2000, help="mocks of each survey")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in report(args):
        print(line, flush=True)
        lines.append(line)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
