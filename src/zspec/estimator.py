"""What an estimator is to zspec: spectra in, :class:`Prediction` out.

All types here are public names. An estimator never sees the name of a survey, and never the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    from zspec.batch import SpectrumBatch
    from zspec.density import Densities
    from zspec.grid import WaveGrid
    from zspec.survey import Spectra

NCANDIDATES = 5
"""Most candidates that a prediction lists per spectrum."""


@dataclass(frozen=True)
class ClassSpec:
    """One label of a model, and what it means to a catalogue."""

    name: str
    """The model's own label: column CLASS."""
    spectype: str
    """GALAXY, QSO or STAR: column SPECTYPE."""
    subtype: str = ""
    """Column SUBTYPE."""
    z_range: tuple[float, float] | None = None
    """Redshifts that the model can give, or None where the class has no redshift."""
    good_dz: float = 0.0015
    """What |dz|/(1+z) counts as good: the threshold of ZCONF and ``gf``."""


@dataclass(frozen=True)
class ExtraColumn:
    """A column of its own that an estimator adds to the catalogue."""

    name: str
    dtype: str
    unit: str
    sentence: str
    by_class: bool = False
    """One value for each class: CLASSPROB holds all of them, REDSHIFTS the chosen class's."""


@dataclass
class Chunk:
    """The rows that an estimator gets at once: all of one file, a fixed number of them."""

    spectra: Spectra
    """Native arms, in vacuum and with their LSF where the file gives it."""
    grid: WaveGrid | None = None
    """The grid of the estimator, if it needs one."""
    _batch: SpectrumBatch | None = field(default=None, repr=False)

    @property
    def batch(self) -> SpectrumBatch:
        """The same spectra merged on ``grid``; built when first asked for."""
        if self._batch is None:
            from zspec.batch import SpectrumBatch

            if self.grid is None:
                raise ValueError("this chunk has no grid: the estimator's `needs` lacks 'grid'")
            self._batch = SpectrumBatch.from_spectra(self.spectra, self.grid)
        return self._batch

    @property
    def is_resampled(self) -> bool:
        """Whether ``batch`` is there already."""
        return self._batch is not None


@dataclass(frozen=True)
class Candidates:
    """Ranked redshift candidates, best first, (n, NCANDIDATES) each.

    Slots beyond the last candidate have ``label`` -1 and NaN elsewhere.
    """

    label: NDArray[np.int16]
    """Index into the prediction's classes."""
    z: NDArray[np.float64]
    sigma: NDArray[np.float64]
    prob: NDArray[np.float32]
    """Share of the posterior, or NaN where the estimator has none."""
    chi2: NDArray[np.float64]
    """chi2 on native pixels, or NaN."""


@dataclass(frozen=True)
class Prediction:
    """What an estimator says of n spectra."""

    classes: tuple[ClassSpec, ...]
    prob: NDArray[np.float32]
    """(n, class), rows sum to 1; NaN in a row without data."""
    z: NDArray[np.float64]
    """(n, class) best redshift if the spectrum is of that class; NaN where it has none."""
    sigma: NDArray[np.float64]
    """(n, class) 1 sigma of z."""
    best: NDArray[np.int16]
    """(n,) chosen class; the first class in a row without data."""
    candidates: Candidates | None = None
    chi2: NDArray[np.float64] | None = None
    """(n,) of the chosen solution on native pixels; None: the estimator has none."""
    deltachi2: NDArray[np.float64] | None = None
    """(n,) to the next candidate that is another redshift or class."""
    zwarn: NDArray[np.int64] | None = None
    """(n,) ZWARN bits that only the estimator can know."""
    zconf: NDArray[np.float32] | None = None
    """(n,) probability that z of the chosen class is good by its ``good_dz``; None: not known."""
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Values of the estimator's ``extra`` columns: (n,) each, (n, class) where ``by_class``."""
    model: tuple[NDArray[np.float32], ...] | None = None
    """Best model spectrum per arm, (n, pixel) each, where ``want`` asked for it."""
    zpdf: Densities | None = None
    """p(z, class) of all rows, where ``want`` asked for it; none for a row without data."""
    bound: NDArray[np.float64] | None = None
    """(n,) Cramér-Rao bound of 1 sigma of z of the chosen model, where ``want`` asked for it."""

    interval: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    """(n,) lowest and highest z of an interval of probability ``level``, where asked for."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What stages within took, as network; the rest of the time is the estimator's ``stage``."""

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from zspec.notebook import show_prediction

        return show_prediction(self)


Want = Literal["model", "zpdf", "bound", "classes", "interval", "fast"]
"""What an estimator gives on request only. One that does not have it leaves it None. ``fast`` is no
part of a prediction: it is made faster, at a small loss of accuracy."""


class Estimator:
    """Base of all estimators."""

    name: ClassVar[str]
    """What ``--model`` and recipes call it."""
    title: ClassVar[str]
    """One line for ``zspec models``."""
    needs: ClassVar[frozenset[str]] = frozenset({"grid"})
    """``"arms"``: native arms; ``"grid"``: the batch on the estimator's grid."""
    extra: ClassVar[tuple[ExtraColumn, ...]] = ()
    """Columns that it adds to the catalogue."""
    offers: ClassVar[frozenset[Want]] = frozenset()
    """What it gives on request."""

    stage: ClassVar[str] = "model"
    """What its time is called in a summary: network, likelihood or model."""
    limitable: ClassVar[bool] = False
    """Whether ``limited`` can choose what redshifts are searched."""

    classes: tuple[ClassSpec, ...]
    grid: WaveGrid | None = None
    calibrated: bool = False
    """Whether ZCONF and PROB were calibrated: header card CALIB."""
    level: float = 0.9
    """Probability of the intervals that ``want`` may ask for."""
    device: str = "cpu"
    """Where its arithmetic runs: header card DEVICE."""
    sha256: str = ""
    """Of the checkpoint's bytes."""
    parts: tuple[str, ...] = ()
    """Files of others that it was made of, with their versions: header cards PART1, PART2, ..."""

    def predict(self, chunk: Chunk, want: frozenset[Want] = frozenset()) -> Prediction:
        """Class, redshift and uncertainty of every row. A row without data must not raise."""
        raise NotImplementedError

    @classmethod
    def train(cls, recipe: Mapping[str, Any], data: Path, output: Path) -> None:
        """Learn what a recipe says, from files below ``data``, and write a checkpoint."""
        raise NotImplementedError

    def limited(self, z_range: Mapping[str, tuple[float, float]]) -> Estimator:
        """The same estimator, which searches some classes or spectypes between limits only.

        Raises ConfigError where it knows no such class, or cannot be limited.
        """
        from zspec.errors import ConfigError

        raise ConfigError(f"model {self.name} has no limits of redshift to choose; likelihood does")

    def save(self, path: Path) -> None:
        """Write one safetensors file with the metadata key ``zspec``."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Estimator:
        """Read what ``save`` wrote. Raises :class:`zspec.ConfigError` for another's file."""
        raise NotImplementedError
