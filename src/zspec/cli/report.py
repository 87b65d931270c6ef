"""``zspec report``: the metrics of a catalogue with pictures, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.cli.evaluate import (
    Class,
    ClassTrue,
    Coarse,
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


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    catalogue: Annotated[
        Path | None, typer.Argument(help="Catalogue; else the newest of DIR, or of this folder.")
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
    interval: Interval = 68.0,
    replicates: Replicates = 1000,
    seed: Seed = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that zspec did not write.")
    ] = False,
) -> None:
    """Write DIR/index.html, a page with all metrics and plots inside, and the plots as PNGs.

    zspec report report/ zcat.fits --truth truth.fits
    """
    from zspec import report as pictures
    from zspec.cli import terminal
    from zspec.evaluation.document import document
    from zspec.evaluation.inputs import catalogues as finished
    from zspec.evaluation.sample import Columns, assemble
    from zspec.metrics import METRICS, parse_thresholds
    from zspec.report.style import require

    require()  # before any work is done
    pictures.check(folder, overwrite)
    here = folder if any(finished(folder)) else Path()
    frame = catalogues([catalogue] if catalogue else [], here)[0]
    columns = Columns(z, zerr, ztrue, class_, class_true, snr, mag, object_)
    against = truth_frame(truth)
    sample = assemble(frame, against, columns, choice(match, good, coarse, robust, truth_all))
    wanted = settings(list(METRICS), parse_thresholds(thr or []), interval, replicates, seed)
    made = pictures.draw(sample, wanted)
    facts = {
        "truth": against.name if against else None,
        **document(frame.name, sample, wanted),
    }
    path = pictures.write(folder, f"zspec report: {Path(frame.name).name}", facts, made, overwrite)
    terminal.say(f"{path}: {len(made.pictures)} plots, {len(made.left_out)} left out")
    for title, reason in made.left_out:
        terminal.say(f"  left out: {title}: {reason}")
