"""``zspec info``: what a file is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from zspec.survey import Arm, Spectra


def info(
    files: Annotated[list[Path], typer.Argument(help="Spectra, catalogues or checkpoints.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what each file is: spectra of a survey, a catalogue of zspec, or a checkpoint."""
    from zspec.cli import terminal
    from zspec.errors import ZspecError

    found: list[dict[str, Any]] = []
    for file in files:
        try:
            found.append(describe(file))
        except ZspecError as error:
            found.append({"file": str(file), "error": str(error)})
    if json:
        terminal.say_json(found)
    else:
        for item in found:
            _show(item)
    if any("error" in item for item in found):
        raise typer.Exit(1 if len(found) > 1 else 2)


def describe(path: Path) -> dict[str, Any]:
    """What a file is, as plain values. Raises ZspecError where it is nothing that zspec knows."""
    from zspec import catalog, checkpoint
    from zspec.cli.summary import summarise
    from zspec.fits import open_fits

    if path.suffix == ".safetensors":
        return {"file": str(path), "kind": "checkpoint", **checkpoint.metadata(path)}
    with open_fits(path) as handle:
        ours = handle.has("REDSHIFTS") and "ZSPECVER" in handle.header(0)
    if ours:
        made = catalog.read(path)
        cards = {key: str(value) for key, value in made.header.items()}
        return {
            "file": str(path),
            "kind": "catalogue",
            "header": cards,
            "summary": summarise(made, str(path)),
        }
    return spectra(path)


def spectra(path: Path) -> dict[str, Any]:
    """What a file of spectra holds. Raises InputError where no survey recognises it."""
    from zspec import sources
    from zspec.sources import Source

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
    return {
        "file": str(path),
        "kind": "spectra",
        "survey": survey.name,
        "title": survey.title,
        **counts,
        "arms": list(arms),
        "passed through": sorted(passed),
    }


def _with_data(part: Spectra) -> int:
    import numpy as np

    return int(np.any([arm.usable.any(axis=1) for arm in part.arms], axis=0).sum())


def _labelled(part: Spectra) -> int:
    return 0 if part.truth is None else int((part.truth.spectype != "").sum())


def _arm(arm: Arm) -> str:
    """One line on an arm."""
    lsf = "no LSF" if arm.resolution is None else "with LSF"
    size = f"{len(arm.wave)} pixels, {arm.wave[0]:.1f} to {arm.wave[-1]:.1f} Å"
    return f"{arm.name}: {size}, {lsf}"


def _show(item: dict[str, Any]) -> None:
    """Print one description."""
    import sys

    from zspec.cli import terminal
    from zspec.cli.summary import show

    if "error" in item:
        sys.stderr.write(f"zspec: error: {terminal.clean(item['error'])}\n")
        return
    terminal.say(f"{item['file']}: {item['kind']}")
    for key, value in item.items():
        if key in ("file", "kind", "summary"):
            continue
        lines = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            lines = [f"{k} = {v}" for k, v in value.items()]
        terminal.say(f"  {key}: " + "\n    ".join(map(str, lines)))
    if "summary" in item:
        show(item["summary"], False)
