"""From one chunk of spectra and its prediction to rows of the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import catalog, flags
from zspec.catalog import Columns
from zspec.density import Densities
from zspec.device import lacks_memory
from zspec.errors import ZspecError
from zspec.estimator import Estimator, Prediction, Want
from zspec.flags import ZWarn
from zspec.grid import WaveGrid
from zspec.pixels import Form, Pixels, Ready, prepare
from zspec.survey import Spectra
from zspec.timing import Stopwatch

log = logging.getLogger("zspec")

COVERAGE = 0.5
"""Share of the grid below which LITTLE_COVERAGE is set."""

PER_ROW = ("REDSHIFTS", "CANDIDATES", "CLASSPROB")
"""The tables that every chunk gives rows of; ZPDF comes on request."""


def predict_rows(
    spectra: Spectra,
    file: str,
    estimator: Estimator,
    default: WaveGrid,
    want: frozenset[Want] = frozenset(),
    watch: Stopwatch | None = None,
) -> dict[str, Columns]:
    """The tables of some spectra of one file: one arithmetic chunk.

    ``default`` is the survey's grid, over which coverage is judged where the estimator has none;
    ``want`` what is on request only: p(z) is table ZPDF, the bound a column. ``watch`` takes the
    time of resampling, the model and the tables.
    """
    ready = prepare(spectra, Form.of(estimator), default, watch)
    return _predict(ready, file, estimator, want, watch or Stopwatch({}))


def _predict(
    ready: Ready, file: str, estimator: Estimator, want: frozenset[Want], watch: Stopwatch
) -> dict[str, Columns]:
    """The tables of one chunk."""
    spectra = ready.chunk.spectra
    prediction = estimator.predict(ready.chunk, want)
    watch.lap(estimator.stage, prediction.seconds)
    key = {
        "TARGETID": spectra.ids,
        "FILE": np.full(len(spectra), file),
        "ROW": spectra.rows,
    }
    tables = {
        "REDSHIFTS": _redshifts(spectra, prediction, key, estimator, ready.pixels),
        "CANDIDATES": _candidates(prediction, key),
        "CLASSPROB": _classprob(prediction, key, estimator),
    }
    if prediction.zpdf is not None:
        tables["ZPDF"] = _zpdf(prediction.zpdf, prediction, key)
    watch.lap("tables")
    return tables


def predict_fitting(
    ready: Ready,
    file: str,
    estimator: Estimator,
    want: frozenset[Want] = frozenset(),
    watch: Stopwatch | None = None,
) -> list[dict[str, Columns]]:
    """The tables of one chunk, or of its parts where the device has no memory for it whole.

    A chunk is halved until its parts fit, so their number less one says how often. Rows of a part
    are those of a chunk of its size. Only the device counts: a process that lacks memory is not
    helped by it. Raises ZspecError where not even one spectrum fits.
    """
    watch, spectra = watch or Stopwatch({}), ready.chunk.spectra
    try:
        return [_predict(ready, file, estimator, want, watch)]
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        said = f"{file or 'spectra'}: the memory of {estimator.device} does not hold one spectrum"
    if len(spectra) == 1:  # and not within `except`, where the error keeps what it had at work
        raise ZspecError(f"{said}; free it (other programs?)")
    import torch

    torch.cuda.empty_cache()
    log.info("%s: %d rows are too many for %s: halved", file, len(spectra), estimator.device)
    form, half = Form.of(estimator), (len(spectra) + 1) // 2
    parts = [prepare(part, form, ready.default, watch) for part in spectra.split(half)]
    done = [predict_fitting(part, file, estimator, want, watch) for part in parts]
    return [*done[0], *done[1]]


def _redshifts(
    spectra: Spectra,
    prediction: Prediction,
    key: Mapping[str, NDArray[Any]],
    estimator: Estimator,
    pixels: Pixels,
) -> Columns:
    n = len(spectra)
    row = np.arange(n)
    best = prediction.best
    empty = pixels.count == 0
    z = prediction.z[row, best]
    z = np.where(empty, 0.0, np.where(np.isfinite(z), z, 0.0))  # a class without z has z = 0
    nan = np.full(n, np.nan)
    values: dict[str, NDArray[Any]] = {
        **key,
        **{name: np.where(empty, "", text) for name, text in _labels(prediction, best).items()},
        "PROB": prediction.prob[row, best],
        "Z": z,
        "ZERR": np.where(empty, np.nan, prediction.sigma[row, best]),
        "ZCONF": nan if prediction.zconf is None else prediction.zconf,
        "ZWARN": _zwarn(spectra, prediction, pixels),
        "DELTACHI2": nan if prediction.deltachi2 is None else prediction.deltachi2,
        "CHI2": nan if prediction.chi2 is None else prediction.chi2,
        "NPIXELS": pixels.count,
        "ARMS": pixels.arms,
        "SNR": pixels.snr,
        "RA": spectra.table.get("RA", nan),
        "DEC": spectra.table.get("DEC", nan),
    }
    made = catalog.typed(catalog.REDSHIFTS, values)
    for column in estimator.extra:
        own = np.asarray(prediction.extra[column.name]).astype(column.dtype)
        made[column.name] = own[row, best] if column.by_class else own
    if prediction.bound is not None:
        made["ZCRB"] = np.where(empty, np.nan, prediction.bound)
    if prediction.interval is not None:
        made["ZLOW"], made["ZHIGH"] = (np.where(empty, np.nan, z) for z in prediction.interval)
    for name, data in spectra.table.items():
        if name not in made:
            made[name] = data
    if spectra.truth is not None:
        made["Z_TRUE"], made["CLASS_TRUE"] = spectra.truth.z, spectra.truth.spectype
    return made


def _labels(prediction: Prediction, label: NDArray[np.integer]) -> dict[str, NDArray[np.str_]]:
    """SPECTYPE, SUBTYPE and CLASS of class indices."""
    classes = prediction.classes
    return {
        "SPECTYPE": np.array([c.spectype for c in classes], "U6")[label],
        "SUBTYPE": np.array([c.subtype for c in classes], "U20")[label],
        "CLASS": np.array([c.name for c in classes], "U24")[label],
    }


def _zwarn(spectra: Spectra, prediction: Prediction, pixels: Pixels) -> NDArray[np.int64]:
    """Bits that the file's metadata, the pixels and the estimator give."""
    bits = np.zeros(len(spectra), np.int64)
    for given in (spectra.zwarn, prediction.zwarn):
        if given is not None:
            bits |= given
    bits |= flags.where(_ambiguous(prediction), ZWarn.CLASS_AMBIGUOUS)
    bits |= flags.where(pixels.coverage < COVERAGE, ZWarn.LITTLE_COVERAGE)
    return bits | flags.where(pixels.count == 0, ZWarn.NODATA)


def _ambiguous(prediction: Prediction) -> NDArray[np.bool_]:
    """(n,) whether PROB leaves much to other spectypes; False in a row without data."""
    kinds = np.array([c.spectype for c in prediction.classes])
    other = kinds != kinds[prediction.best][:, None]  # (n, class)
    return np.asarray((prediction.prob * other).sum(axis=1) > flags.AMBIGUOUS)


def _candidates(prediction: Prediction, key: Mapping[str, NDArray[Any]]) -> Columns:
    """One row per spectrum and candidate."""
    found = prediction.candidates
    if found is None:
        return {c.name: np.zeros(0, c.dtype) for c in catalog.CANDIDATES}
    row, slot = np.nonzero(found.label >= 0)
    values: dict[str, NDArray[Any]] = {
        **{name: data[row] for name, data in key.items()},
        **_labels(prediction, found.label[row, slot]),
        "RANK": slot + 1,
        "Z": found.z[row, slot],
        "ZERR": found.sigma[row, slot],
        "PROB": found.prob[row, slot],
        "CHI2": found.chi2[row, slot],
    }
    return catalog.typed(catalog.CANDIDATES, values)


def _classprob(
    prediction: Prediction, key: Mapping[str, NDArray[Any]], estimator: Estimator
) -> Columns:
    """One row per spectrum and class."""
    n, classes = prediction.prob.shape
    row = np.repeat(np.arange(n), classes)
    values: dict[str, NDArray[Any]] = {
        **{name: data[row] for name, data in key.items()},
        **_labels(prediction, np.tile(np.arange(classes), n)),
        "PROB": prediction.prob.ravel(),
        "Z": prediction.z.ravel(),
        "ZERR": prediction.sigma.ravel(),
    }
    made = catalog.typed(catalog.CLASSPROB, values)
    for column in estimator.extra:
        if column.by_class:
            made[column.name] = prediction.extra[column.name].ravel().astype(column.dtype)
    return made


def _zpdf(found: Densities, prediction: Prediction, key: Mapping[str, NDArray[Any]]) -> Columns:
    """One row per segment of p(z)."""
    labels = _labels(prediction, found.label)
    density = np.empty(len(found), object)
    density[:] = found.values()
    values: dict[str, NDArray[Any]] = {
        **{name: data[found.row] for name, data in key.items()},
        **{name: labels[name] for name in ("SPECTYPE", "CLASS")},
        "START": found.start,
        "STEP": found.step,
        "DENSITY": density,
    }
    return catalog.typed(catalog.ZPDF, values)
