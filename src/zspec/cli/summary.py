"""What ``predict`` and ``info`` say of a catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zspec.catalog import Catalog


Z_DIGITS = 4
"""Decimals of the redshifts that a summary shows: what it counts does not grow with the rows."""


class Tally:
    """Counts rows of REDSHIFTS by class and by flag, as they come."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self._spectra = 0
        self._classes: Counter[str] = Counter()
        self._flags: Counter[int] = Counter()
        self._good: dict[str, Counter[float]] = {}

    def add(self, rows: Any) -> None:
        """Count rows: a structured array or a table."""
        import numpy as np

        self._spectra += len(rows)
        zwarn = np.asarray(rows["ZWARN"])
        kinds = np.asarray(rows["SPECTYPE"]).astype("U")
        self._classes.update(kinds.tolist())
        self._flags.update(zwarn.tolist())
        z = np.round(np.asarray(rows["Z"], float), Z_DIGITS)
        for kind in set(kinds.tolist()) - {""}:
            good = self._good.setdefault(kind, Counter())
            good.update(z[(kinds == kind) & (zwarn == 0)].tolist())

    def summary(
        self,
        path: str,
        calibrated: bool,
        failures: list[tuple[str, str]],
        seconds: float | None = None,
        stages: Mapping[str, float] | None = None,
        kept: int = 0,
    ) -> dict[str, Any]:
        """All counts, failures and times, as plain values for a table or JSON.

        ``kept`` of the spectra are from an earlier run.
        """
        return {
            "catalogue": path,
            "spectra": self._spectra,
            "kept": kept,
            "zwarn_0": self._flags[0],
            "classes": [self._class(name) for name in sorted(self._good)],
            "flags": self._named(),
            "calibrated": calibrated,
            "seconds": None if seconds is None else round(seconds, 2),
            "stages": {name: round(spent, 2) for name, spent in (stages or {}).items()},
            "failures": [{"file": file, "error": error} for file, error in failures],
        }

    def _class(self, name: str) -> dict[str, Any]:
        """Counts and the redshift range of one SPECTYPE."""
        good = self._good[name]
        low, mid, high = (min(good), _median(good), max(good)) if good else (None, None, None)
        return {
            "class": name,
            "spectra": self._classes[name],
            "zwarn_0": good.total(),
            "z_min": low,
            "z_median": mid,
            "z_max": high,
        }

    def _named(self) -> dict[str, int]:
        """Number of rows per bit that any row has."""
        from zspec import flags

        counts: Counter[str] = Counter()
        for value, rows in self._flags.items():
            for name in flags.names(value):
                counts[name] += rows
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _median(counts: Counter[float]) -> float:
    """The middle value of counted ones, or between the two in the middle."""
    half, seen, low = counts.total() / 2, 0, None
    for value in sorted(counts):
        seen += counts[value]
        if low is not None:
            return (low + value) / 2
        if seen > half:
            return value
        if seen == half:
            low = value
    raise ValueError("nothing was counted")


def summarise(made: Catalog, path: str) -> dict[str, Any]:
    """The summary of a catalogue in memory."""
    tally = Tally()
    tally.add(made.redshifts)
    return tally.summary(path, bool(made.header.get("CALIB", False)), made.failures)


def show(summary: dict[str, Any], as_json: bool) -> None:
    """Print a summary on stdout."""
    from zspec.cli import terminal

    if as_json:
        terminal.say_json(summary)
        return
    terminal.say(f"catalogue  {summary['catalogue']}")
    rate = ""
    if summary["seconds"]:
        speed = (summary["spectra"] - summary["kept"]) / summary["seconds"]
        earlier = f", {summary['kept']} of an earlier run" if summary["kept"] else ""
        rate = f" in {summary['seconds']:.1f} s ({speed:.1f}/s{earlier})"
    terminal.say(f"spectra    {summary['spectra']}{rate}, {summary['zwarn_0']} with ZWARN 0")
    if summary["stages"]:
        spent = [f"{name} {seconds:.1f}" for name, seconds in summary["stages"].items() if seconds]
        terminal.say(f"seconds    {', '.join(spent)}")
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
    from zspec.cli import terminal

    table = terminal.grid("class", "#spectra", "#ZWARN 0", "#their z min", "#median", "#max")
    for item in summary["classes"]:
        z = [item[k] for k in ("z_min", "z_median", "z_max")]
        cells = ["" if v is None else f"{v:.4f}" for v in z]
        terminal.row(table, item["class"], item["spectra"], item["zwarn_0"], *cells)
    terminal.stdout.print()
    terminal.stdout.print(table)


def _show_flags(summary: dict[str, Any]) -> None:
    from zspec.cli import terminal

    if not summary["flags"]:
        return
    from zspec import flags

    sentences = {f.name: text for f, text in flags.SENTENCES.items()}
    table = terminal.grid("flag", "#spectra", "meaning")
    for name, count in summary["flags"].items():
        terminal.row(table, name, count, sentences.get(name, "A bit that zspec does not set."))
    terminal.stdout.print()
    terminal.stdout.print(table)
