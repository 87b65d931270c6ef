"""zspec, its parts and redrock on the same mocks of DESI and 4MOST, of four kinds of sources.

    OMP_NUM_THREADS=1 python benchmarks/redrock_mocks.py ../shared --work DIR --training DIR \
        --redrock PYTHON -o benchmarks/results/redrock_mocks.md

PYTHON is an interpreter that has redrock 0.21; without it, what `results/redrock_mocks.csv` and
``--work`` hold of redrock's answers is used, and the table has all of them afterwards.
``--training``: the folder of zspec's training, whose ``folds`` are bases that did not learn from
the real spectra that set (d) is made of. The mocks are written by ``zspec simulate``'s writers,
read by the adapters, and handed to redrock as they were read: arms, masks, and Gaussians of the
stated LSF. What the sets are drawn from says `elsewhere.py`, what redrock fits says
`redrock_arms.py`. There are two draws: one over all SNR, and a faint one, where methods differ.
Everything that takes long is kept in ``--work``, and only the first spectra of a set, as far as
redrock has come, are compared, so that a run that was stopped goes on, and an unfinished one has
tables. ``--model`` takes another checkpoint for zspec. CPU is that of one process with one thread:
chunks of 64 rows for zspec, of 16 for redrock, without reading and without setting up templates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import held_out
import numpy as np
import redrock_kept
import torch
from answers import Answers, Method, Said, Truth, joined, methods
from mock_sets import Run, clean, spectra, truth
from numpy.typing import NDArray
from redrock_tables import SETS, Compared, report, summary

from zspec import Chunk, checkpoint, cramer_rao
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.joint import recipe, train
from zspec.likelihood import labelled
from zspec.simulate.simulator import BLOCK
from zspec.survey import Spectra
from zspec.training import find_recipe

SURVEYS = ("desi", "4most")
KEPT = Path(__file__).parent / "results" / "redrock_mocks.csv"
"""Redrock's answers."""
TOGETHER = 16
"""Spectra that redrock takes at once, and that are kept at once."""


@dataclass(frozen=True)
class Models:
    """What answers."""

    joint: Joint
    likelihood: Likelihood
    folds: tuple[Likelihood, ...]
    """Bases without each fold's objects."""

    @classmethod
    def load(cls, model: str, shared: Path, training: Path) -> Models:
        """A checkpoint, what ships of the likelihood, and the folds of a training."""
        made = checkpoint.load_estimator(model)
        assert isinstance(made, Joint)
        asked = recipe.parse(made.meta["recipe"])
        alone = Likelihood.load(checkpoint.find("likelihood"))
        lines = list(labelled.spectra(find_recipe(asked.likelihood.recipe), shared))
        found = train.folds(asked, shared, training / "folds", lines, alone.calibration)
        return cls(made, alone, tuple(found))

    def without(self, fold: int) -> dict[str, Method]:
        """All that can be asked, by bases that have not seen the objects of a fold; -1: all."""
        if fold < 0:
            return methods(self.joint, self.likelihood)
        own = self.folds[fold]
        return methods(Joint(own, self.joint.proposal, self.joint.calibration), own)


def ask(run: Run, held: Spectra) -> None:
    """Write what redrock is to fit."""
    run.asked.mkdir(parents=True, exist_ok=True)
    for part, start in enumerate(range(0, len(held), TOGETHER)):
        if not run.question(part).exists():
            np.savez(run.question(part), **pixels(held[start : start + TOGETHER]))  # type: ignore[arg-type]


def pixels(held: Spectra) -> dict[str, NDArray[Any]]:
    """Arms as `redrock_arms.py` reads them."""
    found: dict[str, NDArray[Any]] = {}
    for k, arm in enumerate(held.arms):
        assert arm.resolution is not None
        sigma = np.broadcast_to(arm.resolution, arm.flux.shape)[0] / np.gradient(arm.wave)
        ivar = np.where(arm.usable, arm.ivar, 0)
        flux = np.where(ivar > 0, arm.flux, 0)
        found |= {f"wave{k}": arm.wave, f"flux{k}": flux, f"ivar{k}": ivar, f"sigma{k}": sigma}
    return found


def redrock(run: Run) -> Said | None:
    """What redrock says of the first spectra of a set, as far as it has come; None: nowhere."""
    rows: list[dict[str, Any]] = []
    seconds = []
    for part in range(-(-run.number // TOGETHER)):
        path = run.question(part).with_suffix(".json")
        if not path.exists():
            break
        told = json.loads(path.read_text(encoding="utf-8"))
        rows += told["rows"]
        seconds.append(told["seconds"])
    if not rows:
        return None
    names = ("spectype", "z", "zerr", "zwarn")
    kind, z, sigma, zwarn = (np.array([row[name] for row in rows]) for name in names)
    return Said(kind, z, sigma, zwarn, float(np.mean(seconds)))


def answer(run: Run, models: Models, held: Spectra) -> dict[str, Said]:
    """What our methods say; kept by the checkpoint that said it."""
    path = run.folder / f"answers-{models.joint.sha256[:12]}-{len(held)}.json"
    if not path.exists():
        found = asked(models, held, truth(run)["SED"][: len(held)])
        path.write_text(json.dumps({k: plain(v) for k, v in found.items()}), encoding="utf-8")
    told = json.loads(path.read_text(encoding="utf-8"))
    return {name: restored(one) for name, one in told.items()}


def asked(models: Models, held: Spectra, seds: NDArray[np.str_]) -> dict[str, Said]:
    """What our methods say of spectra, each by bases that have not seen its source."""
    folds = np.array([held_out.fold(str(sed)) for sed in seds])
    order = np.argsort(folds, kind="stable")
    parts: dict[str, list[Said]] = {}
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        mine = held[rows]  # type: ignore[index]  # whole arrays serve as well as slices
        for name, method in models.without(int(fold)).items():
            for at in range(0, len(rows), BLOCK):
                parts.setdefault(name, []).append(method(mine[at : at + BLOCK]))
    back = np.argsort(order)
    return {name: joined(each)[back] for name, each in parts.items()}


def restored(told: dict[str, Any]) -> Said:
    """What ``plain`` gave."""
    kind, z, sigma, zwarn = (np.array(column) for column in told["rows"])
    return Said(kind, z, sigma, zwarn, float(told["seconds"]))


def plain(said: Said) -> dict[str, Any]:
    """For JSON."""
    columns = (said.kind, said.z, said.sigma, said.zwarn)
    return {"rows": [column.tolist() for column in columns], "seconds": said.seconds}


def bounds(run: Run, held: Spectra, told: Said, likelihood: Likelihood) -> NDArray[np.float64]:
    """(n,) Cramér-Rao bound of sigma_z where the class is right, NaN elsewhere; kept.

    Of the noise-free spectrum with its own noise, in the basis that fits best, free in its mixture.
    """
    path = run.folder / f"bounds-{len(held)}.npy"
    if not path.exists():
        np.save(path, _bounds(run, held, told, likelihood))
    return np.asarray(np.load(path, allow_pickle=False), np.float64)


def _bounds(run: Run, held: Spectra, told: Said, likelihood: Likelihood) -> NDArray[np.float64]:
    source = run.source()
    known = {name: values[: len(held)] for name, values in truth(run).items()}
    width = resolution(held.arms)
    found = np.full(len(held), np.nan)
    for number in range(-(-len(held) // BLOCK)):
        rows = slice(number * BLOCK, min(len(held), (number + 1) * BLOCK))
        part, light = held[rows], clean(source, number)
        labels = np.asarray(likelihood.predict(Chunk(part)).best)
        right = told.kind[rows] == known["SPECTYPE"][rows]
        for label in np.unique(labels):
            mine = np.flatnonzero((labels == label) & right)
            if not len(mine):
                continue
            found[number * BLOCK + mine] = cramer_rao(
                [arm.wave for arm in part.arms],
                [flux[mine] for flux in light],
                [np.where(arm.usable[mine], arm.ivar[mine], 0) for arm in part.arms],
                known["Z"][rows][mine],
                likelihood.bases[label],
                float(np.median(width)),
            )
    return found


def compared(run: Run, models: Models) -> Compared | None:
    """All answers on the spectra that redrock has answered; None where it has answered nothing."""
    said = redrock(run)
    if said is None:
        return None
    held = spectra(run)[: len(said.z)]
    own, table = answer(run, models, held), truth(run)
    bound = np.full(len(held), np.nan)
    if not run.faint:  # none is above the SNR from which the bound is looked at
        bound = bounds(run, held, own["likelihood"], models.likelihood)
    kind, z, snr, name = (table[key][: len(held)] for key in ("SPECTYPE", "Z", "SNR", "SED"))
    known = Truth(kind.astype(str), z, snr, name.astype(str))
    return Compared(Answers(known, own | {"redrock 0.21": said}), bound)


HEAD = """# zspec and redrock on the same mocks

`python benchmarks/redrock_mocks.py ../shared --work DIR --training DIR --redrock PYTHON -n {number}
--faint {faint}`, seed {seed}; checkpoint of zspec {model}.

GF: |ln(1+z)/(1+z_true)| below 0.0015 (GALAXY, STAR) or 0.015 (QSO), whatever the class. Right:
class right, and within 1000 km/s (QSO: 3000). SNR: median per pixel (DESI 0.8 Å, 4MOST 0.25 Å),
noise-free flux over error. In brackets 95 % intervals: Wilson's of shares, a paired bootstrap over
spectra of differences. eff: Cramér-Rao variance over that of redshifts that are right, where over
98 % are. `network`: the mode of the network's density, whose "ZWARN 0" is a probability above 0.95
within three bins.

Faint draws: each spectrum has an SNR of its own, uniform in its logarithm, from 0.3 to 2 for DESI
and from 0.15 to 1.2 for 4MOST, and the magnitude that gives it that SNR in its own exposures.
(d) are real SDSS galaxies and quasars, bright ones seen again as faint ones. No network of zspec
has seen a real spectrum; zspec's bases are those of five folds, each without the objects that it
judges, under the thresholds and weights that ship. redrock's templates are as they are: SDSS's own
eigengalaxies may have learned from some of these very galaxies.

redrock looks for stars within 600 km/s, zspec within 2000. Sets of which redrock has not answered
all spectra are unfinished: their first line has the count; what is missing has no answers.
QuasarNP and Marz are not here: neither is on the package index that was within reach, and
QuasarNP's weights lie on a server that was not.
"""


def runs(args: argparse.Namespace) -> list[Run]:
    """All sets that are asked for."""
    numbers = dict(zip(args.surveys, args.faint, strict=True))
    made = []
    for survey in args.surveys:
        bright = Run(survey, "ours", args.number, args.seed, args.work, args.shared)
        if survey == "desi":
            made += [replace(bright, kind=kind) for kind in SETS if kind != "real"]
        seed, number = args.seed + 2, numbers[survey]
        faint = replace(bright, faint=True, seed=seed, number=number)
        made += [replace(faint, kind=kind) for kind in SETS]
    return made


def answered(every: list[Run], models: Models) -> Iterator[tuple[Run, Compared]]:
    """The sets that redrock has answers of."""
    for run in every:
        if one := compared(run, models):
            yield run, one


def fit(python: Path, every: list[Run], shared: Path) -> None:
    """Let redrock answer what it has not."""
    script = Path(__file__).with_name("redrock_arms.py")
    for folder in dict.fromkeys(run.asked for run in every):
        command = [str(python), str(script), str(shared / "data" / "templates"), str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make what is lacking, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps all steps")
    parser.add_argument("--training", type=Path, required=True, help="folder of zspec's training")
    parser.add_argument("--redrock", type=Path, help="a Python that has redrock")
    parser.add_argument("--model", default="zspec", help="checkpoint of zspec, a name or a file")
    parser.add_argument("--surveys", nargs="*", default=SURVEYS)
    parser.add_argument("-n", "--number", type=int, default=144, help="of each set over all SNR")
    parser.add_argument("--faint", type=int, nargs="*", default=(96, 48), help="by survey")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = Models.load(args.model, args.shared, args.training)
    every = runs(args)
    for run in every:
        ask(run, spectra(run))
    folders = list(dict.fromkeys((run.survey, run.asked) for run in every))
    redrock_kept.restore(KEPT, folders)
    if args.redrock:
        fit(args.redrock, every, args.shared)
    redrock_kept.keep(KEPT, folders)
    told = list(answered(every, models))
    faint = " ".join(map(str, args.faint))
    sha = models.joint.sha256[:12]
    lines = [HEAD.format(number=args.number, faint=faint, seed=args.seed, model=sha)]
    lines += summary([(run.survey, run.kind, one) for run, one in told])
    for run, one in told:
        draw = ", faint" if run.faint else ""
        lines += report(f"{run.survey}{draw}: {SETS[run.kind]}", run.number, one)
    text = "\n".join(lines)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
