"""All metrics by name: what each is, what it needs, its threshold and which way is better.

The table in docs/howto/evaluate.md is written from this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from zspec.errors import ConfigError, unknown
from zspec.metrics import classes, densities, redshifts, uncertainties
from zspec.metrics.redshifts import C
from zspec.metrics.statistics import Statistic

Better = Literal["high", "low", "0", "1", "thr", ""]

Threshold = float | Mapping[str, float]
"""One number, or one for each true class."""

GOOD = {"GALAXY": 0.0015, "QSO": 0.015}
"""GaSNet-II eq. 10: what bias is good, by the true class."""
GOOD_ALL = {**GOOD, "STAR": 0.0015}
"""The same with stars, as ClassSpec.good_dz: for what is trusted, not for ``gf``."""
RIGHT = {"GALAXY": 1000.0, "STAR": 1000.0, "QSO": 3000.0}
"""km/s, by the true class."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    function: Callable[..., Statistic]
    """Takes the columns of ``needs`` and, where there is one, ``thr``."""
    needs: tuple[str, ...]
    """Names of columns of a Sample."""
    sentence: str
    better: Better
    """Which way is better; ``thr``: the nearer to the threshold; empty: neither."""
    thr: Threshold | None = None
    thr_unit: str = ""
    fraction: bool = False
    """Whether it is a share of rows: then none of n leaves an upper limit."""
    unit: str = ""
    scale: float = 1.0
    """What the function's value is multiplied by: the speed of light in velocity forms."""
    of: str = ""
    """Of a velocity form: the metric that it is c times of."""
    fails: str = ""
    """The column of ``needs`` without which a row counts as a failure; others are left out."""
    density: tuple[str, Callable[..., Statistic]] | None = None
    """The column that stands for ``needs`` where a catalogue has p(z), and its function."""

    def velocity(self) -> Metric:
        """The same in km/s."""
        name, sentence = f"{self.name}_v", f"c times {self.name}"
        return replace(self, name=name, sentence=sentence, unit="km/s", scale=C, of=self.name)

    def of_density(self) -> Metric:
        """The same of p(z). Only where there is a ``density``."""
        assert self.density is not None
        column, function = self.density
        return replace(self, needs=(column,), function=function, density=None)


Z = ("z", "z_true")
SIGMA = (*Z, "sigma")
LABEL = ("label", "label_true")

BIAS = Metric("bias", redshifts.bias, Z, "median of |ln((1+z_t)/(1+z_p))|", "low")
OFFSET = Metric("offset", redshifts.offset, Z, "signed median of d", "0")
GF = Metric("gf", redshifts.gf, Z, "fraction with bias < thr", "high", GOOD, "", True, fails="z")
RIGHT_V = Metric(
    "right", redshifts.right, Z, "fraction with c|d| < thr", "high", RIGHT, "km/s", True, fails="z"
)
STAR = Metric(
    "star",
    redshifts.right,
    Z,
    "fraction of stars with c|d| < thr",
    "high",
    {"STAR": 30.0},
    "km/s",
    True,
    fails="z",
)
DZ = Metric("dz", redshifts.dz, Z, "mean of |d|", "low")
MAE = Metric("mae", redshifts.mae, Z, "mean of |z_p - z_t|", "low")
NMAD = Metric("nmad", redshifts.nmad, Z, "1.48 median(|Δz - median Δz| / (1+z_t))", "low")
ETA = Metric(
    "eta",
    redshifts.eta,
    Z,
    "of rows with a redshift, the fraction with |d| > thr",
    "low",
    0.02,
    "",
    True,
)
CAT = replace(ETA, name="cat", thr=0.01)
CAT_V = Metric(
    "cat_v",
    redshifts.cat_v,
    Z,
    "of rows with a redshift, the fraction with c|d| > thr",
    "low",
    RIGHT,
    "km/s",
    True,
)
EBAR = Metric("ebar", uncertainties.ebar, ("sigma", "z_true"), "mean of sigma / (1+z_t)", "low")
ACC = Metric(
    "acc", classes.acc, LABEL, "fraction of right classes", "high", fraction=True, fails="label"
)
CONFUSION = Metric(
    "confusion",
    classes.confusion,
    LABEL,
    "mean over true classes of the fraction found",
    "high",
    fails="label",
)
T = Metric(
    "t", uncertainties.t, SIGMA, "fraction with |z_t - z_p| / sigma <= thr", "", 3.0, "", True
)
PULL = Metric("pull", uncertainties.pull, SIGMA, "1.48 MAD of (z_p - z_t) / sigma", "1")
COV68 = Metric(
    "cov68",
    uncertainties.coverage,
    SIGMA,
    "fraction of z_t in the highest-density region of probability thr",
    "thr",
    0.6827,
    fraction=True,
    density=("level", densities.coverage),
)
COV95 = replace(COV68, name="cov95", thr=0.95)
PIT = Metric(
    "pit",
    uncertainties.pit,
    SIGMA,
    "largest distance of the PIT from uniform",
    "0",
    density=("rank", densities.pit),
)
CRPS = Metric(
    "crps",
    uncertainties.crps,
    SIGMA,
    "continuous ranked probability score, in z",
    "low",
    density=("score", densities.crps),
)
ECE = Metric("ece", classes.ece, (*LABEL, "prob"), "calibration error of PROB, 15 bins", "0")
ECE_Z = Metric(
    "ece_z",
    classes.ece_z,
    (*Z, "zconf"),
    "calibration error of ZCONF as P(bias < thr), 15 bins",
    "0",
    GOOD_ALL,
)
PURITY = Metric(
    "purity",
    classes.purity,
    (*Z, "zwarn"),
    "of rows with ZWARN 0, the fraction with bias < thr",
    "high",
    GOOD_ALL,
    fails="z",
)
COMPLETENESS = Metric(
    "completeness",
    classes.completeness,
    (*Z, "zwarn"),
    "fraction of all rows with ZWARN 0 and bias < thr",
    "high",
    GOOD_ALL,
    fraction=True,
    fails="z",
)
EFF = Metric(
    "eff",
    uncertainties.eff,
    (*Z, "bound"),
    "1 / (1.48 MAD of (z_p - z_t) / bound)², where cat < 2 %",
    "1",
)

REDSHIFT = (BIAS, OFFSET, GF, RIGHT_V, STAR, DZ, MAE, NMAD, ETA, CAT, CAT_V)
UNCERTAINTY = (EBAR, T, PULL, COV68, COV95, PIT, CRPS, EFF)
CLASS = (ACC, CONFUSION, ECE, ECE_Z, PURITY, COMPLETENESS)
VELOCITY = tuple(metric.velocity() for metric in (OFFSET, DZ, NMAD, EBAR))

METRICS: tuple[Metric, ...] = (*REDSHIFT, *UNCERTAINTY, *CLASS, *VELOCITY)
"""In the order in which they are printed."""

BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}

SHORT = ("acc", "right", "gf", "nmad", "cat", "pull", "purity", "completeness")
"""What is computed where no metric is named: is it right, how precise, and does it know."""

MAX_CATASTROPHIC = 0.02
"""``eff`` means nothing where more than this share is beyond the threshold of ``cat``."""


def choose(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names: of ``SHORT`` where there is none. Raises ConfigError.

    ``all`` stands for every metric.
    """
    if "all" in names:
        return list(METRICS)
    for name in names or SHORT:
        if name not in BY_NAME:
            raise ConfigError(unknown("metric", name, BY_NAME))
    return [BY_NAME[name] for name in dict.fromkeys(names or SHORT)]


def parse_thresholds(texts: Sequence[str]) -> dict[str, Threshold]:
    """``eta=0.05``, ``gf=0.001`` (for all classes) or ``gf:QSO=0.01``. Raises ConfigError."""
    chosen: dict[str, Threshold] = {}
    for text in texts:
        key, _, value = text.partition("=")
        name, _, label = key.strip().partition(":")
        default = chosen.get(name, choose([name])[0].thr)
        if default is None:
            raise ConfigError(f"--thr {text}: {name} has no threshold")
        number = _number(value, text)
        others = default if isinstance(default, Mapping) else {}
        chosen[name] = {**others, label: number} if label else number
    return chosen


def say_threshold(thr: Threshold | None, unit: str = "") -> str:
    """A threshold with its unit and classes.

    >>> say_threshold({"GALAXY": 0.0015, "QSO": 0.015})
    '0.0015 GALAXY, 0.015 QSO'
    """
    if thr is None:
        return ""
    if isinstance(thr, Mapping):
        return ", ".join(" ".join(f"{v:g} {unit} {k}".split()) for k, v in thr.items())
    return f"{thr:g} {unit}".strip()


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"--thr {text}: expected METRIC=NUMBER or METRIC:CLASS=NUMBER") from None
