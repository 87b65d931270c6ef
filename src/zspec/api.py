"""The library in two functions: read spectra, predict redshifts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zspec import catalog, checkpoint, prediction, remote, sources, tables
from zspec import device as devices
from zspec.grid import WaveGrid
from zspec.pixels import Form, prepare
from zspec.remote import Url
from zspec.sources import Source
from zspec.survey import Spectra

if TYPE_CHECKING:
    from astropy.table import Table

    from zspec.estimator import Estimator

log = logging.getLogger("zspec")


def read(
    path: Path | str, survey: str | None = None, options: Mapping[str, Any] | None = None
) -> Iterator[Spectra]:
    """Spectra of a file, here or at a URL, in chunks, on native pixels.

    ``survey`` may be left out where exactly one adapter recognises the file. Raises InputError for
    a file that cannot be read, and ConfigError for an option that the survey does not have.
    """
    place = Url(str(path)) if remote.is_url(path) else Path(path)
    return sources.read(Source(place, survey, options or {}))[1]


def predict(
    spectra: Spectra | Path | str | Sequence[Path | str],
    survey: str | None = None,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Table:
    """Class, redshift and flags of every spectrum: HDU REDSHIFTS as an astropy Table.

    ``spectra``: a file, a folder, a URL, or several; or spectra in memory, whose FILE is empty.
    ``model`` left out: the one made for ``survey``, else the default. A file that cannot be read is
    logged and left out; InputError is raised where none can be read.
    """
    if isinstance(spectra, Spectra):
        named = model or checkpoint.default(survey)
        return _in_memory(spectra, checkpoint.load_estimator(named, devices.resolve(device)))
    given = [spectra] if isinstance(spectra, (str, Path)) else list(spectra)
    files = sources.gather(given, survey)
    inputs = [Source(file, survey, options or {}) for file in files]
    named = model or checkpoint.default(survey)
    estimator = checkpoint.load_estimator(named, devices.resolve(device))
    made = prediction.predict(inputs, estimator)
    for _, reason in made.failures:
        log.warning("left out: %s", reason)
    return made.redshifts


def _in_memory(spectra: Spectra, estimator: Estimator) -> Table:
    """HDU REDSHIFTS of spectra that no file holds; coverage is judged over their own pixels."""
    grid = WaveGrid.native(*(arm.wave for arm in spectra.arms))
    form = Form.of(estimator)
    parts = [
        part["REDSHIFTS"]
        for piece in spectra.split(prediction.CHUNK_ROWS)
        for part in tables.predict_fitting(prepare(piece, form, grid), "", estimator)
    ]
    made = catalog.stack(parts, catalog.REDSHIFTS)
    return catalog.describe(made, (*catalog.REQUESTED, *catalog.TRUTH, *estimator.extra))
