"""What ``instrument.toml`` says of a slitless spectrograph, checked and typed.

Every field of these classes is a key of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zspec.errors import ConfigError, unknown
from zspec.settings import build
from zspec.simulate.slitless.dispersion import Band


@dataclass(frozen=True)
class Telescope:
    """What gathers the light."""

    area: float
    """cm2."""
    psf: float
    """FWHM of the Gaussian point-spread function, arcsec."""


@dataclass(frozen=True)
class Detector:
    """What counts it, and for how long."""

    scale: float
    """Arcsec a pixel."""
    dark: float
    """e-/s/pixel."""
    read_noise: float
    """e- a pixel and exposure."""
    exposures: int
    """Exposures that are added up."""
    seconds: float
    """Of one exposure."""
    half: int = 28
    """Pixels to either side of a source to which its light is followed."""

    @property
    def time(self) -> float:
        """Seconds of all exposures."""
        return self.exposures * self.seconds


@dataclass(frozen=True)
class Extraction:
    """From image to spectrum."""

    method: str = "optimal"
    """``optimal``: rows weighed by the source's own profile (Horne 1986, where the background
    dominates); ``box``: rows near the source alike. Both are corrected to the whole light."""
    box: float = 1.4
    """Half width of the box in sigmas of the profile across the dispersion."""
    smooth: int = 15
    """Pixels of the running mean of the counts, from which the source's own noise is estimated."""

    def __post_init__(self) -> None:
        """Raise ValueError for a method that does not exist."""
        if self.method not in ("optimal", "box"):
            raise ValueError(f"method = {self.method!r}: optimal or box expected")
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(f"smooth = {self.smooth}: an odd number of pixels expected")


@dataclass(frozen=True)
class Kinship:
    """Shapes of one kind of galaxy."""

    size: float
    """ln of the median r_eff in arcsec, along the major axis, at magnitude 23."""
    slope: float
    """Of ln r_eff with magnitude."""
    index: float
    """Median Sérsic index."""
    scatter: float
    """Sigma of ln(Sérsic index)."""
    disc: bool
    """Ellipticities of discs rather than of spheroids."""


@dataclass(frozen=True)
class Morphology:
    """Shapes of galaxies; stars and quasars are points."""

    late: Kinship
    early: Kinship
    divide: float = 1.55
    """Narrow 4000 Å break (Balogh+1999) above which a galaxy is early (Kauffmann+2003)."""
    largest: float = 1.5
    """Arcsec; no r_eff is drawn beyond it, since light is followed to ``half`` pixels only."""
    offset: float = 0.0
    """Sigma of the error of the wavelengths' zero point, pixels."""


@dataclass(frozen=True)
class Contamination:
    """Other sources' light, each a share of the sources."""

    neighbours: float = 0.0
    """Share with a neighbour's first order on the spectrum."""
    zero_orders: float = 0.0
    """Share with a neighbour's zero order on it."""
    reach: float = 1.2
    """Arcsec across the dispersion within which neighbours lie."""
    known: float = 0.2
    """Sigma of ln of the pipeline's estimate of the contaminating share, over the truth."""
    flag: float = 0.1
    """Estimated share of the light in any band above which the file says CONTAMINATED."""

    def __post_init__(self) -> None:
        """Raise ValueError for a share that is none."""
        for name in ("neighbours", "zero_orders"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: a share expected")


@dataclass(frozen=True)
class Design:
    """All of it."""

    reference: str
    """Where the numbers are from."""
    use: tuple[str, ...]
    """Bands to simulate."""
    telescope: Telescope
    detector: Detector
    morphology: Morphology
    bands: tuple[Band, ...]
    """All that are described."""
    extraction: Extraction = Extraction()
    contamination: Contamination = Contamination()
    images: bool = False
    """Whether ``observe`` makes the two-dimensional images too."""

    @property
    def used(self) -> tuple[Band, ...]:
        """The bands of ``use``, in the order of the description."""
        return tuple(band for band in self.bands if band.name in self.use)

    @property
    def area_time(self) -> float:
        """cm2 s."""
        return self.telescope.area * self.detector.time

    def background(self, band: Band) -> float:
        """e- a pixel in all exposures: variance of sky, dark current and read noise together."""
        counted = self.detector.time * (band.sky + self.detector.dark)
        return counted + self.detector.exposures * self.detector.read_noise**2


def parse(config: Mapping[str, Any], where: str) -> Design:
    """A design from what its TOML file says. Raises ConfigError, naming ``where``."""
    made = build(Design, config, file=where)
    known = [band.name for band in made.bands]
    for name in made.use:
        if name not in known:
            raise ConfigError(f"{where}: {unknown('band', name, known)}")
    for band in made.bands:
        if not (band.pixels > 0 and band.step > 0 and band.efficiency(band.wave()).all()):
            raise ConfigError(f"{where}: band {band.name} has pixels without throughput, or none")
    if not made.use:
        raise ConfigError(f"{where}: use names no band (known: {', '.join(known)})")
    return made
