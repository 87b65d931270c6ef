"""``zspec report``: the metrics of a catalogue with pictures, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.cli.against import Against, spread
from zspec.cli.evaluate import catalogues
from zspec.cli.plot import stem


@spread
def report(
    catalogue: Annotated[
        Path | None, typer.Argument(help="Catalogue; else the newest of this folder.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; else CATALOGUE-report."),
    ] = None,
    *,
    against: Against,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that zspec did not write.")
    ] = False,
) -> None:
    """Write a folder: index.html with all metrics and plots inside, and the plots as PNGs.

    zspec report zcat.fits
    zspec report zcat.fits --truth truth.fits -o report/
    """
    from zspec import report as pictures
    from zspec.cli import terminal
    from zspec.evaluation.document import document
    from zspec.evaluation.sample import assemble
    from zspec.metrics import METRICS
    from zspec.report.style import require

    require()  # before any work is done
    frame = catalogues([catalogue] if catalogue else [])[0]
    folder = output or Path(f"{stem(Path(frame.name))}-report")
    pictures.check(folder, overwrite)
    truth = against.frame()
    sample = assemble(frame, truth, against.columns(), against.choice())
    wanted = against.settings(list(METRICS))
    made = pictures.draw(sample, wanted)
    facts = {"truth": truth.name if truth else None, **document(frame.name, sample, wanted)}
    path = pictures.write(folder, f"zspec report: {Path(frame.name).name}", facts, made, overwrite)
    terminal.say(f"written  {path}: {len(made.pictures)} plots, {len(made.left_out)} left out")
    for title, reason in made.left_out:
        terminal.say(f"  left out: {title}: {reason}")
