"""``zspec calibrate``: uncertainties that mean what they say, from redshifts that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zspec.cli.against import Match, Truth, TruthAll, Zerr, Ztrue, truth_frame

if TYPE_CHECKING:
    from zspec.calibration.table import Coverage


def calibrate(
    catalogue: Annotated[Path, typer.Argument(help="Catalogue to learn from, or to calibrate.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File of maps (.json), or with --map a catalogue."),
    ],
    truth: Truth = None,
    match: Match = None,
    truth_all: TruthAll = False,
    zerr: Zerr = None,
    ztrue: Ztrue = None,
    method: Annotated[str, typer.Option(help="beta, temperature or isotonic.")] = "beta",
    knots: Annotated[
        int, typer.Option(min=0, help="More than 1: the map depends on SNR, with so many knots.")
    ] = 0,
    map_: Annotated[
        Path | None, typer.Option("--map", help="Calibrate the catalogue with this file of maps.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Learn maps of ZERR from true redshifts, one a class; or use them on another catalogue.

    zspec calibrate labelled.zspec.fits --truth truth.fits -o maps.json
    zspec calibrate tonight.zspec.fits --map maps.json -o tonight.calibrated.fits
    """
    from zspec.errors import OutputError

    if output.exists() and not overwrite:
        raise OutputError(f"{output}: exists; replace it with --overwrite")
    if map_ is not None:
        use(catalogue, map_, output, overwrite)
        return
    from dataclasses import asdict
    from typing import cast

    from zspec.calibration.maps import Method
    from zspec.calibration.table import learn_maps, write_maps
    from zspec.cli import terminal
    from zspec.evaluation.frame import open_frame
    from zspec.evaluation.sample import Choice, Columns, assemble

    columns = Columns(sigma=zerr, z_true=ztrue)
    against = truth_frame(truth)
    sample = assemble(
        open_frame(catalogue), against, columns, Choice(on=match, truth_all=truth_all)
    )
    maps, found = learn_maps(sample, cast(Method, method), knots)
    meta = {"catalogue": catalogue.name, "truth": truth.name if truth else None}
    write_maps(output, maps, meta)
    if json:
        terminal.say_json({"output": str(output), "coverage": [asdict(row) for row in found]})
    else:
        show(found)
        terminal.say(f"maps  {output}")


def use(catalogue: Path, maps: Path, output: Path, overwrite: bool) -> None:
    """Write a catalogue with calibrated ZERR and ZCONF."""
    from zspec import catalog
    from zspec.calibration.table import apply_maps, read_maps
    from zspec.cli import terminal

    known = read_maps(maps)
    made = catalog.read(catalogue)
    catalog.check_output(output, [str(catalogue)], overwrite)
    count = apply_maps(made, known)
    made.header["CALIBMAP"] = maps.name
    catalog.write(made, output)
    terminal.say(f"{count} of {len(made.redshifts)} rows calibrated  {output}")


def show(found: list[Coverage]) -> None:
    """Coverage before and after, class by class."""
    from zspec.calibration.table import SHARES
    from zspec.cli import terminal

    heads = [f"#{when} {100 * share:.0f} %" for when in ("before", "after") for share in SHARES]
    table = terminal.grid("class", "#n", *heads, "#ZERR times", title="coverage")
    for row in found:
        shares = [f"{100 * value:.1f}" for value in (*row.before, *row.after)]
        terminal.row(table, row.label, row.n, *shares, f"{row.widening:.3g}")
    terminal.stdout.print(table)
