"""``zspec train``: learn a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe that ships, or a TOML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")],
    data: Annotated[
        Path, typer.Option(help="Folder that the recipe's paths are relative to.")
    ] = Path(),
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Learn a model as a recipe says, and write its checkpoint.

    zspec train likelihood --data ../shared -o likelihood.safetensors
    """
    from zspec import training
    from zspec.cli import terminal

    training.train(training.find_recipe(recipe), data, output, overwrite)
    terminal.say(f"checkpoint  {output}")
