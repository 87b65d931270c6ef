"""``zspec plot``: spectra with their models, lines, p(z) and flags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.catalog import Catalog

MOST = 200
"""Most spectra of one picture, so that a large catalogue is not drawn by mistake."""


def plot(
    catalogue: Annotated[Path, typer.Argument(help="Catalogue of zspec.")],
    spectra: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of its spectra; else where column FILE says."),
    ] = None,
    target: Annotated[
        list[int] | None, typer.Option("--target", "-t", help="TARGETID; may be repeated.")
    ] = None,
    row: Annotated[
        list[int] | None, typer.Option(help="Row of the catalogue, from 0; may be repeated.")
    ] = None,
    spectype: Annotated[
        str | None, typer.Option("--class", help="Only GALAXY, QSO or STAR.")
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only rows with a flag.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture to write, PNG or PDF.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="A page for each, where there are several.")
    ] = False,
    smooth: Annotated[
        float | None,
        typer.Option(min=0, help="Sigma in pixels; else 2 where the SNR is below 20, and 0."),
    ] = None,
    wave: Annotated[
        str | None, typer.Option(help="First and last wavelength, Å, as 6000,7000.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Likelihood that computes the models, or none.")
    ] = "likelihood",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing picture.")] = False,
) -> None:
    """Draw spectra with their error, best model, runner-up, lines, p(z), and flags in words.

    p(z) is that of HDU ZPDF (zspec predict --zpdf). Models are computed here, near the redshifts
    of the catalogue, whichever model found these.

        zspec plot zcat.fits --target 39633345008634465
        zspec plot zcat.fits spectra/ --flagged --class QSO -o flagged.pdf
    """
    from zspec import catalog, plotting
    from zspec.cli import terminal
    from zspec.inspection import gather
    from zspec.inspection.models import modelled
    from zspec.plotting import output as files
    from zspec.report.style import require

    require()
    made = catalog.read(catalogue)
    rows = select(made, catalogue, target or [], row or [], spectype, flagged)
    if len(rows) > MOST:
        raise ConfigError(
            f"{catalogue}: {len(rows)} rows, and a picture holds {MOST}; choose some with "
            "--target, --row, --class or --flagged, or look at all with 'zspec inspect'"
        )
    path = output or default_output(made, catalogue, rows)
    files.check(path, overwrite)
    view = plotting.View(smooth, parse_span(wave))
    targets = modelled(gather(catalogue, rows, spectra or []), model, most=2)
    figures = plotting.pages(targets, view, each or len(rows) == 1)
    for written in plotting.save(figures, path, overwrite):
        terminal.say(f"written  {written}")


def select(
    made: Catalog,
    path: Path,
    targets: list[int],
    rows: list[int],
    spectype: str | None,
    flagged: bool,
) -> list[int]:
    """Rows that fit all that is asked, from 0. Raises ConfigError where none is left."""
    import numpy as np

    known = made.redshifts
    ids, zwarn = np.asarray(known["TARGETID"]), np.asarray(known["ZWARN"])
    for one in targets:
        if one not in ids:
            raise ConfigError(f"{path}: has no TARGETID {one}")
    for one in rows:
        if not 0 <= one < len(known):
            raise ConfigError(f"{path}: has rows 0 to {len(known) - 1}, but no row {one}")
    keep = np.ones(len(known), bool)
    if targets or rows:
        keep = np.isin(ids, targets) | np.isin(np.arange(len(known)), rows)
    if spectype:
        keep &= np.asarray(known["SPECTYPE"]) == spectype.upper()
    if flagged:
        keep &= zwarn != 0
    found = np.flatnonzero(keep).tolist()
    if not found:
        raise ConfigError(f"{path}: no row is left; ask for less")
    return found


def default_output(made: Catalog, catalogue: Path, rows: list[int]) -> Path:
    """A PNG in this folder, named after the catalogue and, where it is one, the spectrum."""
    if len(rows) > 1:
        return Path(f"{stem(catalogue)}.png")
    return Path(f"{stem(catalogue)}-{int(made.redshifts['TARGETID'][rows[0]])}.png")


def stem(catalogue: Path) -> str:
    """A catalogue's name without its endings.

    >>> stem(Path("night/coadd.zspec.fits.gz"))
    'coadd'
    """
    return catalogue.name.removesuffix(".gz").removesuffix(".fits").removesuffix(".zspec")


def parse_span(text: str | None) -> tuple[float, float] | None:
    """``6000,7000`` as numbers. Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 < low < high < float("inf"):
        raise ConfigError(f"--wave {text}: expected two wavelengths in Å, as 6000,7000")
    return low, high
