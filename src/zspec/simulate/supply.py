"""Mock spectra without end, for training: as ``read`` gives what ``zspec simulate`` writes.

from zspec.simulate import stream

for spectra in stream("sdss", seed=7, batch=256, split="train"):
    ...  # Spectra with truth; Truth.label is the fine class, empty on a blank fibre
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zspec.errors import ConfigError
from zspec.simulate.simulator import BLOCK, Simulator, cut, glue, simulator

if TYPE_CHECKING:
    from zspec.simulate.instrument import Observed
    from zspec.survey import Spectra


def stream(
    survey: str,
    seed: int,
    batch: int,
    *,
    flat: bool = True,
    split: str | None = "train",
    device: str = "cpu",
    settings: Mapping[str, str] | None = None,
    population: Path | None = None,
    sources: Path | None = None,
) -> Iterator[Spectra]:
    """Batches of ``batch`` mock spectra of a survey, for ever.

    ``split`` keeps to one part of the sources, so that a network is tested on others than it was
    trained on; ``device`` is where they are made (they come out as numpy); ``sources`` is a file
    that ``zspec train sources`` made, in place of those that ship. The same seed gives the same
    spectra whatever ``batch``. Raises ConfigError as :func:`zspec.simulate.simulator`.
    """
    from zspec import plugins

    if batch < 1:
        raise ConfigError(f"batch {batch}: a whole number > 0 was expected")
    source = simulator(
        plugins.survey(survey),
        seed,
        population=population,
        settings=settings,
        flat=flat,
        split=split,
        device=device,
        sources=sources,
    )
    return (source.survey.masked(observed.spectra) for observed in pieces(source, batch))


def pieces(source: Simulator, size: int, total: int | None = None) -> Iterator[Observed]:
    """Pieces of ``size`` spectra, without end or ``total`` in all; the last may be shorter."""
    starts = itertools.count(0, size) if total is None else range(0, total, size)
    held, number = source.block(0), 0
    for start in starts:
        stop = start + size if total is None else min(start + size, total)
        parts = []
        while start < stop:
            if start // BLOCK != number:
                number = start // BLOCK
                held = source.block(number)
            end = min(stop, (number + 1) * BLOCK)
            parts.append(cut(held, slice(start - number * BLOCK, end - number * BLOCK)))
            start = end
        yield glue(parts)
