"""From files to a catalogue: one piece of code for all surveys and all estimators.

Plain functions that do not print. One bad file costs itself only: it is listed in HDU FILES with
the reason, and the others go on. What is done unit by unit, see :mod:`zspec.work`, is the same
whether it is kept in memory (:func:`predict`), in shards, or done by several workers.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table

from zspec import catalog, pixels, plugins, sources, work
from zspec.catalog import Catalog, Columns
from zspec.errors import ConfigError, InputError, ZspecError
from zspec.estimator import Estimator, ExtraColumn, Want
from zspec.pixels import Form, Ready
from zspec.sources import Source
from zspec.survey import Survey
from zspec.tables import PER_ROW, predict_fitting
from zspec.timing import Stopwatch
from zspec.work import Unit

log = logging.getLogger("zspec")

CHUNK_ROWS = 64
"""Rows of an arithmetic chunk. Stored in the catalogue: float sums may depend on it."""
RECOGNISED = "(recognised)"
"""Card SURVEY where none was asked for: each file's adapter is the one that recognises it."""


@dataclass(frozen=True)
class Task:
    """What is asked of every unit of work."""

    chunk_rows: int = CHUNK_ROWS
    want: frozenset[Want] = frozenset()
    """What the estimator gives on request."""
    z_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Limits by class or spectype; they win over the survey's own."""

    @property
    def unit_rows(self) -> int:
        """Rows of a unit of work."""
        return self.chunk_rows * work.CHUNKS

    def form(self, estimator: Estimator) -> Form:
        """What an estimator wants of each chunk."""
        return Form.of(estimator, self.chunk_rows)

    def check(self, estimator: Estimator) -> None:
        """Raise ConfigError where the estimator lacks a ``want``, or cannot search ``z_range``."""
        if self.z_range:
            estimator.limited(self.z_range)
        for missing in sorted(self.want - estimator.offers):
            raise ConfigError(f"model {estimator.name} gives no {missing}; another model may")


@dataclass(frozen=True)
class Report:
    """What a progress bar may show after each chunk."""

    rows: int
    """Spectra since the last report."""
    done: float
    """Files, the parts of one that is at work included."""


@dataclass
class Result:
    """What became of one unit of work."""

    unit: Unit
    survey: str
    rows: int = 0
    parts: list[dict[str, Columns]] = field(default_factory=list)
    """Tables of each chunk."""
    error: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: read, resample, network, likelihood or model, tables."""
    stamp: str = ""
    """Size and time of the file just before it was read."""
    halved: int = 0
    """Times that a chunk was halved, as the device had no memory for it."""

    def failed(self, error: str) -> Result:
        """The same unit without rows: half of it is none."""
        return replace(self, rows=0, parts=[], error=error)

    @property
    def hdus(self) -> list[str]:
        """The tables that it has."""
        requested = ["ZPDF"] if any("ZPDF" in part for part in self.parts) else []
        return [*PER_ROW, *requested]


def predict(
    inputs: Sequence[Source],
    estimator: Estimator,
    task: Task | None = None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Catalog:
    """Class, redshift and flags of every spectrum of the inputs, in their order, in memory.

    A file that cannot be read adds a row to FILES and nothing else. Raises InputError, with the
    first reason, where no file could be read, and ConfigError where the estimator cannot do the
    task.
    """
    task = task or Task()
    task.check(estimator)
    done: list[Result] = []
    failed: set[str] = set()
    for unit in work.plan(inputs, task.unit_rows, is_closed=failed.__contains__):
        done.append(predict_unit(unit, estimator, task, progress))
        if done[-1].error:
            failed.add(unit.file)
    refuse_if_none([r.error for r in done if r.error], len(inputs))
    return _assemble([r for r in done if r.error or r.unit.file not in failed], estimator.extra)


def refuse_if_none(errors: Sequence[str], files: int) -> None:
    """Raise InputError, with the first reason, where each of so many files has one."""
    if errors and len(errors) == files:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{more}")


def provenance(
    estimator: Estimator,
    task: Task,
    command: str,
    inputs: Sequence[str],
    options: Mapping[str, Any],
    survey: str | None = None,
) -> dict[str, Any]:
    """Cards of the primary header: what made this catalogue.

    MODELSHA is the SHA-256 of the checkpoint, INHASH that of the inputs' places, SURVEY the adapter
    that was asked for, OPTIONS what was chosen of its options, WANTED and ZRANGE what of the
    estimator's, as JSON. PART1 and so on are the published templates that were fitted, with their
    versions.
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
        "CHUNK": (task.chunk_rows, "rows of an arithmetic chunk"),
        "TORCHVER": (str(torch.__version__), "version of torch"),
        "NUMPYVER": (np.__version__, "version of numpy"),
        "PYVER": (platform.python_version(), "version of Python"),
        "INHASH": catalog.inputs_hash(inputs),
        "SURVEY": (survey or RECOGNISED, "adapter that was asked for"),
        "OPTIONS": json.dumps(dict(options), sort_keys=True),
        "WANTED": json.dumps(
            {want: estimator.level if want == "interval" else True for want in sorted(task.want)}
        ),
        "ZRANGE": json.dumps({k: list(v) for k, v in task.z_range.items()}, sort_keys=True),
        **{f"PART{i}": (part, "template") for i, part in enumerate(estimator.parts, start=1)},
        "COMMAND": command,
    }


def adapters(used: Sequence[str]) -> dict[str, Any]:
    """Header cards that name each adapter and the distribution that brings it."""
    found = plugins.surveys().found
    return numbered([f"{name} ({found[name][1]})" for name in set(used) & set(found)])


def numbered(readers: Iterable[str]) -> dict[str, Any]:
    """Cards SURVEY1 and so on of adapters with their distributions."""
    return {
        f"SURVEY{number}": (text, "adapter") for number, text in enumerate(sorted(readers), start=1)
    }


def cut(halved: Iterable[int]) -> dict[str, Any]:
    """The card that says how often chunks were halved: such rows are of smaller ones than CHUNK."""
    return {"HALVED": (sum(halved), "halvings for want of device memory")}


def predict_unit(
    unit: Unit,
    estimator: Estimator,
    task: Task,
    progress: Callable[[Report], None] = lambda report: None,
) -> Result:
    """Tables of one unit. Raises nothing but what is wrong with the command itself."""

    def fill(result: Result) -> None:
        fill_in(result, decode(result, task.form(estimator)), estimator, task, progress)

    return attempt(begin(unit), fill)


def begin(unit: Unit) -> Result:
    """What is known of a unit before it is read; an error where its file changed since."""
    result = Result(unit, unit.source.survey or "", stamp=work.stamp(unit.source.path))
    if unit.stamp not in ("", result.stamp):  # it may have more rows by now
        return result.failed(f"{unit.file}: changed while it was read; predict it again")
    return result


def attempt(result: Result, fill: Callable[[Result], None]) -> Result:
    """A result once it was filled, or the error that this met.

    Raises nothing but what is wrong with the command itself.
    """
    source = result.unit.source
    try:
        if not result.error:
            fill(result)
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


def decode(result: Result, form: Form) -> Iterator[Ready]:
    """The chunks of a result's unit, as they are read; the result is told of survey and time."""
    watch = Stopwatch(result.seconds)
    survey, chunks = sources.read(result.unit.source, result.unit.rows)
    result.survey = survey.name
    return pixels.cut(chunks, form, survey.grid, watch)


def fill_in(
    result: Result,
    chunks: Iterable[Ready],
    estimator: Estimator,
    task: Task,
    progress: Callable[[Report], None],
) -> None:
    """Predict chunks of the unit of a result."""
    unit, watch = result.unit, Stopwatch(result.seconds)
    fitter = _within(estimator, plugins.survey(result.survey), task.z_range)
    for ready in chunks:
        watch.skip()
        parts = predict_fitting(ready, unit.file, fitter, task.want, watch)
        rows = ready.chunk.spectra.rows
        result.parts += parts
        result.halved += len(parts) - 1
        result.rows += len(rows)
        progress(Report(len(rows), unit.reached(int(rows[-1]) + 1)))


def _within(
    estimator: Estimator, survey: Survey, z_range: Mapping[str, tuple[float, float]]
) -> Estimator:
    """The estimator within the user's limits and, for other classes that it has, the survey's."""
    known = {c.name for c in estimator.classes} | {c.spectype for c in estimator.classes}
    own = {name: ends for name, ends in survey.z_range.items() if name in known}
    limits = {**(own if estimator.limitable else {}), **z_range}
    return estimator.limited(limits) if limits else estimator


def _assemble(done: Sequence[Result], extra: Sequence[ExtraColumn]) -> Catalog:
    """One catalogue of the tables of all units."""
    parts = [part for result in done for part in result.parts]
    hdus = dict.fromkeys([*PER_ROW, *(hdu for result in done for hdu in result.hdus)])
    tables = {hdu: catalog.stack([part[hdu] for part in parts], catalog.HDUS[hdu]) for hdu in hdus}
    _truth_last(tables["REDSHIFTS"])
    for hdu in ("REDSHIFTS", "CLASSPROB"):
        catalog.describe(tables[hdu], (*catalog.REQUESTED, *extra))
    listed = [(r.unit.file, r.survey, r.rows, r.halved, r.error) for r in done]
    tables["FILES"] = catalog.table(catalog.FILES, catalog.list_files(listed))
    cards = {**adapters([r.survey for r in done]), **cut([r.halved for r in done])}
    return Catalog(tables, cards)


def _truth_last(redshifts: Table) -> None:
    """Put the truth last, with its sentences."""
    for column in catalog.TRUTH:
        if column.name in redshifts.colnames:
            data = redshifts[column.name]
            redshifts.remove_column(column.name)
            redshifts[column.name] = data
    catalog.describe(redshifts, catalog.TRUTH)
