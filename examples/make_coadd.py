"""Make ``coadd-example.fits``: twelve simulated targets in the layout of a DESI coadd.

    python examples/make_coadd.py

Ten mock objects of DESI's population in order of their SNR, one fibre on blank sky and one that is
stuck and has no data. The redshifts go into ``redrock-example.fits`` beside it, where the adapter
looks for them. Nothing of DESI's data is in these files, and TARGETIDs have the bit that DESI sets
for mocks. The same code gives the same bytes with the versions of ``constraints.txt``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import Arm, Spectra, Truth, ZWarn, plugins
from zspec.simulate.simulator import BLOCK, simulator
from zspec.simulate.supply import pieces

SEED = 22
WANTED = {"GALAXY": 4, "QSO": 3, "STAR": 3}
"""How many of each."""
SNR = 3.0
"""Least of an object that is shown, median per pixel."""
SKY, STUCK = 10, 11
"""Rows of the fibres that have no object."""
MOCK_ID, SKY_ID = 1 << 58, 1 << 59
"""Bits of a TARGETID."""
STUCK_STATUS = 1 << 0 | 1 << 1 | 1 << 9
"""UNASSIGNED, STUCKPOSITIONER, BADPOSITION."""
NO_BLANKS = {"artefacts.blank": "0", "artefacts.missing_arm": "0"}
ALL_BLANK = {"artefacts.blank": "1", "artefacts.missing_arm": "0"}


def main(folder: Path) -> None:
    """Write both files into ``folder``, in place of older ones."""
    for name in ("coadd-example.fits", "redrock-example.fits"):
        (folder / name).unlink(missing_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # another number may sum in another order
    try:
        plugins.survey("desi").write(folder / "coadd-example.fits", make())
    finally:
        torch.set_num_threads(threads)


def make() -> Spectra:
    """The twelve spectra."""
    survey = plugins.survey("desi")
    drawn = next(pieces(simulator(survey, SEED, settings=NO_BLANKS), BLOCK, BLOCK))
    sky = next(pieces(simulator(survey, SEED, settings=ALL_BLANK), 2, 2)).spectra
    rows = chosen(drawn.truth["SPECTYPE"], drawn.truth["SNR"])
    objects = drawn.spectra
    arms = [
        _append(_pick(arm, rows), blank) for arm, blank in zip(objects.arms, sky.arms, strict=True)
    ]
    n = len(rows) + len(sky)
    ids = MOCK_ID + np.arange(1, n + 1)
    ids[SKY] |= SKY_ID
    ids[STUCK] = -STUCK
    kind = np.where(np.arange(n) < SKY, "TGT", "")
    kind[SKY] = "SKY"
    rng = np.random.Generator(np.random.PCG64(SEED))
    assert objects.truth is not None
    return Spectra(
        arms=tuple(arms),
        ids=ids.astype(np.int64),
        rows=np.arange(n, dtype=np.int32),
        table={
            "RA": np.round(180 + rng.uniform(-0.5, 0.5, n), 6),
            "DEC": np.round(10 + rng.uniform(-0.5, 0.5, n), 6),
            "OBJTYPE": kind,
            "COADD_FIBERSTATUS": np.where(np.arange(n) == STUCK, STUCK_STATUS, 0).astype(np.int32),
        },
        truth=Truth(
            spectype=np.append(objects.truth.spectype[rows], ["", ""]),
            z=np.append(objects.truth.z[rows], [np.nan, np.nan]),
        ),
        zwarn=np.where(kind == "SKY", int(ZWarn.SKY), 0),
    )


def chosen(spectype: NDArray[np.str_], snr: NDArray[np.float32]) -> NDArray[np.intp]:
    """Rows of the first objects of each kind that are bright enough, the brightest first."""
    some = [np.flatnonzero((spectype == kind) & (snr > SNR))[:n] for kind, n in WANTED.items()]
    rows = np.concatenate(some)
    return rows[np.argsort(-snr[rows], kind="stable")]


def _pick(arm: Arm, rows: NDArray[np.intp]) -> Arm:
    """The same arm for some of the spectra."""
    return dataclasses.replace(arm, flux=arm.flux[rows], ivar=arm.ivar[rows], good=arm.usable[rows])


def _append(arm: Arm, blank: Arm) -> Arm:
    """The arm with a blank fibre and one without data below it."""
    ivar = blank.ivar * np.array([[1], [0]], np.float32)
    return dataclasses.replace(
        arm,
        flux=np.concatenate([arm.flux, blank.flux]),
        ivar=np.concatenate([arm.ivar, ivar]),
        good=np.concatenate([arm.usable, blank.usable & (ivar > 0)]),
    )


if __name__ == "__main__":
    main(Path(__file__).parent)
