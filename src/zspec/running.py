"""A run: what is left of its inputs, carried out by an engine, into shards and a catalogue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from zspec import work
from zspec.engine import Engine, Progress
from zspec.merging import Seen
from zspec.prediction import Result, Task
from zspec.shards import Shards
from zspec.sources import Source
from zspec.timing import Stopwatch

log = logging.getLogger("zspec")


STAGES = ("read", "resample", "network", "likelihood", "model", "tables", "write")
"""What time is told of, in this order."""


@dataclass
class Run:
    """What is to be done, and how."""

    shards: Shards
    inputs: Sequence[Source]
    task: Task
    engine: Engine
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(file, reason) of each input that could not be read, once the run is over."""


def carry_out(run: Run, progress: Progress, seen: Seen) -> dict[str, float]:
    """Predict what is left and write the catalogue; returns seconds by stage, over all workers.

    On KeyboardInterrupt what is finished is kept in a shard. Raises what :class:`Shards` raises,
    and ZspecError where a worker was killed.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    watch = Stopwatch(seconds)
    units = work.plan(run.inputs, run.task.unit_rows, run.shards.is_done, run.shards.is_closed)
    try:
        for result in run.engine.run(units, progress):
            watch.skip()
            run.shards.add(result)
            watch.lap("write")
            _note(result, seconds)
            watch.skip()
    except BaseException:
        run.shards.flush()
        raise
    watch.skip()
    done = run.shards.finish(seen)
    watch.lap("write")
    if halved := sum(one.halved for one in done):
        log.warning("chunks were halved %d times for want of device memory; lower --chunk", halved)
    failed = {one.file: one.error for one in reversed(done) if one.error}
    run.failures = list(reversed(failed.items()))
    return seconds


def _note(result: Result, seconds: dict[str, float]) -> None:
    """Log a unit, and add its seconds."""
    for stage, spent in result.seconds.items():
        seconds[stage] = seconds.get(stage, 0.0) + spent
    log.debug(
        "%s: %d spectra",
        result.unit.file,
        result.rows,
        extra={
            "event": "unit",
            "facts": {
                "file": result.unit.file,
                "unit": result.unit.name,
                "survey": result.survey,
                "spectra": result.rows,
                "error": result.error,
                "seconds": {stage: round(spent, 4) for stage, spent in result.seconds.items()},
            },
        },
    )
