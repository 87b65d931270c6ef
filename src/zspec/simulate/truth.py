"""``truth.fits``: what was simulated, a row a spectrum, for ``zspec evaluate --truth``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.fits import write_fits
from zspec.simulate.artefacts import Artefact
from zspec.simulate.instrument import Observed

HDU = "TRUTH"
SENTENCES = {
    Artefact.BLANK: "the fibre saw sky alone",
    Artefact.MISSING_ARM: "one camera has no data",
    Artefact.COSMIC: "a cosmic ray was left in",
    Artefact.BAD_COLUMN: "a run of pixels is off",
    Artefact.CONTAMINATED: "light of another source",
}
"""What the header says of each bit of ARTEFACT."""


def table(observed: Observed, file: str) -> dict[str, NDArray[Any]]:
    """Columns (n,) of some spectra in a file: keys, class, z, and how each was observed.

    SPECTYPE is empty and Z is NaN where nothing was on the fibre; INTENDED says what was meant.
    """
    spectra = observed.spectra
    assert spectra.truth is not None  # simulated spectra have one
    rest = {k: v for k, v in observed.truth.items() if k not in ("SPECTYPE", "Z")}
    return {
        "TARGETID": spectra.ids,
        "FILE": np.full(len(spectra), file),
        "ROW": spectra.rows,
        "SPECTYPE": spectra.truth.spectype,
        "Z": spectra.truth.z,
        "INTENDED": observed.truth["SPECTYPE"],
        "RA": spectra.table["RA"],
        "DEC": spectra.table["DEC"],
        **rest,
    }


def write(path: Path, tables: Sequence[Mapping[str, NDArray[Any]]], cards: dict[str, Any]) -> None:
    """Write the tables below each other. Raises OutputError."""
    names = tables[0] if tables else {}
    columns = {name: _plain(np.concatenate([t[name] for t in tables])) for name in names}
    bits = {f"ABIT{int(bit).bit_length() - 1}": text for bit, text in SENTENCES.items()}
    empty: NDArray[np.float32] = np.zeros(0, np.float32)
    write_fits(path, [("", empty, cards), (HDU, columns, bits)])


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Text as FITS holds it: ASCII bytes, one at least."""
    if values.dtype.kind != "U":
        return values
    return np.char.encode(np.where(values == "", " ", values), "ascii", "replace")
