"""What a file or folder is, as plain values: what ``zspec info`` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli

from zspec import catalog, checkpoint, plugins, sources
from zspec.cli.summary import summarise
from zspec.errors import InputError, ZspecError
from zspec.fits import FitsFile, open_fits
from zspec.sources import Source

if TYPE_CHECKING:
    from zspec.evaluation.frame import Frame
    from zspec.survey import Arm, Spectra

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
TOOLS = ("REDSHIFTS", "ZBEST")
"""HDUs of redrock's catalogues, newer and older."""
SHOWN = 5
"""Catalogues, models and truths of a folder that are named."""
COUNTED = {
    ".parts": "unfinished runs",
    ".toml": "TOML files",
    ".csv": "tables",
    ".ecsv": "tables",
    ".parquet": "tables",
}
"""What files of a folder that are not FITS are counted as, by their endings."""
FIRST = ("estimator", "holds", "classes", "surveys", "grid", "figures", "default_for")
"""What of a checkpoint is said first: what it can do, before how it was made."""

Facts = dict[str, Any]


def describe(path: Path) -> Facts:
    """What a file or folder is. Raises ZspecError where it is nothing that zspec knows."""
    if path.is_dir():
        return {"file": str(path), "kind": "folder", **folder(path)}
    if not path.exists():
        raise InputError(f"{path}: no such file")
    for ending, read in READERS.items():
        if path.name.lower().endswith(ending):
            return {"file": str(path), **read(path)}
    return {"file": str(path), **_fits(path)}


def folder(path: Path) -> Facts:
    """How many files of which kind lie in a folder, and the names of some."""
    names: dict[str, list[str]] = {"catalogues": [], "checkpoints": [], "truths": []}
    counts: Counter[str] = Counter()
    for file in sorted(path.iterdir()):
        if file.is_file() and file.name.lower().endswith(FITS):
            kind = _kind(file)
            names.get(kind, []).append(file.name)
            counts[kind] += kind not in names
        elif file.suffix == ".safetensors":
            names["checkpoints"].append(file.name)
        else:
            counts[COUNTED.get(file.suffix, "folders" if file.is_dir() else "others")] += 1
    shown = {kind: _some(found) for kind, found in names.items() if found}
    return {**{kind: n for kind, n in sorted(counts.items()) if n}, **shown}


def _kind(file: Path) -> str:
    """What a FITS file of a folder is counted as, by its headers."""
    try:
        with open_fits(file) as handle:
            if _ours(handle):
                return "catalogues"
            if handle.has("TRUTH"):
                return "truths"
            found = sources.recognising(handle)
            if not found and any(map(handle.has, TOOLS)):
                return "catalogues of other tools"
    except ZspecError:
        return "damaged files"
    return f"spectra of {' or '.join(found)}" if found else "other FITS files"


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _ours(handle: FitsFile) -> bool:
    return handle.has("REDSHIFTS") and "ZSPECVER" in handle.header(0)


def _fits(path: Path) -> Facts:
    """A catalogue, spectra, or a table of some other tool."""
    if ".fit" not in path.name.lower() and not _begins_as_fits(path):
        endings = ", ".join((*FITS[:1], *READERS))
        raise InputError(f"{path}: is no file that zspec knows; these end with {endings}")
    with open_fits(path) as handle:
        ours, known = _ours(handle), sources.recognising(handle)
        tables = any(hdu.kind == "table" and hdu.shape[0] for hdu in handle.hdus)
        layout = ", ".join(f"{hdu.name or 'unnamed'} ({hdu.kind})" for hdu in handle.hdus)
    if ours:
        return _catalogue(path)
    if known:
        return spectra(path)
    if tables:
        return _table(path)
    surveys = ", ".join(plugins.installed())
    raise InputError(f"{path}: no survey recognises it (known: {surveys}); it holds {layout}")


def _begins_as_fits(path: Path) -> bool:
    """By its first card, or as gzip does. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as handle:
            return handle.read(9).startswith((b"SIMPLE  =", b"\x1f\x8b"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _catalogue(path: Path) -> Facts:
    made = catalog.read(path)
    cards = {key: str(value) for key, value in made.header.items()}
    rows = {hdu: f"{len(table)} rows" for hdu, table in made.tables.items()}
    summary = summarise(made, str(path))
    return {"kind": "catalogue", "header": cards, "tables": rows, "summary": summary}


def spectra(path: Path) -> Facts:
    """What a file of spectra holds. Raises InputError where no survey recognises it."""
    survey, chunks = sources.read(Source(path))
    counts = {"spectra": 0, "with data": 0, "labelled": 0}
    arms: dict[str, None] = {}  # in order, once each
    passed: set[str] = set()
    for part in chunks:
        counts["spectra"] += len(part)
        counts["with data"] += _with_data(part)
        counts["labelled"] += _labelled(part)
        arms |= dict.fromkeys(map(_arm, part.arms))
        passed |= set(part.table)
    known = {"survey": survey.name, "title": survey.title}
    shown = {"arms": list(arms), "passed through": sorted(passed)}
    return {"kind": "spectra", **known, **counts, **shown}


def _with_data(part: Spectra) -> int:
    return int(np.any([arm.usable.any(axis=1) for arm in part.arms], axis=0).sum())


def _labelled(part: Spectra) -> int:
    return 0 if part.truth is None else int((part.truth.spectype != "").sum())


def _arm(arm: Arm) -> str:
    """One line on an arm."""
    lsf = "no LSF" if arm.resolution is None else "with LSF"
    size = f"{len(arm.wave)} pixels, {arm.wave[0]:.1f} to {arm.wave[-1]:.1f} Å"
    return f"{arm.name}: {size}, {lsf}"


def _table(path: Path) -> Facts:
    """A truth, a catalogue of another tool, or any other table, as ``zspec evaluate`` sees it."""
    from zspec.evaluation.frame import open_frame

    frame = open_frame(path)
    roles = ("z", "sigma", "label", "z_true", "label_true", "zwarn", "snr", "mag", "prob")
    found = {role: column for role in roles if (column := frame.role(role))}
    truth = next((found[role] for role in ("z_true", "z") if role in found), None)
    facts: Facts = {"kind": "table", "shape": frame.shape.name, "rows": len(frame)}
    if label := found.get("label_true") or found.get("label"):
        facts["classes"] = _classes(frame, label)
    if truth is not None:
        facts["redshifts"] = _redshifts(frame, truth)
        option = "--truth" if "sigma" not in found else "a catalogue, or --truth"
        facts["for"] = f"zspec evaluate, as {option}"
    return {**facts, "read as": found, "columns": list(frame.columns)}


def _classes(frame: Frame, column: str) -> dict[str, int]:
    """Rows of each class, the most frequent first."""
    values, counts = np.unique(frame[column].astype(str), return_counts=True)
    pairs = sorted(zip(values.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return {name or "none": count for name, count in pairs[:20]}


def _redshifts(frame: Frame, column: str) -> str:
    """Range and number of finite values of a column."""
    try:
        z = frame[column].astype(np.float64)
    except ValueError:
        return f"{column} holds no numbers"
    z = z[np.isfinite(z)]
    return f"{len(z)}, from {z.min():.4f} to {z.max():.4f}" if len(z) else "none"


def _checkpoint(path: Path) -> Facts:
    known = checkpoint.metadata(path)
    first = {key: known.pop(key) for key in FIRST if key in known}
    return {"kind": "checkpoint", **first, **known}


def _recipe(path: Path) -> Facts:
    """A recipe, or any other TOML by its keys."""
    try:
        kept = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise InputError(f"{path}: is no TOML ({error})") from None
    if "estimator" not in kept and "learn" not in kept:
        return {"kind": "TOML, but no recipe: it has no key estimator", "keys": list(kept)}
    presets = list(kept.pop("presets", {}))
    classes = [str(one.get("name", "")) for one in kept.pop("class", kept.pop("basis", []))]
    named = {"presets": presets, "classes": classes}
    return {"kind": "recipe", **kept, **{key: value for key, value in named.items() if value}}


def _maps(path: Path) -> Facts:
    """Maps of ``zspec calibrate``."""
    from zspec.calibration.table import read_maps

    maps = read_maps(path)
    return {"kind": "maps of zspec calibrate", "classes": list(maps)}


READERS: Mapping[str, Callable[[Path], Facts]] = {
    ".safetensors": _checkpoint,
    ".toml": _recipe,
    ".json": _maps,
    ".csv": _table,
    ".ecsv": _table,
    ".parquet": _table,
}
"""How a file is read, by the end of its name; all others are FITS."""
