"""Mock spectra to files: each in the survey's own layout, and the truth of all in truth.fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, OutputError
from zspec.fits import write_fits
from zspec.settings import build, load
from zspec.simulate import truth
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import Simulator
from zspec.simulate.supply import pieces
from zspec.survey import Survey

TRUTH = "truth.fits"
UNITS = {"IMAGE": "electron", "VARIANCE": "electron2"}
"""Of images, by the end of their name."""

Hdus = list[tuple[str, NDArray[Any] | Mapping[str, NDArray[Any]], Mapping[str, Any]]]


@dataclass(frozen=True)
class Layout:
    """Table ``files`` of ``instrument.toml``: what files of the survey are called."""

    many: str
    """Name of a file of several spectra, with ``{number}``."""
    single: str
    """Name of a file of one."""
    rows: int
    """Spectra in a file, where the user says nothing."""


def read_layout(survey: Survey) -> Layout:
    """What the survey's files are called. Raises ConfigError where it brings no simulation."""
    if survey.simulation is None:
        raise ConfigError(f"survey {survey.name} brings no instrument to simulate")
    path = survey.simulation / "instrument.toml"
    return build(Layout, load(path).get("files", {}), "files", str(path))


def write_mocks(
    source: Simulator,
    n: int,
    folder: Path,
    per_file: int | None = None,
    cards: Mapping[str, Any] | None = None,
    advance: Callable[[int], None] = lambda rows: None,
    images: bool = False,
) -> list[Path]:
    """Write ``n`` mock spectra and ``truth.fits`` into ``folder``, which is made; say what.

    One file's spectra are in memory at a time. ``advance`` hears how many were written.
    ``cards`` go into the header of truth.fits. ``images`` adds what an instrument has of them.
    Raises OutputError where mocks are there already, or a file cannot be written.
    """
    layout = read_layout(source.survey)
    rows = per_file or layout.rows
    _prepare(folder)
    tables, written = [], []
    for number, observed in enumerate(pieces(source, rows, n)):
        name = (layout.single if rows == 1 else layout.many).format(number=number)
        source.survey.write(folder / name, observed.spectra)
        if images and observed.images:
            _write_images(folder / f"images-{number:05d}.fits", observed)
        tables.append(truth.table(observed, name))
        written.append(folder / name)
        advance(len(observed.spectra))
    truth.write(folder / TRUTH, tables, dict(cards or {}))
    return [*written, folder / TRUTH]


def _prepare(folder: Path) -> None:
    """Make the folder. Raises OutputError where it cannot be, or holds mocks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); name another -o") from None
    if (folder / TRUTH).exists():
        raise OutputError(f"{folder}: holds mocks already ({TRUTH}); name another folder with -o")


def _write_images(path: Path, observed: Observed) -> None:
    """The images of one file's spectra, one HDU each."""
    empty: NDArray[np.float32] = np.zeros(0, np.float32)
    hdus: Hdus = [("", empty, {}), ("TARGETS", {"TARGETID": observed.spectra.ids}, {})]
    for name, data in observed.images.items():
        hdus.append((name, data, {"BUNIT": UNITS[name.rpartition("_")[2]]}))
    write_fits(path, hdus)
