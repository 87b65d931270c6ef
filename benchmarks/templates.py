"""redrock's own templates through zspec's engine, and through redrock, on the same SDSS spectra.

    python benchmarks/templates.py ../shared -o benchmarks/results/templates.md

The templates are those of `redrock_fit.py`: stars and quasars of redrock, and SDSS's eigengalaxies.
redrock's answers are read from `results/redrock_sdss.csv`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import paired
import redrock_sdss
import torch
from likelihood_sdss import predict_one
from redrock_cpu import galaxies

from zspec.estimators.likelihood import Likelihood
from zspec.likelihood.labelled import listed

NEAR = 0.005
"""|dz|/(1+z) within which two redshifts agree."""


def fitter(templates: Path) -> Likelihood:
    """The templates that redrock had."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path in templates.glob("rrtemplate-[QS]*.fits"):
            shutil.copy(path, folder)
        galaxies(templates / "spEigenGal-56436.fits", folder)
        return Likelihood.of_templates(folder)


def report(shared: Path) -> str:
    """The table as markdown."""
    table = redrock_sdss.read(Path(__file__).parent / "results" / "redrock_sdss.csv")
    engine = fitter(shared / "data" / "templates")
    rows, theirs = [], []
    for line, one in listed(shared / "data" / "sdss" / "manifest.csv"):
        if (line["file"], line["row"]) in table:
            rows.append(predict_one(engine, line, one))
            theirs.append(table[line["file"], line["row"]])
    labels, ours = paired.labelled(rows), paired.found(rows)
    other = paired.answers(theirs)
    real = ~labels.sky
    same = np.abs(np.log1p(ours.z) - np.log1p(other.z)) < NEAR
    clear = real & (ours.zwarn == 0) & (other.zwarn == 0)
    return "\n".join(
        [
            "# redrock's templates through zspec's engine and through redrock",
            "",
            "`python benchmarks/templates.py ../shared`: no prior on the mixtures but the one that "
            "`likelihood/published.py` states, and nothing calibrated.",
            "",
            f"Redshifts agree within {NEAR} (1+z) on {same[real].mean():.3f} of "
            f"{real.sum()} labelled spectra, and on {same[clear].mean():.3f} of the {clear.sum()} "
            "that have ZWARN 0 in both.",
            "",
            *paired.table(labels, ours, other, theirs[0]["version"]),
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = report(args.shared)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
