"""The pictures of explanation/failures.md.

    PYTHONPATH=benchmarks python docs/failure_pictures.py ../shared BASES

BASES is the folder that ``benchmarks/likelihood_sdss.py --bases`` fills: real spectra are fitted by
bases that did not see the object, with the calibration that ships, which was learned fold by fold.
The random lines are of ``benchmarks/oddities.py``, fitted by the shipped model. What is drawn is
what ``zspec plot`` draws.
"""

from __future__ import annotations

import argparse
import csv
import runpy
import tempfile
from pathlib import Path

import numpy as np

import zspec
from zspec import catalog, checkpoint, plotting, plugins, prediction
from zspec.estimators.likelihood import Likelihood
from zspec.inspection import gather
from zspec.inspection.models import add_models
from zspec.likelihood.validate import fold_of
from zspec.prediction import Task
from zspec.sources import Source

HERE = Path(__file__).parent
REAL = {
    "faint": "spec-3650-55244-0021.fits",
    "absorption": "spec-3655-55240-0110.fits",
    "one-line": "spec-6001-56072-0707.fits",
}
"""Failures of the README's figures: what they show, and the file."""
DPI = 80


def draw(file: Path, fitter: Likelihood, name: str) -> int:
    """Predict the first spectrum of a file, draw it, and return its ZWARN."""
    found = prediction.predict([Source(file)], fitter, Task(want=frozenset({"zpdf"})))
    found.header["ZSPECVER"] = zspec.__version__
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zcat.fits"
        catalog.write(found, path)
        (target,) = gather(path, [0])
    made = plotting.pages([add_models(target, fitter, 2)], plotting.View(), each=True)
    next(made).savefig(HERE / "pictures" / f"failure-{name}.png", dpi=DPI)
    return int(found.redshifts["ZWARN"][0])


def held_out(shared: Path, bases: Path, file: str) -> Likelihood:
    """The bases of the fold that the object of a file is not in."""
    with (shared / "data/sdss/manifest.csv").open(newline="", encoding="utf-8") as handle:
        key = next(line["object"] for line in csv.DictReader(handle) if line["file"].endswith(file))
    fitter, shipped = (
        checkpoint.load_estimator(name)
        for name in (str(bases / f"{fold_of(key)}.safetensors"), "likelihood")
    )
    assert isinstance(fitter, Likelihood)
    assert isinstance(shipped, Likelihood)
    return fitter.calibrated_by(shipped.calibration)


def draw_garbage() -> None:
    """The first spectrum of random lines, of many, that passes as good."""
    strange = runpy.run_path(str(HERE.parent / "benchmarks" / "oddities.py"))
    fitter, rng = checkpoint.load_estimator("likelihood"), np.random.default_rng(5)
    assert isinstance(fitter, Likelihood)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(10 * strange["COUNT"]):
            path = Path(folder) / f"spPlate-{number:04d}-00000.fits"
            plugins.survey("sdss").write(path, strange["random_lines"](rng)[0])
            if draw(path, fitter, "garbage") == 0:
                return


def main() -> None:
    """All pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("bases", type=Path)
    chosen = parser.parse_args()
    for name, file in REAL.items():
        path = next((chosen.shared / "data/sdss").rglob(file))
        draw(path, held_out(chosen.shared, chosen.bases, file), name)
    draw_garbage()


if __name__ == "__main__":
    main()
