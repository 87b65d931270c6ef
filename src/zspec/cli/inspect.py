"""``zspec inspect``: one page to look at the spectra of a catalogue, and to say what is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zspec.inspection import Target

MANY = 5000
"""Spectra above which a page grows heavy for a browser: said, and done all the same."""


def inspect(
    catalogue: Annotated[Path, typer.Argument(help="Catalogue of zspec.")],
    spectra: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of its spectra; else where column FILE says."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Page to write; else CATALOGUE.html."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Likelihood that computes the models, or none.")
    ] = "likelihood",
    models: Annotated[
        int, typer.Option(min=1, max=6, help="Models of each spectrum, by rank.")
    ] = 3,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only rows with a flag.")] = False,
    spectype: Annotated[
        str | None, typer.Option("--class", help="Only GALAXY, QSO or STAR.")
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=1, help="Only so many rows, the first that fit.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Leave out what the input says is the truth.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing page.")] = False,
) -> None:
    """Write one HTML page for visual inspection: it needs a browser, and no network.

    A list with filters, each spectrum with its candidates' models, a redshift slider with lines,
    and keys for class, quality and comment (press ?). What is saved there as CSV is a truth for
    zspec evaluate --truth.

        zspec inspect zcat.fits -o page.html
        zspec inspect zcat.fits spectra/ --flagged -o flagged.html
    """
    from zspec import catalog
    from zspec.cli import terminal
    from zspec.cli.plot import select, stem
    from zspec.errors import OutputError
    from zspec.inspection import gather, page
    from zspec.inspection.models import modelled

    page.require()
    path = output or Path(f"{stem(catalogue)}.html")
    if path.resolve() == catalogue.resolve():
        raise OutputError(f"{path}: is the catalogue; choose another name with -o")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; replace it with --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it, or choose another with -o")
    made = catalog.read(catalogue)
    rows = select(made, catalogue, [], [], spectype, flagged)[:first]
    if len(rows) > MANY:
        terminal.note(f"{len(rows)} spectra on one page: a browser may be slow; --flagged, --first")
    targets = modelled(gather(catalogue, rows, spectra or []), model, models)
    text = page.page(_progress(_blinded(targets, blind), len(rows)), catalogue.name)
    page.write(text, path)
    size = len(text.encode()) / 1e6
    terminal.say(f"written  {path}: {len(rows)} spectra, {size:.1f} MB")


def _blinded(targets: Iterable[Target], blind: bool) -> Iterator[Target]:
    """The targets, without the truth where that is wanted."""
    from dataclasses import replace

    for target in targets:
        if blind:
            row = {k: v for k, v in target.row.items() if k not in ("Z_TRUE", "CLASS_TRUE")}
            yield replace(target, row=row)
        else:
            yield target


def _progress(targets: Iterable[Target], total: int) -> Iterator[Target]:
    """The targets, with a bar on stderr where that is a terminal."""
    from rich.progress import track

    from zspec.cli.terminal import interactive, stderr

    yield from track(
        targets, "spectra", total, console=stderr, transient=True, disable=not interactive()
    )
