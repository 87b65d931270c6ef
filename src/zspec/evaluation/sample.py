"""What is evaluated: prediction and truth of the same rows, as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.evaluation.densities import read_densities
from zspec.evaluation.frame import Frame
from zspec.evaluation.given import of_true_class
from zspec.evaluation.matching import Match, key, match, missing, no_id
from zspec.flags import ZWarn
from zspec.metrics import METRICS
from zspec.metrics.densities import Judged, judge

NUMBERS = ("z", "z_true", "sigma", "snr", "mag", "prob", "zconf", "bound")
LABELS = ("label", "label_true")
UNKNOWN = Judged(np.nan, np.nan, np.nan)
"""Of a row without a true redshift."""
NO_TRUTH = (
    ZWarn.NODATA,
    ZWarn.SKY,
    ZWarn.LITTLE_COVERAGE,
    ZWarn.SMALL_DELTA_CHI2,
    ZWarn.Z_FITLIMIT,
    ZWarn.BAD_MINFIT,
    ZWarn.UNPLUGGED,
    ZWarn.BAD_TARGET,
    ZWarn.POORDATA,
)
"""Bits of a pipeline with which its redshift is no truth. With the others, such as MANY_OUTLIERS,
it is doubted for the model's sake, not for the redshift's."""


@dataclass(frozen=True)
class Columns:
    """Names that the user gives to columns; None: as tables of that shape call them."""

    z: str | None = None
    sigma: str | None = None
    z_true: str | None = None
    label: str | None = None
    label_true: str | None = None
    snr: str | None = None
    mag: str | None = None
    object: str | None = None
    """Rows with the same value are one object of the bootstrap; None: each row is one."""


@dataclass(frozen=True)
class Choice:
    """Which rows count, and as what."""

    on: str | None = None
    """What rows are matched on; see :func:`zspec.evaluation.matching.match`."""
    good: bool = False
    """Only rows with ZWARN = 0."""
    coarse: Mapping[str, str] = field(default_factory=dict)
    """Class to coarser class."""
    robust: Mapping[str, float] | float | None = None
    """Limit of sigma, one or one for each class, above which a redshift is unstable."""
    truth_all: bool = False
    """Also where the pipeline that made the truth warns of it; never with NODATA."""
    given_class: bool = False
    """Redshifts of the true class in place of the chosen one's; nothing else is judged."""


@dataclass(frozen=True)
class Sample:
    """n rows that have a truth; what is predicted is unknown where there is no answer."""

    columns: Mapping[str, NDArray[Any]]
    """(n,) each, those that are there: z, z_true, sigma, snr, mag, prob, zconf, bound (float64, NaN
    unknown), label, label_true (index into ``names``, -1 unknown), zwarn, and zwarn_true, of the
    pipeline that made the truth; level, rank and score of the truth in p(z)."""
    names: tuple[str, ...]
    """Classes."""
    objects: NDArray[np.intp]
    """(n,) index of the object of each row."""
    ids: NDArray[Any]
    """(n,) what a list of rows calls them."""
    other: Callable[[str], NDArray[Any]]
    """Any other column of the catalogue, (n,), by name. Raises ConfigError."""
    rows: Match
    sources: Mapping[str, str] = field(default_factory=dict)
    """Role to the column that it came from."""
    notes: tuple[str, ...] = ()
    """What was left out and why, one line each."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ids)

    @property
    def unanswered(self) -> NDArray[np.bool_]:
        """(n,) rows with a true redshift and no predicted one; of a table of classes, no class."""
        columns = self.columns
        if {"z", "z_true"} <= set(columns):
            return np.asarray(np.isnan(columns["z"]) & np.isfinite(columns["z_true"]))
        if set(LABELS) <= set(columns):
            return np.asarray((columns["label"] < 0) & (columns["label_true"] >= 0))
        return np.zeros(len(self), bool)

    def __getitem__(self, rows: NDArray[Any]) -> Sample:
        """Some of the rows, as a mask or as indices."""
        return replace(
            self,
            columns={name: column[rows] for name, column in self.columns.items()},
            objects=_renumbered(self.objects[rows]),
            ids=self.ids[rows],
            other=lambda name: self.other(name)[rows],
            rows=Match(self.rows.rows[rows], self.rows.truth_rows[rows]),
        )


def _renumbered(objects: NDArray[np.intp]) -> NDArray[np.intp]:
    """The same objects, numbered from 0 without gaps, in their order."""
    number = np.cumsum(np.bincount(objects) > 0) - 1
    return np.asarray(number[objects])


def assemble(
    catalogue: Frame, truth: Frame | None, columns: Columns, choice: Choice, carried: bool = False
) -> Sample:
    """Match a catalogue to its truth and take the rows that can be judged.

    Without ``truth`` it is the catalogue's own. ``carried``: the truth is what another catalogue
    carries beside its predictions, which must not be taken for the truth. Raises ConfigError where
    there is none, where no redshift is found, or where a named column is missing.
    """
    matched = match(catalogue, truth, choice.on) if truth is not None else _all(catalogue)
    spelled = _spelled(catalogue, truth, columns, carried)
    read: dict[str, NDArray[Any]] = {}
    for role, (frame, name) in spelled.items():
        read[role] = frame[name][matched.truth_rows if frame is truth else matched.rows]
    values, names = _typed(read, choice)
    if choice.given_class:
        own = {role: spelled[role][1] for role in ("z", "sigma") if getattr(columns, role)}
        values = _given(catalogue, matched, values, names, choice, own)
    else:
        values |= _judged_densities(catalogue, matched, values.get("z_true"), columns)
    sample = Sample(
        values,
        names,
        _objects(catalogue, columns, matched),
        _ids(catalogue, matched),
        lambda name: catalogue[name][matched.rows],
        matched,
        {role: name for role, (_, name) in spelled.items()},
        matched.notes,
    )
    judged = _split(_blanked(_judged(sample, choice)), choice)
    return judged if columns.object else _warned(judged)


def _all(catalogue: Frame) -> Match:
    rows = np.arange(len(catalogue))
    return Match(rows, rows)


def _given(
    catalogue: Frame,
    matched: Match,
    values: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    choice: Choice,
    own: Mapping[str, str],
) -> dict[str, NDArray[Any]]:
    """The values with redshifts of the true class, without what is said of the chosen one.

    ``own`` are the columns of z and sigma that the user names.
    """
    if "label_true" not in values:
        raise ConfigError("--given-class needs a true class: name its column with --class-true")
    labels = np.array([*names, ""])[values["label_true"]]
    z_sigma = own.get("z", "Z"), own.get("sigma", "ZERR")
    z, sigma = of_true_class(catalogue, matched.rows, labels, choice.coarse, z_sigma)
    kept = {"z_true", "label_true", "snr", "mag", "zwarn_true"} & set(values)
    return {role: values[role] for role in kept} | {"z": z, "sigma": sigma}


def _judged_densities(
    catalogue: Frame, matched: Match, z_true: NDArray[np.float64] | None, columns: Columns
) -> dict[str, NDArray[np.float64]]:
    """Level, rank and score (n,) of the truth in p(z); nothing where the catalogue has none.

    Nor where the user names another column of the redshift or its uncertainty.
    """
    found = None if columns.z or columns.sigma or z_true is None else read_densities(catalogue)
    if found is None or z_true is None:
        return {}
    pairs = zip(matched.rows.tolist(), z_true.tolist(), strict=True)
    judged = [judge(*found.marginal(row), z) if z > -1 else UNKNOWN for row, z in pairs]
    table = np.array(judged, np.float64).reshape(-1, len(Judged._fields))
    return dict(zip(Judged._fields, table.T, strict=True))


def _spelled(
    catalogue: Frame, truth: Frame | None, columns: Columns, carried: bool
) -> dict[str, tuple[Frame, str]]:
    """Role to the table and the column that it is read from."""
    spelled: dict[str, tuple[Frame, str]] = {}
    named = {role: getattr(columns, role) for role in (*NUMBERS, *LABELS) if hasattr(columns, role)}
    taken = {catalogue.find(name) for name in named.values() if name}
    for role in (*NUMBERS, *LABELS, "zwarn"):
        given = named.get(role)
        frame = truth if truth is not None and role.endswith("_true") else catalogue
        name = frame.find(given) or given if given else frame.role(role)
        if name is None and frame is truth and not carried:
            name = frame.role(role.removesuffix("_true"))  # Z of a truth is the true redshift
        if name and (given or name not in taken or frame is truth):
            spelled[role] = (frame, name)
    if truth is not None and not carried and (name := _warning_of(truth, spelled)):
        spelled["zwarn_true"] = (truth, name)
    if "z" not in spelled and "label" not in spelled:
        raise ConfigError(
            f"{catalogue.name}: no redshift (no column Z); name it with --z. Spectra? Predict "
            "them first, with --survey or --model"
        )
    if "z_true" not in spelled and "label_true" not in spelled:
        raise ConfigError(
            f"{catalogue.name}: carries no truth (no Z_TRUE, no CLASS_TRUE); name a file with "
            "--truth, or columns with --ztrue and --class-true"
        )
    return spelled


def _warning_of(truth: Frame, spelled: Mapping[str, tuple[Frame, str]]) -> str | None:
    """ZWARN of the truth, where the truth is what that file's pipeline found.

    ZWARN of a file with Z_TRUE, or with redshifts seen by eye, is not of the truth.
    """
    role = next((role for role in ("z", "label") if f"{role}_true" in spelled), None)
    if role is None or spelled[f"{role}_true"][1] != truth.role(role):
        return None
    return truth.role("zwarn")


def _typed(
    read: Mapping[str, NDArray[Any]], choice: Choice
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Numbers as float64, classes as indices of the names that both columns share."""
    values: dict[str, NDArray[Any]] = {}
    for role in set(NUMBERS) & set(read):
        try:
            values[role] = read[role].astype(np.float64)
        except ValueError:
            raise ConfigError(f"the column of {role} holds text, not numbers") from None
    for role in {"zwarn", "zwarn_true"} & set(read):
        values[role] = np.nan_to_num(read[role]).astype(np.int64)
    found = {role: np.unique(read[role], return_inverse=True) for role in LABELS if role in read}
    named = {role: [_class(v, choice.coarse) for v in u[0].tolist()] for role, u in found.items()}
    names = tuple(sorted({name for texts in named.values() for name in texts if name}))
    index = {name: i for i, name in enumerate(names)} | {"": -1}
    for role, (_, inverse) in found.items():
        values[role] = np.array([index[n] for n in named[role]], np.intp)[inverse]
    return values, names


def _class(value: Any, coarse: Mapping[str, str]) -> str:
    """A class as text, made coarser where the map knows it; empty is unknown."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return coarse.get(text, text)


def _objects(catalogue: Frame, columns: Columns, matched: Match) -> NDArray[np.intp]:
    """(n,) index of the object of each row."""
    if columns.object is None:
        return np.arange(len(matched.rows))
    values = key(catalogue, columns.object)[matched.rows]
    index = np.unique(values, return_inverse=True)[1]
    alone = missing(values)  # of these nobody knows which are one object
    index[alone] = len(index) + np.arange(int(alone.sum()))
    return np.unique(index, return_inverse=True)[1]


def _ids(catalogue: Frame, matched: Match) -> NDArray[Any]:
    """TARGETID, else the row."""
    column = catalogue.find("TARGETID")
    return catalogue[column][matched.rows] if column else matched.rows


def _split(sample: Sample, choice: Choice) -> Sample:
    """Add ``robust``: 1 where sigma is at most the limit of its class, 0 above it, -1 unknown.

    Without a limit it is taken from bit UNSTABLE of ZWARN, where any row has it: whether the model
    sets it at all cannot be known otherwise.
    """
    columns, flag = sample.columns, int(ZWarn.UNSTABLE)
    if choice.robust is None:
        if "zwarn" not in columns or not (columns["zwarn"] & flag).any():
            return sample
        robust = np.where(sample.unanswered, -1, columns["zwarn"] & flag == 0)
    elif "sigma" not in columns:
        raise ConfigError("--robust needs an uncertainty: name its column with --zerr")
    else:
        limit = np.broadcast_to(_limits(sample, choice.robust), len(sample))
        unknown = ~(np.isfinite(columns["sigma"]) & np.isfinite(limit))
        robust = np.where(unknown, -1, columns["sigma"] <= limit)
    return replace(sample, columns={**columns, "robust": robust.astype(np.intp)})


def _limits(sample: Sample, robust: Mapping[str, float] | float) -> NDArray[np.float64] | float:
    """(n,) limit of sigma by predicted class, or true class where none is predicted."""
    if not isinstance(robust, Mapping):
        return robust
    label = sample.columns.get("label", sample.columns.get("label_true"))
    if label is None:
        raise ConfigError("--robust by class needs a class: name its column with --class")
    limits = np.array([*(robust.get(name, np.nan) for name in sample.names), np.nan])
    return np.asarray(limits[label])


def _judged(sample: Sample, choice: Choice) -> Sample:
    """Only the rows that can be judged; what is left out is said."""
    columns, notes = sample.columns, list(sample.notes)
    keep = np.ones(len(sample), bool)

    def leave(condition: NDArray[np.bool_], why: str) -> None:
        number = int((keep & condition).sum())
        if number:
            notes.append(f"{number} rows left out: {why}")
        keep[condition] = False

    leave(~_some(columns, "z_true", "label_true"), "no true redshift or class")
    if "z_true" in columns:
        leave(columns["z_true"] <= -1, "z_true <= -1 is no redshift")
    if "zwarn_true" in columns:
        for bits, hint in _doubts(choice):
            warned = columns["zwarn_true"] & bits
            leave(warned != 0, f"the truth has ZWARN {_said(warned[keep])}{hint}")
    if choice.good:
        if "zwarn" not in columns:
            raise ConfigError("--good needs a column ZWARN, which is missing")
        leave(columns["zwarn"] != 0, "ZWARN is not 0 (--good)")
    return replace(sample[keep], notes=tuple(notes))


def _doubts(choice: Choice) -> list[tuple[int, str]]:
    """Bits of ZWARN that leave out rows of a truth, and what can be done about it."""
    never = int(ZWarn.NODATA)
    others = sum(int(bit) for bit in NO_TRUTH) & ~never
    return [(never, "")] + [(others, "; --truth-all keeps them")] * (not choice.truth_all)


def _said(zwarn: NDArray[np.int64]) -> str:
    """The bits that any row has, with their numbers of rows."""
    counts = {bit.name: int((zwarn & int(bit) != 0).sum()) for bit in NO_TRUTH}
    return ", ".join(f"{name} ({n})" for name, n in counts.items() if n)


def _blanked(sample: Sample) -> Sample:
    """Without an answer (NODATA, no redshift), nothing that is predicted means anything."""
    columns, notes = dict(sample.columns), list(sample.notes)
    empty = columns.get("zwarn", np.zeros(len(sample), np.int64)) & int(ZWarn.NODATA) != 0
    if "z" in columns:
        impossible = columns["z"] <= -1
        blank = empty | impossible | ~np.isfinite(columns["z"])
        for role in {"z", "sigma", "zconf", *Judged._fields} & set(columns):
            columns[role] = np.where(blank, np.nan, columns[role])
    if "label" in columns:
        columns["label"] = np.where(empty, -1, columns["label"])
        if "prob" in columns:
            columns["prob"] = np.where(columns["label"] < 0, np.nan, columns["prob"])
    made = replace(sample, columns=columns)
    without = made.unanswered
    if without.any():
        reasons = {"ZWARN NODATA": without & empty}
        if "z" in columns:
            reasons["z <= -1"] = without & impossible & ~empty
        rest = without & ~np.any(list(reasons.values()), axis=0)
        reasons["no redshift" if "z" in columns else "no class"] = rest
        why = ", ".join(f"{int(rows.sum())} {name}" for name, rows in reasons.items() if rows.any())
        failing = ", ".join(metric.name for metric in METRICS if metric.fails)
        notes.append(
            f"{int(without.sum())} rows have no answer ({why}): failures in {failing}; left out "
            "of the other metrics"
        )
    return replace(made, notes=tuple(notes))


def _warned(sample: Sample) -> Sample:
    """The same sample, with a note where ids repeat."""
    known = sample.ids[~no_id(sample.ids)]
    repeated = len(known) - len(np.unique(known))
    if not repeated:
        return sample
    note = (
        f"{repeated} rows repeat the id of another and count as objects of their own; "
        "--object COLUMN draws the rows of one object together"
    )
    return replace(sample, notes=(*sample.notes, note))


def _some(columns: Mapping[str, NDArray[Any]], z: str, label: str) -> NDArray[np.bool_]:
    """Rows where the redshift or the class is known."""
    known = [np.isfinite(columns[z])] if z in columns else []
    known += [columns[label] >= 0] if label in columns else []
    some: NDArray[np.bool_] = np.any(known, axis=0)
    return some
