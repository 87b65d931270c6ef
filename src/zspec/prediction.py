"""From files to a catalogue: one piece of code for all surveys and all estimators.

Plain functions that do not print. One bad file costs itself only: it is listed in HDU FILES with
the reason, and the others go on.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table

from zspec import catalog, plugins, sources
from zspec.catalog import Catalog, Columns
from zspec.errors import ConfigError, InputError, ZspecError
from zspec.estimator import Estimator, ExtraColumn, Want
from zspec.sources import Source
from zspec.survey import Survey
from zspec.tables import PER_ROW, predict_rows

log = logging.getLogger("zspec")

NO_LIMITS: Mapping[str, tuple[float, float]] = {}
CHUNK_ROWS = 64
"""Rows of an arithmetic chunk. Stored in the catalogue: float sums may depend on it."""


@dataclass(frozen=True)
class Report:
    """What a progress bar may show after each chunk."""

    file: str
    rows: int
    files_done: int
    """Files before this one."""


@dataclass
class FileResult:
    """What became of one input."""

    file: str
    survey: str
    rows: int = 0
    parts: list[dict[str, Columns]] = field(default_factory=list)
    """Tables of each chunk."""
    error: str = ""

    def failed(self, error: str) -> FileResult:
        """The same file without rows: half a file is none."""
        return FileResult(self.file, self.survey, error=error)


def predict(
    inputs: Sequence[Source],
    estimator: Estimator,
    chunk_rows: int = CHUNK_ROWS,
    progress: Callable[[Report], None] = lambda report: None,
    interrupted: Callable[[Catalog], None] = lambda partial: None,
    want: frozenset[Want] = frozenset(),
    z_range: Mapping[str, tuple[float, float]] = NO_LIMITS,
) -> Catalog:
    """Class, redshift and flags of every spectrum of the inputs, in their order.

    A file that cannot be read adds a row to FILES and nothing else. On KeyboardInterrupt
    ``interrupted`` gets what was finished, and the interrupt goes on. Raises InputError, with the
    first reason, where no file could be read, and ConfigError where the estimator lacks a ``want``
    or cannot search ``z_range`` (limits by class or spectype; they win over the survey's own).
    """
    if z_range:
        estimator.limited(z_range)  # wrong limits are said before any work
    for missing in sorted(want - estimator.offers):
        raise ConfigError(f"model {estimator.name} gives no {missing}; another model may")
    done: list[FileResult] = []
    try:
        for source in inputs:
            tell = partial(_report, progress, len(done))
            done.append(_one_file(source, estimator, chunk_rows, tell, want, z_range))
    except KeyboardInterrupt:
        interrupted(_assemble(done, estimator.extra))
        raise
    errors = [result.error for result in done if result.error]
    if errors and len(errors) == len(inputs):
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{more}")
    return _assemble(done, estimator.extra)


def provenance(
    estimator: Estimator,
    chunk_rows: int,
    command: str,
    inputs: Sequence[str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Cards of the primary header: what made this catalogue.

    MODELSHA is the SHA-256 of the checkpoint, INHASH that of the inputs' places, OPTIONS what was
    chosen of the survey's options, as JSON.
    """
    import torch

    import zspec

    return {
        "ZSPECVER": (zspec.__version__, "version of zspec-redshift"),
        "MODEL": (estimator.name, "estimator"),
        "MODELSHA": estimator.sha256,
        "CALIB": (estimator.calibrated, "are PROB and ZCONF calibrated"),
        "DEVICE": (estimator.device, "device of the arithmetic"),
        "THREADS": (torch.get_num_threads(), "threads of the arithmetic"),
        "CHUNK": (chunk_rows, "rows of an arithmetic chunk"),
        "TORCHVER": (str(torch.__version__), "version of torch"),
        "NUMPYVER": (np.__version__, "version of numpy"),
        "PYVER": (platform.python_version(), "version of Python"),
        "INHASH": catalog.inputs_hash(inputs),
        "OPTIONS": json.dumps(dict(options), sort_keys=True),
        "COMMAND": command,
    }


def adapters(used: Sequence[str]) -> dict[str, Any]:
    """Header cards that name each adapter and the distribution that brings it."""
    offers = plugins.surveys()
    return {
        f"SURVEY{number}": (f"{name} ({offers.found[name][1]})", "adapter")
        for number, name in enumerate(sorted(set(used) & set(offers.found)), start=1)
    }


def _one_file(
    source: Source,
    estimator: Estimator,
    chunk_rows: int,
    tell: Callable[[str, int], None],
    want: frozenset[Want],
    z_range: Mapping[str, tuple[float, float]],
) -> FileResult:
    """Tables of one file. Raises nothing but what is wrong with the command itself."""
    result = FileResult(str(source.path), source.survey or "")
    try:
        survey, chunks = sources.read(source)
        result.survey = survey.name
        fitter = _within(estimator, survey, z_range)
        for spectra in chunks:
            for piece in spectra.split(chunk_rows):
                result.parts.append(predict_rows(piece, result.file, fitter, survey.grid, want))
                result.rows += len(piece)
                tell(result.file, result.rows)
    except InputError as error:
        log.info("%s", error)
        return result.failed(str(error))
    except ConfigError as error:
        if source.survey is not None:  # a wrong option, which every file would meet
            raise
        return result.failed(f"{source.path}: {error}")
    except (ZspecError, KeyboardInterrupt):
        raise
    except Exception as error:
        log.exception("%s: a bug in zspec or in adapter %s", source.path, result.survey)
        return result.failed(f"{source.path}: bug: {type(error).__name__}: {error}")
    return result


def _within(
    estimator: Estimator, survey: Survey, z_range: Mapping[str, tuple[float, float]]
) -> Estimator:
    """The estimator within the user's limits and, for other classes that it has, the survey's."""
    known = {c.name for c in estimator.classes} | {c.spectype for c in estimator.classes}
    own = {name: ends for name, ends in survey.z_range.items() if name in known}
    limits = {**(own if estimator.limitable else {}), **z_range}
    return estimator.limited(limits) if limits else estimator


def _report(progress: Callable[[Report], None], files_done: int, file: str, rows: int) -> None:
    progress(Report(file, rows, files_done))


def _assemble(done: Sequence[FileResult], extra: Sequence[ExtraColumn]) -> Catalog:
    """One catalogue of the tables of all files."""
    parts = [part for result in done for part in result.parts]
    requested = ["ZPDF"] if any("ZPDF" in part for part in parts) else []
    tables = {
        hdu: catalog.stack([part[hdu] for part in parts], catalog.HDUS[hdu])
        for hdu in (*PER_ROW, *requested)
    }
    _truth_last(tables["REDSHIFTS"])
    catalog.describe(tables["REDSHIFTS"], (*catalog.REQUESTED, *extra))
    files = {
        "FILE": np.array([r.file for r in done], "U"),
        "SURVEY": np.array([r.survey for r in done], "U"),
        "NROWS": np.array([r.rows for r in done], np.int32),
        "ERROR": np.array([r.error for r in done], "U"),
    }
    tables["FILES"] = catalog.table(catalog.FILES, files)
    return Catalog(tables, adapters([r.survey for r in done]))


def _truth_last(redshifts: Table) -> None:
    """Put the truth last, with its sentences."""
    for column in catalog.TRUTH:
        if column.name in redshifts.colnames:
            data = redshifts[column.name]
            redshifts.remove_column(column.name)
            redshifts[column.name] = data
    catalog.describe(redshifts, catalog.TRUTH)
