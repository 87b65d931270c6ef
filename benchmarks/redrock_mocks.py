"""zspec, its parts and redrock on the same mocks of DESI and 4MOST, of three kinds of sources.

    OMP_NUM_THREADS=1 python benchmarks/redrock_mocks.py ../shared --work DIR \
        --redrock PYTHON -o benchmarks/results/redrock_mocks.md

PYTHON is an interpreter that has redrock 0.21; without it, what ``--work`` holds of redrock's
answers is used. The mocks are written by ``zspec simulate``'s writers, read by the adapters, and
handed to redrock as they were read: arms, masks, and Gaussians of the stated LSF. What the three
sets are drawn from says `elsewhere.py`, what redrock fits says `redrock_arms.py`. Everything that
takes long is kept in ``--work``, and only the first spectra of a set, as far as redrock has come,
are compared, so that a run that was stopped goes on, and an unfinished one has tables. ``--model``
takes another checkpoint for zspec. CPU is that of one process with one thread: chunks of 64 rows
for zspec, of 16 for redrock, without reading and without setting up templates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elsewhere
import joint
import numpy as np
import torch
from elsewhere import Elsewhere
from joint import Answers, Said, Truth
from numpy.typing import NDArray
from redrock_tables import SETS, Compared, report

from zspec import checkpoint, cramer_rao, fits
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood, resolution
from zspec.simulate.exposure import Exposed, join
from zspec.simulate.fibre import Fibre
from zspec.simulate.files import TRUTH, write_mocks
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import BLOCK, glue
from zspec.sources import Source, expand, read
from zspec.survey import Spectra

SURVEYS = ("desi", "4most")
TOGETHER = 16
"""Spectra that redrock takes at once, and that are kept at once."""


@dataclass(frozen=True)
class Run:
    """One set of one survey, and where it is kept."""

    survey: str
    kind: str
    number: int
    seed: int
    work: Path
    shared: Path

    @property
    def folder(self) -> Path:
        """Of its files."""
        return self.work / f"{self.survey}-{self.kind}-{self.number}-{self.seed}"

    @property
    def asked(self) -> Path:
        """Folder of what redrock is asked of this survey, all sets in one."""
        return self.work / f"redrock-{self.survey}"

    def source(self) -> Elsewhere:
        """What its spectra come from."""
        return elsewhere.sample(self.kind, self.survey, self.seed, self.shared)

    def question(self, part: int) -> Path:
        """File of some of its spectra for redrock; in the order of names all sets take turns."""
        return self.asked / f"{part:03d}-{self.kind}-{self.number}-{self.seed}.npz"


def spectra(run: Run) -> Spectra:
    """The spectra as the adapter reads them, from files that are written where there are none."""
    if not (run.folder / TRUTH).exists():
        write_mocks(run.source(), run.number, run.folder)
    paths = [path for path in expand([run.folder], run.survey) if path.name != TRUTH]
    parts = [one for path in paths for one in read(Source(path, run.survey))[1]]
    return glue([Observed(part, {}) for part in parts]).spectra


def truth(run: Run) -> dict[str, NDArray[Any]]:
    """Columns of the truth."""
    with fits.open_fits(run.folder / TRUTH) as file:
        return {name: file.column("TRUTH", name) for name in ("SPECTYPE", "Z", "SNR", "SED")}


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


def answer(run: Run, model: Joint, likelihood: Likelihood, held: Spectra) -> dict[str, Said]:
    """What our methods say; kept by the checkpoint that said it."""
    path = run.folder / f"answers-{model.sha256[:12]}-{len(held)}.json"
    if not path.exists():
        found = {}
        for name, method in joint.methods(model, likelihood).items():
            parts = [held[at : at + BLOCK] for at in range(0, len(held), BLOCK)]
            found[name] = joint.joined([method(part) for part in parts])
        path.write_text(json.dumps({k: plain(v) for k, v in found.items()}), encoding="utf-8")
    told = json.loads(path.read_text(encoding="utf-8"))
    return {name: restored(one) for name, one in told.items()}


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
        labels = best_bases(likelihood, part)
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


def best_bases(likelihood: Likelihood, part: Spectra) -> NDArray[np.intp]:
    """(n,) number of the basis that each spectrum is best fitted by."""
    from zspec import Chunk

    return np.asarray(likelihood.predict(Chunk(part)).best)


def clean(source: Elsewhere, number: int) -> list[NDArray[np.float32]]:
    """Noise-free flux (n, pixel) of each arm of a block."""
    assert isinstance(source.instrument, Fibre)
    optics = source.instrument.optics("cpu")
    flux = optics.spread @ source.objects(number).flux.T
    same = torch.ones_like(flux)
    return [part.T.numpy() for part, _ in join(Exposed(flux, same, same), optics)]


def compared(run: Run, model: Joint, likelihood: Likelihood) -> Compared | None:
    """All answers on the spectra that redrock has answered; None where it has answered nothing."""
    said = redrock(run)
    if said is None:
        return None
    held = spectra(run)[: len(said.z)]
    own, table = answer(run, model, likelihood, held), truth(run)
    bound = bounds(run, held, own["likelihood"], likelihood)
    kind, z, snr, name = (table[key][: len(held)] for key in ("SPECTYPE", "Z", "SNR", "SED"))
    known = Truth(kind.astype(str), z, snr, name.astype(str))
    return Compared(Answers(known, own | {"redrock 0.21": said}), bound)


HEAD = """# zspec and redrock on the same mocks

`python benchmarks/redrock_mocks.py ../shared --work DIR --redrock PYTHON -n {number}`, seed {seed};
checkpoint of zspec {model}.

GF: |ln(1+z)/(1+z_true)| below 0.0015 (GALAXY, STAR) or 0.015 (QSO), whatever the class. Right:
class right, and within 1000 km/s (QSO: 3000). SNR: median per pixel, noise-free flux over error.
In brackets 95 % intervals: Wilson's of shares, a paired bootstrap over spectra of differences. eff:
Cramér-Rao variance over that of redshifts that are right, where over 98 % are. `network`: the mode
of the network's density, whose "ZWARN 0" is a probability above 0.95 within three bins.
redrock looks for stars within 600 km/s, zspec within 2000. Sets of which redrock has not answered
all spectra are unfinished: their first line has the count; a survey without tables has no answers.
"""


def main() -> None:
    """Make what is lacking, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps all steps")
    parser.add_argument("--redrock", type=Path, help="a Python that has redrock")
    parser.add_argument("--model", default="zspec", help="checkpoint of zspec, a name or a file")
    parser.add_argument("--surveys", nargs="*", default=SURVEYS)
    parser.add_argument("-n", "--number", type=int, default=150, help="mocks of each set")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = checkpoint.load_estimator(args.model)
    assert isinstance(model, Joint)
    likelihood = Likelihood.load(checkpoint.find("likelihood"))
    lines = [HEAD.format(number=args.number, seed=args.seed, model=model.sha256[:12])]
    for survey in args.surveys:
        runs = [Run(survey, k, args.number, args.seed, args.work, args.shared) for k in SETS]
        for run in runs:
            ask(run, spectra(run))
        if args.redrock:
            script = Path(__file__).with_name("redrock_arms.py")
            templates = args.shared / "data" / "templates"
            command = [str(args.redrock), str(script), str(templates), str(runs[0].asked)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for run in runs:
            one = compared(run, model, likelihood)
            lines += report(f"{survey}: {SETS[run.kind]}", args.number, one) if one else []
    text = "\n".join(lines)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
