"""What FIBERMAP says of the rows: ids, positions, what the fibre was on and how it did.

Bits of FIBERSTATUS and COADD_FIBERSTATUS are desispec's ``fibermask``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import FitsFile, InputError, ZWarn, hash_id
from zspec_desi.exposures import Group

COLUMNS = {
    "RA": "TARGET_RA",
    "DEC": "TARGET_DEC",
    "OBJTYPE": "OBJTYPE",
    "TILEID": "TILEID",
    "DESI_TARGET": "DESI_TARGET",
    "SV1_DESI_TARGET": "SV1_DESI_TARGET",
    "SV2_DESI_TARGET": "SV2_DESI_TARGET",
    "SV3_DESI_TARGET": "SV3_DESI_TARGET",
    "COADD_NUMEXP": "COADD_NUMEXP",
}
"""Columns that pass through where the file has them: name in the catalogue, name in FIBERMAP."""

STATUS = ("COADD_FIBERSTATUS", "FIBERSTATUS")
"""Where the fibre's status is: in coadds, and in files of exposures."""

HARMLESS = 1 << 3 | 1 << 20
"""RESTRICTED reach, and variable throughput: DESI accepts both."""
LOST = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 16
"""UNASSIGNED, STUCKPOSITIONER, BROKENFIBER, BADFIBER: UNPLUGGED in ZWARN."""
AMPLIFIERS = 1 << 22 | 1 << 23 | 1 << 24
"""BADAMPB, BADAMPR, BADAMPZ: one arm is lost and has ivar 0, the others are good."""
SKY_ID = 59
"""Bit of a TARGETID that says sky position, for files without OBJTYPE."""


@dataclass(frozen=True)
class Fibermap:
    """One entry per row of the file, or per target."""

    ids: NDArray[np.int64]
    """TARGETID, or hashes where the file has none."""
    hashed: bool
    """Whether they are hashes, whose bits mean nothing."""
    status: NDArray[np.int64] | None
    """Status bits of the fibre; None where the file has none."""
    exposures: bool
    """Whether rows are exposures, not coadds: FIBERMAP has their EXPID."""
    table: Mapping[str, NDArray[Any]]
    """What passes through; RA and DEC always (NaN where the file has none)."""

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Whether an exposure is to be left out where its target has a better one."""
        if self.status is None:
            return np.zeros(len(self.ids), bool)
        return np.asarray(self.status & ~(HARMLESS | AMPLIFIERS), bool)

    @property
    def zwarn(self) -> NDArray[np.int64]:
        """ZWARN bits SKY, UNPLUGGED and BAD_TARGET."""
        nothing = np.zeros(len(self.ids), bool)
        lost = nothing if self.hashed else self.ids < 0
        kind = self.table.get("OBJTYPE")
        if kind is not None:
            sky, bad = kind == "SKY", kind == "BAD"
        else:
            sky = nothing if self.hashed else (self.ids > 0) & (self.ids >> SKY_ID & 1 == 1)
            bad = nothing
        if self.status is not None:
            lost = lost | ((self.status & LOST) != 0)
            bad = bad | ((self.status & ~(HARMLESS | LOST)) != 0)
        bits = sky * int(ZWarn.SKY) | lost * int(ZWarn.UNPLUGGED) | bad * int(ZWarn.BAD_TARGET)
        return np.asarray(bits, np.int64)


def read_fibermap(fits: FitsFile, n: int) -> Fibermap:
    """The FIBERMAP of a file with ``n`` rows. Raises InputError where it has another length."""
    if not fits.has("FIBERMAP"):
        return Fibermap(_hashes(fits.path, n), True, None, False, _positions({}, n))
    have = fits.hdus[fits.index("FIBERMAP")].shape[0]
    if have != n:
        raise InputError(f"{fits.path}, HDU FIBERMAP: {have} rows, but {n} spectra")
    found = {
        name: (fits.column if name == "OBJTYPE" else fits.numbers)("FIBERMAP", column)
        for name, column in COLUMNS.items()
        if fits.has("FIBERMAP", column)
    }
    if "OBJTYPE" in found:
        found["OBJTYPE"] = np.char.upper(np.char.strip(found["OBJTYPE"].astype(str)))
    name = next((name for name in STATUS if fits.has("FIBERMAP", name)), None)
    status = None if name is None else fits.numbers("FIBERMAP", name).astype(np.int64)
    hashed = not fits.has("FIBERMAP", "TARGETID")
    return Fibermap(
        ids=_hashes(fits.path, n) if hashed else fits.numbers("FIBERMAP", "TARGETID").astype("i8"),
        hashed=hashed,
        status=status,
        exposures=fits.has("FIBERMAP", "EXPID"),
        table=_positions(found, n),
    )


def combine(fibermap: Fibermap, group: Group, used: NDArray[np.bool_]) -> Fibermap:
    """One entry per target of ``group``, by DESI's own rule for the status.

    used: (row,) of the group. Status bits are those that all used rows have in common; where all
    rows are bad, those that any has. Other values are those of the target's first row.
    """
    table = {name: column[group.first] for name, column in fibermap.table.items()}
    status = fibermap.status
    if status is not None:
        rows, bad = status[group.rows], fibermap.bad[group.rows]
        common = np.bitwise_and.reduceat(np.where(used, rows, -1), group.starts)
        every = np.bitwise_or.reduceat(rows, group.starts)
        status = np.where(np.logical_and.reduceat(bad, group.starts), every, common)
        table["COADD_FIBERSTATUS"] = status.astype(np.int32)
        if fibermap.exposures:
            table["COADD_NUMEXP"] = np.add.reduceat(~bad, group.starts, dtype=np.int16)
    return replace(fibermap, ids=fibermap.ids[group.first], status=status, table=table)


def _hashes(path: Path, n: int) -> NDArray[np.int64]:
    return np.array([hash_id(path, row) for row in range(n)], np.int64)


def _positions(found: Mapping[str, NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    """RA and DEC first (degrees, NaN where unknown), then the rest."""
    return {"RA": np.full(n, np.nan), "DEC": np.full(n, np.nan)} | dict(found)
