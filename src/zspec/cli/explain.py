"""``zspec explain``: which wavelengths decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.errors import ConfigError

MOST = 20
"""Most panels of a picture."""


def explain(
    file: Annotated[Path, typer.Argument(help="File with spectra.", readable=False)],
    model: Annotated[str, typer.Option(help="Model with networks, or a .safetensors file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write; a .fits holds the numbers.")
    ],
    rows: Annotated[str, typer.Option(help="Rows of the file, from 0, as 0,3,7.")] = "0",
    survey: Annotated[
        str | None,
        typer.Option(help="Adapter that reads it; left out, the one that recognises the file."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--survey-option", "-S", help="key=value; see 'zspec surveys -v'."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Draw how class and redshift react to each pixel: |dP/dλ| and |dz/dλ|.

    zspec explain spPlate-0266-51602.fits --rows 0,5 --model gasnet2-sdss -o why.png
    """
    from zspec import catalog, checkpoint, sources
    from zspec import device as devices
    from zspec.cli import terminal
    from zspec.cli.predict import parse_options
    from zspec.estimators.gasnet2 import GasNet2
    from zspec.gasnet2 import gradients
    from zspec.plotting import output as pictures

    wanted = parse_rows(rows)
    if output.suffix == ".fits":
        catalog.check_output(output, [file], overwrite)
    else:
        pictures.check(output, overwrite)
    estimator = checkpoint.load_estimator(model, devices.resolve(device))
    if not isinstance(estimator, GasNet2):
        raise ConfigError(f"model {model!r} is of {estimator.name}; one of gasnet2 is needed")
    source = sources.Source(file, survey, parse_options(option or []))
    found = gradients.gradients(estimator, gradients.pick(source, wanted))
    titles = [f"{file.name}, row {row}" for row in wanted]
    if output.suffix == ".fits":
        gradients.write(output, estimator, found, wanted)
    else:
        gradients.draw(output, estimator, found, titles)
    for i, title in enumerate(titles):
        name = estimator.classes[found.best[i]].name
        terminal.say(f"{title}  {name}  P {found.prob[i]:.3f}  z {found.z[i]:.5f}")
    terminal.say(f"written  {output}")


def parse_rows(text: str) -> list[int]:
    """``0,3,7`` as numbers. Raises ConfigError for anything else, and for too many."""
    try:
        rows = sorted({int(part) for part in text.split(",")})
    except ValueError:
        rows = []
    if not rows or rows[0] < 0 or len(rows) > MOST:
        raise ConfigError(f"--rows {text}: expected up to {MOST} row numbers from 0, as 0,3,7")
    return rows
