"""``zspec info``: what a file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

LONG = 300
"""Characters of a value that are shown; --json has all."""
WITHIN = 110
"""Characters of a value within another one."""


def info(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Spectra, catalogues, truths, checkpoints, recipes, folders, or URLs of files."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what each file is, and what it holds.

    Spectra of any survey, catalogues of zspec and of other tools, tables with a truth, checkpoints,
    recipes, maps of zspec calibrate; and of a folder, how many files of which kind are in it.

    Exit status: 0; 1 if some of several files are nothing that zspec knows, 2 if the only one is.

    zspec info coadd.fits zcat.fits
    zspec info spectra/ --json
    """
    from zspec.cli import terminal
    from zspec.errors import ZspecError

    found: list[dict[str, Any]] = []
    for file in files:
        try:
            found += _facts(file)
        except ZspecError as error:
            found.append({"file": file, "error": str(error)})
    if json:
        terminal.say_json(found)
    else:
        for item in found:
            show(item)
    if any("error" in item for item in found):
        raise typer.Exit(1 if len(found) > 1 else 2)


def _facts(file: str) -> list[dict[str, Any]]:
    """What a file is, or each that a URL names. Raises ZspecError where it is nothing known."""
    from zspec import remote
    from zspec.cli import about

    if not remote.is_url(file):
        return [about.describe(Path(file))]
    found = []
    for url in remote.find(file):
        with remote.fetched(url) as local:
            found.append({**about.describe(local), "file": str(url)})
    return found


def show(item: Mapping[str, Any]) -> None:
    """Print one description."""
    import sys

    from zspec.cli import summary, terminal

    if "error" in item:
        sys.stderr.write(f"zspec: error: {terminal.clean(item['error'])}\n")
        return
    terminal.say(f"{item['file']}: {item['kind']}")
    for key, value in item.items():
        if key not in ("file", "kind", "summary"):
            terminal.say(f"  {key}: {words(value)}")
    if "summary" in item:
        terminal.stdout.print()
        summary.show(item["summary"], False)


def words(value: Any) -> str:
    r"""A value in words: a table line by line, a list in one line; what is long is cut.

    >>> words(["a", 1]), words({"a": 1, "b": [2, 3]})
    ('a, 1', '\n    a = 1\n    b = 2, 3')
    """
    if isinstance(value, Mapping):
        return "".join(f"\n    {key} = {_brief(one, WITHIN)}" for key, one in value.items())
    return _brief(value, LONG)


def _brief(value: Any, most: int) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters; --json)"
