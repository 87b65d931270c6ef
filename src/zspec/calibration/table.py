"""Calibration of a finished catalogue: learned on rows with a true redshift, used on any other.

One map a class, of ZERR; a class with too few true redshifts keeps its own. A file of maps is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.calibrate import FEWEST, learn
from zspec.calibration.maps import Calibration, Floats, Method, covariate
from zspec.errors import ConfigError, InputError, OutputError
from zspec.metrics.registry import GOOD

if TYPE_CHECKING:
    from zspec.catalog import Catalog
    from zspec.evaluation.sample import Sample

FORMAT = 1
"""Version of the file of maps."""
FOLDS = 5
"""Parts of the objects: a row's coverage is by a map that did not see its object."""
SHARES = (0.6827, 0.95)
"""Intervals whose coverage is told."""


@dataclass(frozen=True)
class Coverage:
    """How often central intervals hold the truth, for one class."""

    label: str
    n: int
    before: tuple[float, ...]
    """Of z ± ZERR as a Gaussian, for each of ``SHARES``."""
    after: tuple[float, ...]
    """Of the mapped intervals, cross-validated over objects."""
    widening: float
    """Median factor of ZERR."""


def learn_maps(
    sample: Sample, method: Method, knots: int
) -> tuple[dict[str, Calibration], list[Coverage]]:
    """One map for each class of a catalogue with truths, and what each is worth.

    Classes are the predicted ones. Raises ConfigError for a catalogue without uncertainties, and
    InputError where no class has enough true redshifts.
    """
    columns = sample.columns
    if "sigma" not in columns:
        raise ConfigError("the catalogue has no column of uncertainties; name one with --zerr")
    t = (columns["z_true"] - columns["z"]) / columns["sigma"]
    t = np.where(columns["sigma"] > 0, t, np.nan)
    x = covariate(columns.get("snr", np.zeros(len(t))))
    label = columns.get("label", np.zeros(len(t), np.intp))
    maps, found = {}, []
    for number, name in enumerate(sample.names or ("",)):
        mine = np.isfinite(t) & (label == number)
        if mine.sum() >= FEWEST * max(knots, 1) * 2:
            part = t[mine], x[mine]
            maps[name] = learn(*part, method, knots)
            found.append(_judge(name, *part, sample.objects[mine], maps[name], knots))
    if not maps:
        raise InputError(f"no class has the {2 * FEWEST * max(knots, 1)} true redshifts it takes")
    return maps, found


def _judge(
    name: str, t: Floats, x: Floats, objects: NDArray[np.intp], whole: Calibration, knots: int
) -> Coverage:
    """Coverage before, and after by maps of the other objects."""
    fold = objects % FOLDS
    inside = np.zeros((len(SHARES), len(t)), bool)
    for number in range(FOLDS):
        held = fold == number
        if held.any():
            other = learn(t[~held], x[~held], whole.method, knots)
            below = other.cdf(t[held], x[held])
            for row, share in zip(inside, SHARES, strict=True):
                row[held] = np.abs(below - 0.5) <= share / 2
    plain = np.abs(Calibration().cdf(t, x) - 0.5)
    before = tuple(float(np.mean(plain <= share / 2)) for share in SHARES)
    after = tuple(float(v) for v in inside.mean(axis=1))
    return Coverage(name, len(t), before, after, float(np.median(whole.widening(x))))


def write_maps(path: Path, maps: Mapping[str, Calibration], meta: Mapping[str, Any]) -> None:
    """Write maps as JSON. Raises OutputError where that fails."""
    stored = {name: calibration.stored() for name, calibration in maps.items()}
    text = json.dumps({"format": FORMAT, **meta, "maps": stored}, indent=1, sort_keys=True)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_maps(path: Path) -> dict[str, Calibration]:
    """Read what ``write_maps`` wrote. Raises InputError for any other file."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] > FORMAT:
            raise InputError(f"{path}: needs a newer zspec")
        return {str(name): Calibration.restore(row) for name, row in kept["maps"].items()}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is no file of calibrations that zspec calibrate wrote") from None


def apply_maps(catalogue: Catalog, maps: Mapping[str, Calibration]) -> int:
    """Calibrate ZERR and ZCONF of HDU REDSHIFTS in place; the number of rows that a map was for.

    ZCONF is the probability of |dz|/(1+z) within the threshold of ``gf`` by the mapped
    distribution; 0.0015 where a class has none. Raises ConfigError for a catalogue that was mapped
    before, and for one without a row that a map is for.
    """
    if "CALIBMAP" in catalogue.header:
        raise ConfigError(f"the catalogue is calibrated already, by {catalogue.header['CALIBMAP']}")
    table = catalogue.redshifts
    x = covariate(np.asarray(table["SNR"]))
    z, sigma = (np.asarray(table[name], np.float64) for name in ("Z", "ZERR"))
    kinds = np.asarray(table["SPECTYPE"]).astype(str)
    count = 0
    for name, calibration in maps.items():
        rows = np.flatnonzero((kinds == name) & (sigma > 0))
        if not len(rows):
            continue
        limit = GOOD.get(name, GOOD["GALAXY"]) * (1 + z[rows]) / sigma[rows]
        table["ZCONF"][rows] = calibration.within(limit, x[rows])
        table["ZERR"][rows] = sigma[rows] * calibration.widening(x[rows])
        count += len(rows)
    if not count:
        raise ConfigError(f"the maps are for {', '.join(maps)}, and no row with a ZERR is of these")
    catalogue.header["CALIB"] = True
    return count
