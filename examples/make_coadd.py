"""Make ``coadd-example.fits``: twelve simulated targets in the layout of a DESI coadd.

    python examples/make_coadd.py

Ten mock objects of various SNR, one fibre on blank sky and one that is stuck and has no data. The
redshifts go into ``redrock-example.fits`` beside it, where the adapter looks for them. Nothing of
DESI's data is in these files, and TARGETIDs have the bit that DESI sets for mocks. The same code
gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from zspec_desi.adapter import DESI, instrument

from zspec import Arm, Spectra, Truth, ZWarn, mock_spectra

SEED = 20
CLASSES = ("GALAXY", "QSO", "STAR", "GALAXY", "QSO", "STAR", "GALAXY", "QSO", "STAR", "GALAXY")
SNR = (20.0, 15.0, 30.0, 10.0, 8.0, 10.0, 6.0, 5.0, 5.0, 4.0)
"""Median per pixel."""
SKY, STUCK = 10, 11
"""Rows of the fibres that have no object."""
MOCK_ID, SKY_ID = 1 << 58, 1 << 59
"""Bits of a TARGETID."""
STUCK_STATUS = 1 << 0 | 1 << 1 | 1 << 9
"""UNASSIGNED, STUCKPOSITIONER, BADPOSITION."""
COSMICS = 3
"""Runs of pixels per arm and spectrum that a cosmic ray spoilt."""


def main(folder: Path) -> None:
    """Write both files into ``folder``, in place of older ones."""
    for name in ("coadd-example.fits", "redrock-example.fits"):
        (folder / name).unlink(missing_ok=True)
    DESI().write(folder / "coadd-example.fits", make())


def make() -> Spectra:
    """The twelve spectra."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    made = [
        mock_spectra(instrument(), 1, SEED + row, snr=snr, classes=(name,))
        for row, (name, snr) in enumerate(zip(CLASSES, SNR, strict=True))
    ]
    made += [_blank(made[0], rng), _dead(made[0])]
    ids = MOCK_ID + np.arange(1, len(made) + 1)
    ids[SKY] |= SKY_ID
    ids[STUCK] = -STUCK
    kind = np.where(np.arange(len(made)) < SKY, "TGT", "")
    kind[SKY] = "SKY"
    status = np.where(np.arange(len(made)) == STUCK, STUCK_STATUS, 0).astype(np.int32)
    return Spectra(
        arms=tuple(_join([one.arms[k] for one in made], rng) for k in range(len(made[0].arms))),
        ids=ids.astype(np.int64),
        rows=np.arange(len(made), dtype=np.int32),
        table={
            "RA": np.round(180 + rng.uniform(-0.5, 0.5, len(made)), 6),
            "DEC": np.round(10 + rng.uniform(-0.5, 0.5, len(made)), 6),
            "OBJTYPE": kind,
            "COADD_FIBERSTATUS": status,
        },
        truth=_truth(made),
        zwarn=np.where(kind == "SKY", int(ZWarn.SKY), 0),
    )


def _blank(like: Spectra, rng: np.random.Generator) -> Spectra:
    """Noise of the same ivar, and nothing else."""
    noise = [rng.standard_normal(arm.flux.shape) / np.sqrt(arm.ivar) for arm in like.arms]
    arms = [
        dataclasses.replace(arm, flux=flux.astype(np.float32))
        for arm, flux in zip(like.arms, noise, strict=True)
    ]
    return dataclasses.replace(like, arms=tuple(arms), truth=None)


def _dead(like: Spectra) -> Spectra:
    """No data at all."""
    arms = [dataclasses.replace(arm, ivar=np.zeros_like(arm.ivar)) for arm in like.arms]
    return dataclasses.replace(like, arms=tuple(arms), truth=None)


def _join(arms: list[Arm], rng: np.random.Generator) -> Arm:
    """One arm of all spectra, with a few pixels lost to cosmic rays."""
    good = np.concatenate([arm.usable for arm in arms])
    for row in good:
        row[_hit(len(row), rng)] = False
    return dataclasses.replace(
        arms[0],
        flux=np.concatenate([arm.flux for arm in arms]),
        ivar=np.concatenate([arm.ivar for arm in arms]),
        good=good,
    )


def _hit(pixels: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pixels that cosmic rays spoilt: runs of three."""
    return rng.integers(0, pixels - 2, COSMICS)[:, None] + np.arange(3)


def _truth(made: list[Spectra]) -> Truth:
    known = [one.truth for one in made]
    return Truth(
        spectype=np.array(["" if t is None else str(t.spectype[0]) for t in known]),
        z=np.array([np.nan if t is None else t.z[0] for t in known]),
    )


if __name__ == "__main__":
    main(Path(__file__).parent)
