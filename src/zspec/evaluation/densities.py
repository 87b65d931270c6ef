"""HDU ZPDF of a catalogue as densities of its rows."""

from __future__ import annotations

import numpy as np

from zspec.density import Densities, gather
from zspec.evaluation.frame import Frame
from zspec.evaluation.matching import join
from zspec.fits import open_fits

KEY = ("TARGETID", "FILE", "ROW")
SEGMENT = ("CLASS", "START", "STEP", "DENSITY")


def read_densities(frame: Frame) -> Densities | None:
    """p(z) of the rows of a catalogue; None where it has none. Raises InputError."""
    if frame.path is None or not all(frame.find(name) for name in KEY):
        return None
    with open_fits(frame.path) as handle:
        if not handle.has("ZPDF"):
            return None
    columns = _columns(frame)
    row, _ = join([columns[name] for name in KEY], [frame[name] for name in KEY])
    mine = np.flatnonzero(row >= 0)  # a part of a catalogue may keep the whole ZPDF
    label = np.unique(columns["CLASS"], return_inverse=True)[1][mine]
    values = [columns["DENSITY"][i] for i in mine]
    return gather(row[mine], label, columns["START"][mine], columns["STEP"][mine], values)


def _columns(frame: Frame) -> dict[str, np.ndarray]:
    """The columns of HDU ZPDF."""
    import fitsio

    with fitsio.FITS(str(frame.path), "r", vstorage="object") as hdus:
        read = {name: hdus["ZPDF"].read_column(name) for name in (*KEY, *SEGMENT)}
    return {
        name: np.char.strip(values) if values.dtype.kind in "SU" else values
        for name, values in read.items()
    }
