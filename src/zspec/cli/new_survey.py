"""``zspec new-survey``: the package of a survey of your own, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_survey(
    name: Annotated[str, typer.Argument(help="Of the survey, as WEAVE: letters, digits, _.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; else zspec-NAME."),
    ] = None,
) -> None:
    """Write a package that adds a survey: adapter, contract tests, demo, pyproject.

    It passes its tests as it stands, for a simple data model; its README says what to change.

        zspec new-survey WEAVE
    """
    from zspec import plugins, skeleton
    from zspec.cli import terminal

    words = skeleton.slots(name)
    folder = output or Path(words["DIST"])
    for path in skeleton.write(name, folder, plugins.surveys().found):
        terminal.say(f"written  {path}")
    terminal.say(f"next     cd {folder} && pip install -e '.[test]' && pytest")
