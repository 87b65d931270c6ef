"""How right `likelihood` is on real SDSS spectra, by cross-validation over objects.

    python benchmarks/likelihood_sdss.py ../shared -o benchmarks/results/likelihood_sdss.md

For each of five folds the bases are learned without the fold's objects, with the recipe that made
the shipped ones; its spectra are predicted one by one. The labels are the survey pipeline's.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood
from zspec.flags import names
from zspec.likelihood.basis import LIGHT
from zspec.likelihood.train import label, learn_bases, listed
from zspec.survey import Spectra
from zspec.training import find_recipe

FOLDS = 5
GOOD = {"GALAXY": 0.0015, "QSO": 0.015, "STAR": 0.0015}
"""Thresholds of GF by true class (GaSNet-II, Eq. 10); for stars it is a velocity of 450 km/s."""
RIGHT = {"GALAXY": 1000, "QSO": 3000, "STAR": 1000}
"""km/s: `right`."""
DRAWS = 1000
"""Bootstrap draws over objects."""


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
    def same(self) -> bool:
        """Whether the class is the label's."""
        return self.kind == self.line["class"]


def fold_of(key: str) -> int:
    """A fold from an object's name, the same on every machine."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % FOLDS


def predict_all(shared: Path) -> tuple[list[Row], float]:
    """Every line of the manifest, predicted without its object; CPU seconds per spectrum."""
    recipe = find_recipe("likelihood")
    data = list(listed(shared / recipe["manifest"]))
    real = [label(line, one) for line, one in data if line["label_ok"] == "1"]
    rows: list[Row] = []
    spent = 0.0
    for fold in range(FOLDS):
        kept = [s for s in real if fold_of(s.key) != fold]
        fitter = Likelihood(learn_bases(recipe, shared / recipe["templates"], kept))
        mine = [item for item in data if fold_of(item[0]["object"]) == fold]
        start = time.process_time()
        rows += [predict_one(fitter, line, one) for line, one in mine]
        spent += time.process_time() - start
    return rows, spent / len(rows)


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
    picks = np.random.default_rng(1).integers(0, len(total), (DRAWS, len(total)))
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
        f"{np.mean(np.abs(off) * LIGHT < RIGHT[kind]):.3f}",
        f"{spread([row.off for row in good]):.1e}",
        f"{np.median([row.off for row in good]):+.1e}",
        f"{spread([(row.z - float(row.line['z'])) / row.sigma for row in good]):.1f}",
        f"{spread([pull(row) for row in good]):.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def pull(row: Row) -> float:
    """Offset in units of both errors, ZERR and the label's own."""
    return float((row.z - float(row.line["z"])) / np.hypot(row.sigma, float(row.line["z_err"])))


def report(rows: Sequence[Row], seconds: float) -> str:
    """All tables as markdown."""
    ok = [row for row in rows if row.line["label_ok"] == "1"]
    sky = [row for row in rows if row.line["is_sky"] == "1"]
    same = np.array([row.same for row in ok])
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
        f"Class accuracy {interval(ok, same)}. ZWARN 0 on {share(ok):.3f} of these rows. "
        f"{sum(row.zwarn == 0 for row in sky)} of {len(sky)} sky fibres have ZWARN 0. "
        f"{1e3 * seconds:.0f} ms of CPU per spectrum, one at a time, {torch.get_num_threads()} "
        "thread(s), all classes.",
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
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    text = report(*predict_all(args.shared))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
