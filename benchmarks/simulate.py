"""Rate of the simulator on one core, in memory and to files.

    OMP_NUM_THREADS=1 python benchmarks/simulate.py results/simulate.md

CPU seconds of this process and seconds by the clock; the best of three, since what else runs takes
caches and memory from it. 256 spectra of each survey after a first block that builds the matrices.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from zspec import WaveGrid, plugins
from zspec.arms import to_grid
from zspec.simulate.files import write_mocks
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import BLOCK, Simulator, simulator
from zspec.simulate.sources.drawing import draw

SURVEYS = ("sdss", "desi", "4most")
BLOCKS, TIMES = 4, 3
GRID = WaveGrid.linear(4000, 1, 5001)
"""GaSNet-II's."""


def main(output: Path | None) -> None:
    """Measure, print and, if asked, write."""
    torch.set_num_threads(1)
    lines = [
        f"Spectra per CPU second of one core, best of {TIMES} times {BLOCKS * BLOCK}, "
        f"torch {torch.__version__}. "
        "The clock's column has what else the machine did in it.",
        "",
        "| survey | sources alone | instrument alone | in memory | to files | in memory, clock "
        "| resampling to 5001 pixels alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SURVEYS:
        lines.append("| " + " | ".join([name, *map(_rate, measure(name))]) + " |")
        print(lines[-1])
    if output:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rate(seconds: float) -> str:
    return f"{BLOCKS * BLOCK / seconds:.0f}"


def measure(name: str) -> list[float]:
    """Seconds of each column for BLOCKS blocks."""
    source = simulator(plugins.survey(name), 1)
    made = source.block(0).spectra  # builds the matrices
    to_grid(made.arms, GRID)
    numbers = range(1, BLOCKS + 1)
    objects = [_objects(source, number) for number in numbers]
    memory = timed(lambda: [source.block(number) for number in numbers])
    files = timed(lambda: _written(source))
    return [
        timed(lambda: [_objects(source, number) for number in numbers])[0],
        timed(lambda: [source.instrument.observe(o, [1, 2]) for o in objects])[0],
        memory[0],
        files[0],
        memory[1],
        timed(lambda: [to_grid(made.arms, GRID) for _ in numbers])[0],
    ]


def _written(source: Simulator) -> None:
    """Write as many mocks, and take them away again."""
    with tempfile.TemporaryDirectory() as folder:
        write_mocks(source, BLOCKS * BLOCK, Path(folder) / "mocks")


def _objects(source: Simulator, number: int) -> Objects:
    """The noise-free objects of a block."""
    return draw(source.population, BLOCK, [1, number, 0], source.instrument.wave)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU, and by the clock, each the least of ``TIMES``."""
    found = []
    for _ in range(TIMES):
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - clock))
    cpus, clocks = zip(*found, strict=True)
    return min(cpus), min(clocks)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
