"""``zspec models``: what can predict."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the models that come with zspec."""
    from zspec import checkpoint
    from zspec.cli import terminal

    found = {name: checkpoint.metadata(path) for name, path in checkpoint.shipped().items()}
    if json:
        terminal.say_json(found)
        return
    table = terminal.grid("model", "estimator", "classes", "trained on", "#MB")
    for name, path in checkpoint.shipped().items():
        meta = found[name]
        classes = ", ".join(meta.get("classes", []))
        surveys = ", ".join(meta.get("surveys", []))
        size = f"{path.stat().st_size / 1e6:.1f}"
        terminal.row(table, name, meta["estimator"], classes, surveys, size)
    terminal.stdout.print(table)
