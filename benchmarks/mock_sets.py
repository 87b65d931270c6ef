"""Sets of mocks of the sources of `elsewhere.py`: written, read back, and known without noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elsewhere
import numpy as np
import torch
from elsewhere import Elsewhere
from numpy.typing import NDArray

from zspec import fits
from zspec.simulate.exposure import Exposed, join
from zspec.simulate.fibre import Fibre
from zspec.simulate.files import TRUTH, write_mocks
from zspec.simulate.instrument import Observed
from zspec.simulate.simulator import glue
from zspec.sources import Source, expand, read
from zspec.survey import Spectra

FAINT = {"desi": (0.3, 2.0), "4most": (0.15, 1.2)}
"""SNR per pixel, of 0.8 and of 0.25 Å, between which methods differ: above, hardly any fails."""


@dataclass(frozen=True)
class Run:
    """One set of one survey, and where it is kept."""

    survey: str
    kind: str
    number: int
    seed: int
    work: Path
    shared: Path
    faint: bool = False

    @property
    def name(self) -> str:
        """What tells it from others of the survey."""
        return f"{self.kind}-{self.number}-{self.seed}{'-faint' * self.faint}"

    @property
    def folder(self) -> Path:
        """Of its files."""
        return self.work / f"{self.survey}-{self.name}"

    @property
    def asked(self) -> Path:
        """Folder of what redrock is asked of this survey, all sets in one."""
        return self.work / f"redrock-{self.survey}"

    def source(self) -> Elsewhere:
        """What its spectra come from."""
        snr = FAINT[self.survey] if self.faint else None
        return elsewhere.sample(self.kind, self.survey, self.seed, self.shared, snr)

    def question(self, part: int) -> Path:
        """File of some of its spectra for redrock; in the order of names all sets take turns."""
        return self.asked / f"{part:03d}-{self.name}.npz"


def spectra(run: Run) -> Spectra:
    """The spectra as the adapter reads them, from files that are written where there are none."""
    if not (run.folder / TRUTH).exists():
        write_mocks(run.source(), run.number, run.folder)
    paths = [path for path in expand([run.folder], run.survey) if path.name != TRUTH]
    parts = [one for path in paths for one in read(Source(path, run.survey))[1]]
    return glue([Observed(part, {}) for part in parts]).spectra


def truth(run: Run) -> dict[str, NDArray[Any]]:
    """Columns of the truth."""
    with fits.open_fits(run.folder / TRUTH) as file:
        return {name: file.column("TRUTH", name) for name in ("SPECTYPE", "Z", "SNR", "SED")}


def clean(source: Elsewhere, number: int) -> list[NDArray[np.float32]]:
    """Noise-free flux (n, pixel) of each arm of a block."""
    assert isinstance(source.instrument, Fibre)
    optics = source.instrument.optics("cpu")
    flux = optics.spread @ source.objects(number).flux.T
    same = torch.ones_like(flux)
    return [part.T.numpy() for part, _ in join(Exposed(flux, same, same), optics)]
