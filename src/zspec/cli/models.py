"""``zspec models``: what can predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def models(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Checkpoints of your own, to list too.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the models that come with zspec, and checkpoints of your own: classes, grid, figures.

    zspec models
    zspec models mine.safetensors
    """
    from zspec import checkpoint
    from zspec.cli import terminal

    paths = checkpoint.models() | {str(path): path for path in files or []}
    found = {name: checkpoint.metadata(path) for name, path in paths.items()}
    if json:
        terminal.say_json(found)
        return
    for name, path in paths.items():
        for key, text in describe(found[name], path.stat().st_size).items():
            terminal.say(f"  {key:12}{text}" if key else f"{name}: {text}")


def describe(meta: Mapping[str, Any], size: int) -> dict[str, str]:
    """A checkpoint of ``size`` bytes in words; what it does not say is left out."""
    told = {
        "": f"{meta.get('estimator', 'no model')}, {size / 1e6:.1f} MB, zspec {meta['zspec']}",
        "classes": ", ".join(meta.get("classes", [])),
        "trained on": ", ".join(meta.get("surveys", [])),
        "pixels": describe_grid(meta.get("grid")),
        "figures": describe_figures(meta.get("figures", {})),
        "default for": ", ".join(meta.get("default_for", [])),
    }
    return {key: text for key, text in told.items() if text}


def describe_grid(grid: Mapping[str, Any] | None) -> str:
    """A stored grid in words; native pixels where the model has none.

    >>> describe_grid({"kind": "linear", "start": 4000.0, "step": 1.0, "size": 5001})
    '4000-9000 Å, 5001 linear pixels'
    """
    if grid is None:
        return "native pixels"
    from zspec.grid import WaveGrid

    wave = WaveGrid.from_dict(grid).wave
    return f"{wave[0]:.0f}-{wave[-1]:.0f} Å, {len(wave)} {grid['kind']} pixels"


def describe_figures(figures: Mapping[str, Any]) -> str:
    """Stored figures in words: numbers as they are, those by class as least and most.

    >>> describe_figures({"accuracy": 0.924, "mae": {"A": 0.001, "B": 0.107}, "real_objects": 9})
    'accuracy 0.924, mae 0.001 (A) to 0.107 (B), real objects 9'
    """
    parts = []
    for name, value in figures.items():
        if isinstance(value, Mapping) and value:
            ends = (min(value, key=value.__getitem__), max(value, key=value.__getitem__))
            said = " to ".join(f"{rounded(value[key])} ({key})" for key in ends)
        else:
            said = rounded(value)
        parts.append(f"{name.replace('_', ' ')} {said}")
    return ", ".join(parts)


def rounded(value: Any) -> str:
    """A figure with four digits; what is no fraction as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
