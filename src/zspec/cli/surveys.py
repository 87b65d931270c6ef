"""``zspec surveys``: what can be read, and by whom."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from zspec.survey import Survey


def surveys(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Options, arms, patterns and links too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the surveys that zspec reads, and plugins that failed to load.

    zspec surveys -v
    """
    from zspec import plugins
    from zspec.cli import terminal

    offers = plugins.surveys()
    failures = plugins.load().failures
    if json:
        terminal.say_json(
            {
                "surveys": [describe(s) for s in plugins.installed().values()],
                "clashes": offers.clashes,
                "failures": [dataclasses.asdict(f) for f in failures],
            }
        )
        return
    table = terminal.grid("survey", "title", "arms", "from")
    for name, survey in plugins.installed().items():
        terminal.row(table, name, survey.title, " ".join(survey.arms), offers.found[name][1])
    for name, both in offers.clashes.items():
        terminal.row(table, name, f"offered by {' and '.join(both)}", "", "", style="red")
    for failure in failures:
        terminal.row(table, failure.plugin, failure.cause, "", failure.distribution, style="red")
    terminal.stdout.print(table)
    if verbose:
        for survey in plugins.installed().values():
            _details(survey)


def describe(survey: Survey) -> dict[str, Any]:
    """The declarations of a survey as plain values."""
    from zspec.survey import option_help

    texts = option_help(survey.Options)
    return {
        "name": survey.name,
        "title": survey.title,
        "url": survey.url,
        "reference": survey.reference,
        "medium": survey.medium,
        "frame": survey.frame,
        "arms": list(survey.arms),
        "channels": list(survey.channels),
        "classes": list(survey.classes),
        "file_patterns": list(survey.file_patterns),
        "wavelength": [float(survey.grid.wave[0]), float(survey.grid.wave[-1])],
        "options": {
            f.name: {"default": f.default, "help": texts.get(f.name, "")}
            for f in dataclasses.fields(survey.Options)
        },
    }


def _details(survey: Survey) -> None:
    """One survey in full."""
    from zspec.cli import terminal

    facts = describe(survey)
    options = facts.pop("options")
    first, last = facts.pop("wavelength")
    terminal.say(f"\n{facts.pop('name')}: {facts.pop('title')}")
    terminal.say(f"  wavelength: {first:.0f} to {last:.0f} Å ({len(survey.grid)} pixels)")
    for key, value in facts.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else value
        terminal.say(f"  {key.replace('_', ' ')}: {text}")
    for name, option in options.items():
        shown = option["default"]
        shown = ",".join(map(str, shown)) if isinstance(shown, tuple) else shown
        text = " ".join(option["help"].replace("``", "").split())
        terminal.say(f"  -S {name}={shown}  {text}")
