"""What the parts of the joint estimator are worth, and what artefacts in the training are.

    zspec train zspec --preset tenth --data ../shared -o with.safetensors
    zspec train zspec --preset tenth --preset no-artefacts --data ../shared -o without.safetensors
    OMP_NUM_THREADS=1 python benchmarks/ablation.py ../shared --work with.training \
        --with with.safetensors --without without.safetensors -o benchmarks/results/ablation.md

Both networks are trained a tenth as long as the one that ships, on a fifth of the spectra; the
second one sees no blank fibre, no missing arm, no cosmic ray, and none of what augmentation does to
spectra but noise. Weights and calibration are fitted for each as for what ships. Judged on the real
SDSS spectra, cross-validated as `joint.py` does; on mocks of the part "test", in which what goes
wrong goes wrong far more often than it does; and on the strange spectra of `oddities.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joint
import numpy as np
import torch
from answers import Answers, Method, Said, Truth, by, by_network, joined
from joint_tables import blanks, table
from oddities import samples
from strange import is_right

from zspec import checkpoint
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood

PARTS = ("real", "mocks", "strange")
SURVEYS = ("sdss", "desi", "4most")
OFTEN = {
    "artefacts.blank": "0.1",
    "artefacts.missing_arm": "0.2",
    "artefacts.cosmics": "3.0",
    "artefacts.bad_columns": "0.5",
}
"""Settings of the instruments: rates per spectrum, of cosmic rays and bad columns their number."""


@dataclass(frozen=True)
class Pair:
    """The joint estimators of the two trainings."""

    with_: Joint
    without: Joint | None
    """None: what artefacts are worth is left out."""

    def methods(self, likelihood: Likelihood) -> dict[str, Method]:
        """All that are compared."""
        less = bare(self.without, likelihood) if self.without else {}
        return {**full(self.with_, likelihood), **less}


def full(model: Joint, likelihood: Likelihood) -> dict[str, Method]:
    """With artefacts in the training."""
    return {
        "network": lambda spectra: by_network(model.proposal, spectra),
        "likelihood": lambda spectra: by(likelihood, spectra),
        "joined": lambda spectra: by(model, spectra),
    }


def bare(model: Joint, _: Likelihood) -> dict[str, Method]:
    """Without."""
    return {
        "network, no artefacts": lambda spectra: by_network(model.proposal, spectra),
        "joined, no artefacts": lambda spectra: by(model, spectra),
    }


def on_real(pair: Pair, shared: Path, work: Path) -> Iterator[str]:
    """The real spectra."""
    first = joint.real(shared, work, pair.with_, full)
    less = joint.real(shared, work, pair.without, bare).said if pair.without else {}
    every = Answers(first.truth, {**first.said, **less})
    yield from ["## Real SDSS spectra", "", *table(every), *blanks(every, "Sky fibres")]


def on_mocks(known: Mapping[str, Method], number: int, seed: int) -> Iterator[str]:
    """Mocks with many artefacts, of three surveys as one."""
    parts = [joint.mocks(survey, number, seed, known, OFTEN) for survey in SURVEYS]
    fields = ("kind", "z", "snr", "name")
    truth = Truth(*(np.concatenate([getattr(p.truth, f) for p in parts]) for f in fields))
    every = Answers(truth, {name: joined([p.said[name] for p in parts]) for name in known})
    yield from ["## Mocks with many artefacts", "", *table(every), *blanks(every, "Blank fibres")]


def on_strange(known: Mapping[str, Method], shared: Path) -> Iterator[str]:
    """Strange spectra: right, wrong with ZWARN 0."""
    told: dict[str, list[list[tuple[bool, bool]]]] = {}
    for kind, (spectra, truth) in samples(shared):
        said = [method(spectra) for method in known.values()]
        told.setdefault(kind, []).append([verdict(one, truth) for one in said])
    yield from ["## Strange spectra", "", "Right / wrong with ZWARN 0:", ""]
    yield f"| kind | n | {' | '.join(known)} |"
    yield "|" + "---|" * (len(known) + 2)
    for kind, each in told.items():
        yield f"| {kind} | {len(each)} | {' | '.join(counted(each))} |"
    yield (
        f"| all | {sum(map(len, told.values()))} | "
        + " | ".join(counted([one for each in told.values() for one in each]))
        + " |"
    )


def verdict(said: Said, truth: Sequence[tuple[str, float]]) -> tuple[bool, bool]:
    """Whether an answer is right, and whether it is wrong and has ZWARN 0."""
    right = is_right(str(said.kind[0]), float(said.z[0]), list(truth))
    return right, bool(said.zwarn[0] == 0) and not right


def counted(each: Sequence[Sequence[tuple[bool, bool]]]) -> list[str]:
    """Cells of one kind."""
    right, wrong = np.array(each).sum(0).T
    return [f"{a} / {b}" for a, b in zip(right, wrong, strict=True)]


HEAD = """# The parts of `zspec`, and artefacts in its training

`python benchmarks/ablation.py ../shared --work DIR --with {with_}{without} --parts {parts}
-n {number}`. Mocks: {number} each of {surveys}, seed {seed}, with
{settings}.
Figures as in [joint.md](joint.md).
"""


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--work", type=Path, required=True, help="folder of a training")
    parser.add_argument("--with", dest="with_", required=True, help="checkpoint, artefacts learned")
    parser.add_argument("--without", help="checkpoint of no artefacts; without it, no such rows")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="all by default")
    parser.add_argument("-n", "--number", type=int, default=512, help="mocks of each survey")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    without = Joint.load(checkpoint.find(args.without)) if args.without else None
    pair = Pair(Joint.load(checkpoint.find(args.with_)), without)
    known = pair.methods(joint.alone(pair.with_, args.shared))
    settings = ", ".join(f"{key} {value}" for key, value in OFTEN.items())
    told = {"number": args.number, "seed": args.seed, "settings": settings}
    less = f" --without {args.without}" if args.without else ""
    told |= {"with_": args.with_, "without": less, "parts": " ".join(args.parts)}
    lines = [HEAD.format(surveys=", ".join(SURVEYS), **told)]
    asked = {
        "real": lambda: on_real(pair, args.shared, args.work),
        "mocks": lambda: on_mocks(known, args.number, args.seed),
        "strange": lambda: on_strange(known, args.shared),
    }
    for part in args.parts:
        lines += asked[part]()
    text = "\n".join(lines)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
