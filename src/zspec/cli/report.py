"""``zspec report``: the metrics of a catalogue with pictures, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.cli.evaluate import (
    Class,
    ClassTrue,
    Coarse,
    Given,
    Good,
    Interval,
    Mag,
    Match,
    Object,
    Replicates,
    Robust,
    Seed,
    Snr,
    Thr,
    Truth,
    TruthAll,
    Z,
    Zerr,
    Ztrue,
    catalogues,
    choice,
    settings,
    truth_frame,
)
from zspec.cli.plot import stem


def report(
    catalogue: Annotated[
        Path | None, typer.Argument(help="Catalogue; else the newest of this folder.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write [default: CATALOGUE-report]."),
    ] = None,
    truth: Truth = None,
    truth_all: TruthAll = False,
    thr: Thr = None,
    match: Match = None,
    z: Z = None,
    zerr: Zerr = None,
    ztrue: Ztrue = None,
    class_: Class = None,
    class_true: ClassTrue = None,
    snr: Snr = None,
    mag: Mag = None,
    object_: Object = None,
    good: Good = False,
    coarse: Coarse = None,
    robust: Robust = None,
    given_class: Given = False,
    interval: Interval = 68.0,
    replicates: Replicates = 1000,
    seed: Seed = 0,
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
    from zspec.evaluation.sample import Columns, assemble
    from zspec.metrics import METRICS, parse_thresholds
    from zspec.report.style import require

    require()  # before any work is done
    frame = catalogues([catalogue] if catalogue else [])[0]
    folder = output or Path(f"{stem(Path(frame.name))}-report")
    pictures.check(folder, overwrite)
    columns = Columns(z, zerr, ztrue, class_, class_true, snr, mag, object_)
    against = truth_frame(truth)
    chosen = choice(match, good, coarse, robust, truth_all, given_class)
    sample = assemble(frame, against, columns, chosen)
    wanted = settings(list(METRICS), parse_thresholds(thr or []), interval, replicates, seed)
    made = pictures.draw(sample, wanted)
    facts = {
        "truth": against.name if against else None,
        **document(frame.name, sample, wanted),
    }
    path = pictures.write(folder, f"zspec report: {Path(frame.name).name}", facts, made, overwrite)
    terminal.say(f"written  {path}: {len(made.pictures)} plots, {len(made.left_out)} left out")
    for title, reason in made.left_out:
        terminal.say(f"  left out: {title}: {reason}")
