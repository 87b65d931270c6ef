"""How right `likelihood` is on real SDSS spectra, by cross-validation over objects.

    python benchmarks/likelihood_sdss.py ../shared -o benchmarks/results/likelihood_sdss.md

For each of five folds the bases are learned without the fold's objects, with the recipe that made
the shipped ones, and calibrated without its predictions; its spectra are predicted one by one, as
they are and with noise added. Sky fibres are judged by limits that were learned without their
plate. The labels are the survey pipeline's. The flags of the file's own metadata are not looked at.
redrock's answers are those of `results/redrock_sdss.csv`, which `redrock_sdss.py` makes.
``--bases DIR`` keeps the folds' bases there, and reads them where it finds them.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ladder
import numpy as np
import paired
import redrock_sdss
import torch
from numpy.typing import NDArray

from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.flags import names
from zspec.likelihood.basis import LIGHT
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.labelled import listed
from zspec.likelihood.mocks import mocks
from zspec.likelihood.train import Labelled, label, learn_bases
from zspec.likelihood.validate import (
    FOLDS,
    SHORT,
    blank,
    blank_cases,
    cases,
    fold_of,
    known,
    model_error,
)
from zspec.survey import Spectra
from zspec.training import find_recipe

GOOD = {"GALAXY": 0.0015, "QSO": 0.015, "STAR": 0.0015}
"""Thresholds of GF by true class (GaSNet-II, Eq. 10); for stars it is a velocity of 450 km/s."""


BRIGHT = 2.0
"""Median SNR per pixel above which right redshifts should not be doubted."""
FAINTER = (32, 64)
"""SNR is divided by these too, and nothing is learned from that: most redshifts are wrong there."""


@dataclass(frozen=True)
class Row:
    """One spectrum: what the manifest says, and what the fit says."""

    line: dict[str, str]
    kind: str
    name: str
    z: float
    sigma: float
    delta: float
    zwarn: int

    @property
    def off(self) -> float:
        """(z - z_label) / (1 + z_label)."""
        truth = float(self.line["z"])
        return (self.z - truth) / (1 + truth)

    @property
    def good(self) -> bool:
        """Whether the redshift is good by the label's class."""
        return bool(abs(np.log1p(self.off)) < GOOD[self.line["class"]])

    @property
    def right(self) -> bool:
        """Whether the redshift is within the velocity that the label's class allows."""
        return bool(abs(np.log1p(self.off)) * LIGHT < ladder.RIGHT[self.line["class"]])

    @property
    def same(self) -> bool:
        """Whether the class is the label's."""
        return self.kind == self.line["class"]


def predict_all(shared: Path, kept: Path | None) -> tuple[list[Row], float, list[ladder.Rung]]:
    """Every line of the manifest and the noise ladder, and CPU seconds per spectrum."""
    recipe = find_recipe("likelihood")
    data = list(listed(shared / recipe["manifest"]))
    labelled = [(line, one) for line, one in data if line["label_ok"] == "1"]
    real = [label(line, one) for line, one in labelled]
    fitters = [fitter(recipe, shared, real, fold, kept) for fold in range(FOLDS)]
    given = [known(line, one) for line, one in labelled]
    error = model_error(given, [f.bases for f in fitters])
    raw = [f.calibrated_by(Calibration(error)) for f in fitters]
    every = list(cases(given, raw))
    blank_lines = [(line, one) for line, one in data if line["is_sky"] == "1"]
    blanks = blank_cases([blank(line, one) for line, one in blank_lines], raw)
    plates = [line["plate"] for line, _ in blank_lines] * FOLDS
    exact = list(cases(mocks(recipe), raw, SHORT))
    found = ladder.calibrations(every, blanks, plates, error, exact)
    fitters = [f.calibrated_by(one) for f, one in zip(fitters, found, strict=True)]
    group = dict(zip(plates, ladder.plate_groups(plates), strict=True))
    start = time.process_time()
    rows = [predict_one(fitters[judge(line, group)], line, one) for line, one in data]
    seconds = (time.process_time() - start) / len(rows)
    return rows, seconds, ladder.rungs([*every, *cases(given, raw, FAINTER)], found)


def judge(line: Mapping[str, str], group: Mapping[str, int]) -> int:
    """The fold whose bases and limits did not see a spectrum: by plate for sky, else by object."""
    return group[line["plate"]] if line["is_sky"] == "1" else fold_of(line["object"])


def fitter(
    recipe: Mapping[str, Any], shared: Path, real: Sequence[Labelled], fold: int, kept: Path | None
) -> Likelihood:
    """Bases without the objects of a fold: from the folder ``kept`` if they are there."""
    path = kept / f"{fold}.safetensors" if kept else None
    if path and path.exists():
        return Likelihood.load(path)
    others = [s for s in real if fold_of(s.key) != fold]
    learned = Likelihood(learn_bases(recipe, shared / recipe["templates"], others))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        learned.save(path)
    return learned


def predict_one(fitter: Likelihood, line: dict[str, str], one: Spectra) -> Row:
    """One spectrum by one set of bases."""
    found = fitter.predict(Chunk(one))
    best = int(found.best[0])
    assert found.deltachi2 is not None
    assert found.zwarn is not None
    return Row(
        line=line,
        kind=found.classes[best].spectype if np.isfinite(found.prob[0, best]) else "",
        name=found.classes[best].name,
        z=float(found.z[0, best]),
        sigma=float(found.sigma[0, best]),
        delta=float(found.deltachi2[0]),
        zwarn=int(found.zwarn[0]),
    )


def spread(values: Sequence[float]) -> float:
    """1.48 times the median absolute deviation; NaN of nothing."""
    array = np.asarray(values)
    return float(1.48 * np.median(np.abs(array - np.median(array)))) if len(array) else np.nan


def interval(rows: Sequence[Row], values: NDArray[np.bool_]) -> str:
    """A fraction with its 95 % interval by bootstrap over objects."""
    keys = np.unique([row.line["object"] for row in rows], return_inverse=True)[1]
    total, hits = np.bincount(keys), np.bincount(keys, values)
    picks = np.random.default_rng(1).integers(0, len(total), (ladder.DRAWS, len(total)))
    share = hits[picks].sum(1) / total[picks].sum(1)
    low, high = np.percentile(share, [2.5, 97.5])
    return f"{values.mean():.3f} ({low:.3f}–{high:.3f})"


def class_line(rows: Sequence[Row], kind: str) -> str:
    """The table's line of one labelled class."""
    mine = [row for row in rows if row.line["class"] == kind]
    good = [row for row in mine if row.good and row.same]
    off = np.array([row.off for row in mine])
    cells = [
        f"{kind} ({len(mine)})",
        interval(mine, np.array([row.same for row in mine])),
        f"{interval(mine, np.array([row.good for row in mine]))}",
        f"{np.mean(np.abs(off) * LIGHT < ladder.RIGHT[kind]):.3f}",
        f"{spread([row.off for row in good]):.1e}",
        f"{np.median([row.off for row in good]):+.1e}",
        f"{spread([(row.z - float(row.line['z'])) / row.sigma for row in good]):.1f}",
        f"{spread([pull(row) for row in good]):.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def pull(row: Row) -> float:
    """Offset in units of both errors, ZERR and the label's own."""
    return float((row.z - float(row.line["z"])) / np.hypot(row.sigma, float(row.line["z_err"])))


def report(rows: Sequence[Row], seconds: float, rungs: Sequence[ladder.Rung]) -> str:
    """All tables as markdown."""
    ok = [row for row in rows if row.line["label_ok"] == "1"]
    sky = [row for row in rows if row.line["is_sky"] == "1"]
    same = np.array([row.same for row in ok])
    bright = [row for row in ok if row.right and float(row.line["sn_median"]) > BRIGHT]
    out = [
        "# `likelihood` on real SDSS spectra",
        "",
        f"{len(ok)} spectra with label_ok of {len({r.line['object'] for r in ok})} objects, "
        f"{FOLDS} folds over objects. GF: |ln(1+z)/(1+z_label)| < 0.0015 (GALAXY, STAR), "
        "0.015 (QSO). Intervals: 95 %, bootstrap over objects.",
        "",
        "| label | class | GF | right | NMAD | median d | pull of ZERR | with label's error |",
        "|---|---|---|---|---|---|---|---|",
        *(class_line(ok, kind) for kind in GOOD),
        "",
        f"Class accuracy {interval(ok, same)}. ZWARN 0 on {share(ok):.3f} of these rows, "
        f"and on {share(bright):.3f} of the {len(bright)} that are right with SNR > 2. "
        f"{sum(row.zwarn == 0 for row in sky)} of {len(sky)} sky fibres have ZWARN 0. "
        f"{1e3 * seconds:.0f} ms of CPU per spectrum, one at a time, {torch.get_num_threads()} "
        "thread(s), all classes.",
        "",
        "Noise added to the same spectra (right: within 1000 km/s, quasars 3000):",
        "",
        *ladder.ladder(rungs),
        "",
        "ZCONF, learned without the fold:",
        "",
        *ladder.confidence(rungs),
        "",
        "redrock on the same pixels, with SDSS's eigengalaxies and its own templates of stars and "
        "quasars; differences are paired:",
        "",
        *compared(ok + sky),
        "",
        *confusion(ok),
        "",
        *flags(ok),
        "",
        *failures([row for row in ok if not (row.good and row.same)], "Failures"),
        "",
        *failures([row for row in sky if row.zwarn == 0], "Sky fibres with ZWARN 0"),
        "",
    ]
    return "\n".join(out)


def compared(rows: Sequence[Row]) -> list[str]:
    """The table of :mod:`paired`."""
    table = redrock_sdss.read(Path(__file__).parent / "results" / "redrock_sdss.csv")
    theirs = [table[row.line["file"], row.line["row"]] for row in rows]
    version = theirs[0]["version"]
    return paired.table(paired.labelled(rows), paired.found(rows), paired.answers(theirs), version)


def share(rows: Sequence[Row]) -> float:
    """Fraction with ZWARN 0."""
    return float(np.mean([row.zwarn == 0 for row in rows]))


def confusion(rows: Sequence[Row]) -> list[str]:
    """Which class for which."""
    count = Counter((row.line["class"], row.kind) for row in rows)
    lines = [f"| {a} | " + " | ".join(str(count[a, b]) for b in GOOD) + " |" for a in GOOD]
    return ["| label \\ found | " + " | ".join(GOOD) + " |", "|---|---|---|---|", *lines]


def flags(rows: Sequence[Row]) -> list[str]:
    """How often each bit is set."""
    count = Counter(name for row in rows for name in names(row.zwarn))
    return ["| bit | rows |", "|---|---|", *(f"| {k} | {v} |" for k, v in count.most_common())]


def failures(rows: Sequence[Row], title: str) -> list[str]:
    """One line for each."""
    head = ["| file | row | label | z | SNR | found | z | DELTACHI2 | ZWARN |", "|" + "---|" * 9]
    lines = [
        f"| {Path(r.line['file']).name} | {r.line['row']} | {r.line['class']} "
        f"{r.line['subclass']} | {float(r.line['z'] or 'nan'):.5f} | "
        f"{float(r.line['sn_median'] or 'nan'):.1f} | {r.name} | {r.z:.5f} | {r.delta:.1f} | "
        f"{' '.join(names(r.zwarn)) or 0} |"
        for r in rows
    ]
    return [f"## {title}", "", *head, *lines]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    parser.add_argument("--bases", type=Path, help="folder of the folds' bases")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    text = report(*predict_all(args.shared, args.bases))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
