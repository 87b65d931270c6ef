"""``zspec train``: learn a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zspec.cli import completion


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a recipe that ships, or a TOML file.", autocompletion=completion.recipes
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")],
    data: Annotated[
        Path, typer.Option(help="Folder that the recipe's paths are relative to.")
    ] = Path(),
    preset: Annotated[
        list[str] | None, typer.Option(help="Preset of the recipe; may be repeated.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="table.key=value in place of the recipe's; may be repeated."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Fine-tune this checkpoint: a file, a shipped name, or 'default'.",
            autocompletion=completion.models,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Learn a model as a recipe says, and write its checkpoint.

    A training that was interrupted goes on where it stood, if its estimator can do that. How far it
    is goes to stderr where that is a terminal, and with zspec -v train always.

        zspec train likelihood --data ../shared -o likelihood.safetensors
        zspec train gasnet2-sdss --data spectra --preset coarse -o coarse.safetensors
        zspec train zspec --init default --data labelled -o mine.safetensors
        zspec train mine.toml --set train.epochs=20 --set network.width=0.5 -o mine.safetensors
    """
    from zspec import checkpoint, training
    from zspec.cli import terminal
    from zspec.cli.models import describe_figures
    from zspec.errors import ConfigError

    if output.suffix != ".safetensors":
        raise ConfigError(f"{output}: a checkpoint's name ends in .safetensors")
    chosen = training.find_recipe(recipe, preset or [], setting or [])
    if init is not None:
        chosen["init"] = init
    if "seed" in chosen:
        terminal.say(f"seed        {chosen['seed']}")
    try:
        training.train(chosen, data, output, overwrite)
    except KeyboardInterrupt:
        kept = output.with_suffix(".training")
        if kept.is_dir():
            terminal.say(f"kept        {kept}: the same command goes on from there")
        raise
    terminal.say(f"checkpoint  {output}")
    made = checkpoint.metadata(output)
    if tuned := made.get("finetuned"):
        terminal.say(f"kept        {tuned['kept']}, of {tuned['objects']} labelled spectra")
    if told := describe_figures(made.get("figures", {})):
        terminal.say(f"figures     {told}")
