"""``zspec merge``: one catalogue of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.cli.session import command_line
from zspec.cli.summary import Tally, show


def merge(
    catalogues: Annotated[
        list[Path], typer.Argument(help="Catalogues of zspec, or shards of an unfinished run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Catalogue to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write one catalogue of several, in their order and in constant memory.

    All must be of one model, of the same options and the same zspec, and no file may be in two.

        zspec merge tile-*.zspec.fits -o night.fits
    """
    from zspec import catalog, merging
    from zspec.errors import InputError

    for path in catalogues:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    catalog.check_output(output, [str(path) for path in catalogues], overwrite)
    tally = Tally()
    merged = merging.merge(catalogues, output, command_line(), tally.add)
    failures = {one.file: one.error for one in reversed(merged.done) if one.error}
    show(tally.summary(str(output), merged.calibrated, list(reversed(failures.items()))), json)
