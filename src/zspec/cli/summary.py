"""What ``predict`` and ``info`` say of a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zspec import flags
from zspec.cli import terminal

if TYPE_CHECKING:
    from zspec.catalog import Catalog


def summarise(made: Catalog, path: str, seconds: float | None = None) -> dict[str, Any]:
    """Objects by class and by flag, failures and rate, as plain values for a table or JSON."""
    rows = made.redshifts
    zwarn = np.asarray(rows["ZWARN"])
    calibrated, partial = (_card(made, name) for name in ("CALIB", "PARTIAL"))
    return {
        "catalogue": path,
        "spectra": len(rows),
        "zwarn_0": int((zwarn == 0).sum()),
        "classes": [_class(rows, name) for name in sorted(set(rows["SPECTYPE"].tolist()) - {""})],
        "flags": _flags(zwarn),
        "calibrated": calibrated,
        "partial": partial,
        "seconds": None if seconds is None else round(seconds, 2),
        "failures": [{"file": file, "error": error} for file, error in made.failures],
    }


def _card(made: Catalog, name: str) -> bool:
    """A header card that is true or false; false where it is missing."""
    value = made.header.get(name, False)
    return bool(value[0] if isinstance(value, tuple) else value)


def _class(rows: Any, name: str) -> dict[str, Any]:
    """Counts and the redshift range of one SPECTYPE."""
    mine = rows[rows["SPECTYPE"] == name]
    good = mine[mine["ZWARN"] == 0]
    z = np.asarray(good["Z"], float)
    low, mid, high = np.percentile(z, [0, 50, 100]).tolist() if len(z) else (None, None, None)
    return {
        "class": name,
        "spectra": len(mine),
        "zwarn_0": len(good),
        "z_min": low,
        "z_median": mid,
        "z_max": high,
    }


def _flags(zwarn: np.ndarray[Any, Any]) -> dict[str, int]:
    """Number of rows per bit that any row has."""
    counts: dict[str, int] = {}
    for value in zwarn.tolist():
        for name in flags.names(value):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def show(summary: dict[str, Any], as_json: bool) -> None:
    """Print a summary on stdout."""
    if as_json:
        terminal.say_json(summary)
        return
    terminal.say(f"catalogue  {summary['catalogue']}")
    rate = ""
    if summary["seconds"]:
        speed = summary["spectra"] / summary["seconds"]
        rate = f" in {summary['seconds']:.1f} s ({speed:.1f}/s)"
    if summary["partial"]:
        terminal.say("partial    interrupted: not all inputs are in it")
    terminal.say(f"spectra    {summary['spectra']}{rate}, {summary['zwarn_0']} with ZWARN 0")
    if not summary["calibrated"]:
        terminal.say("calibrated no: PROB is as the model gives it, and ZCONF is NaN")
    _show_classes(summary)
    _show_flags(summary)
    if summary["failures"]:
        number = len(summary["failures"])
        terminal.say(f"\n{number} file{'s' * (number > 1)} could not be read:")
        for failure in summary["failures"]:
            terminal.say(f"  {failure['error']}")


def _show_classes(summary: dict[str, Any]) -> None:
    table = terminal.grid("class", "#spectra", "#ZWARN 0", "#their z min", "#median", "#max")
    for item in summary["classes"]:
        z = [item[k] for k in ("z_min", "z_median", "z_max")]
        cells = ["" if v is None else f"{v:.4f}" for v in z]
        terminal.row(table, item["class"], item["spectra"], item["zwarn_0"], *cells)
    terminal.stdout.print()
    terminal.stdout.print(table)


def _show_flags(summary: dict[str, Any]) -> None:
    if not summary["flags"]:
        return
    sentences = {f.name: text for f, text in flags.SENTENCES.items()}
    table = terminal.grid("flag", "#spectra", "meaning")
    for name, count in summary["flags"].items():
        terminal.row(table, name, count, sentences.get(name, "A bit that zspec does not set."))
    terminal.stdout.print()
    terminal.stdout.print(table)
