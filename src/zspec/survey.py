"""What a survey is to zspec: a class of declarations, a ``sniff`` and a ``read``.

An adapter is a subclass of :class:`Survey`. It reads a file in the survey's own format and yields
:class:`Spectra`: native arms, native pixels, in chunks. It knows nothing of models, and the rest of
zspec knows nothing of surveys. This module imports numpy only, so that listing surveys is cheap.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import hashlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown

if TYPE_CHECKING:
    from zspec.grid import WaveGrid

FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"
"""The unit of every flux that an adapter yields."""

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
"""What names of surveys and estimators look like (4most starts with a digit)."""

Medium = Literal["vacuum", "air"]


ZEROS = 16
"""A run of that many pixels of flux exactly 0 was filled, not measured, whatever its ivar says: no
real spectrum of four surveys holds one, and counts that were clipped at 0 hold at most 7."""


@dataclass(frozen=True)
class Arm:
    """One spectrograph arm of n spectra, on its native pixels.

    Non-finite flux or ivar, negative ivar, ivar 0 and a run of ``ZEROS`` pixels of flux exactly 0
    make a pixel not good; flux and ivar are 0 there afterwards, so that nothing downstream meets a
    NaN.
    """

    name: str
    """Short name of the arm, as ``B``; the ARMS column joins these."""
    wave: NDArray[np.float64]
    """(pixel,) Å, strictly increasing, observed frame, in ``medium``."""
    flux: NDArray[np.float32]
    """(n, pixel) 1e-17 erg/s/cm2/Å, observed frame."""
    ivar: NDArray[np.float32]
    """(n, pixel) inverse variance of flux; 0 where there is no information."""
    good: NDArray[np.bool_] | None = None
    """(n, pixel) True is usable. None: wherever ivar > 0."""
    resolution: NDArray[np.float32] | None = None
    """(n, pixel) or (pixel,) sigma of the line-spread function in Å; None if the file has none."""
    medium: Medium | None = None
    """Where this arm differs from its survey's ``medium``."""

    def __post_init__(self) -> None:
        """Check shapes, and set flux and ivar to 0 where a pixel is not good."""
        wave = np.asarray(self.wave, np.float64)
        flux = np.asarray(self.flux, np.float32)
        ivar = np.asarray(self.ivar, np.float32)
        if wave.ndim != 1 or flux.ndim != 2 or flux.shape[1] != len(wave):
            raise ValueError(f"arm {self.name}: wave {wave.shape} and flux {flux.shape} disagree")
        if ivar.shape != flux.shape:
            raise ValueError(f"arm {self.name}: ivar {ivar.shape}, flux {flux.shape}")
        if not (np.all(wave[1:] > wave[:-1]) and np.all(wave[:1] > 0) and np.all(wave < np.inf)):
            raise ValueError(f"arm {self.name}: wavelengths must be finite, > 0 and increasing")
        good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
        if self.good is not None:
            good &= np.asarray(self.good, bool)
        good &= ~_in_runs(flux == 0)
        flux = np.where(good, flux, np.float32(0))
        ivar = np.where(good, ivar, np.float32(0))
        for name, value in (("wave", wave), ("flux", flux), ("ivar", ivar), ("good", good)):
            object.__setattr__(self, name, value)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n, pixel) ``good``, never None."""
        assert self.good is not None  # held by __post_init__
        return self.good

    def __getitem__(self, rows: slice) -> Arm:
        """The same arm for some of the spectra, as views: what was checked is not checked again."""
        some = copy.copy(self)
        for name in ("flux", "ivar", "good"):
            object.__setattr__(some, name, getattr(self, name)[rows])
        if self.resolution is not None and self.resolution.ndim == 2:
            object.__setattr__(some, "resolution", self.resolution[rows])
        return some


def _in_runs(zero: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, pixel) where at least ``ZEROS`` neighbours in a row are True."""
    found = np.zeros_like(zero)
    if zero.shape[1] < ZEROS or np.count_nonzero(zero) < ZEROS:
        return found
    full, size = zero, 1  # where a run of ``size`` begins
    while size < ZEROS:
        more = min(size, ZEROS - size)
        full, size = full[:, :-more] & full[:, more:], size + more
    if full.any():
        for shift in range(ZEROS):
            found[:, shift : shift + full.shape[1]] |= full
    return found


@dataclass(frozen=True)
class Truth:
    """What the input or its neighbour says the answer is. Never an input to a prediction."""

    spectype: NDArray[np.str_]
    """(n,) GALAXY, QSO, STAR, or empty where unknown."""
    z: NDArray[np.float64]
    """(n,) redshift, NaN where unknown."""
    label: NDArray[np.str_] | None = None
    """(n,) the survey's finest class, as ``GALAXY AGN`` or ``STAR K1``; empty where unknown."""

    def __getitem__(self, rows: slice) -> Truth:
        """The truth of some of the spectra."""
        label = None if self.label is None else self.label[rows]
        return Truth(self.spectype[rows], self.z[rows], label)


@dataclass(frozen=True)
class Spectra:
    """n spectra of one file that share their wavelengths, arm by arm.

    Empty (n = 0) is allowed. An arm without data for a spectrum has ivar 0 there.
    """

    arms: tuple[Arm, ...]
    """The native arms; they may overlap."""
    ids: NDArray[np.int64]
    """(n,) TARGETID, need not be unique."""
    rows: NDArray[np.int32]
    """(n,) row in the file, from 0; with the file's name the key of a spectrum."""
    table: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Columns that pass through to the catalogue, (n,) each: RA and DEC in degrees, names, ids."""
    truth: Truth | None = None
    """Class and redshift where the file or its neighbour knows them."""
    zwarn: NDArray[np.int64] | None = None
    """(n,) ZWARN bits that the file's own metadata give, as UNPLUGGED, BAD_TARGET, SKY."""
    snr: NDArray[np.float32] | None = None
    """(n,) SNR as the file states it, NaN where it does not; None: measured from the pixels."""

    def __post_init__(self) -> None:
        """Check that everything has n rows."""
        n = len(self.ids)
        sizes = {"rows": len(self.rows)} | {k: len(v) for k, v in self.table.items()}
        sizes |= {f"arm {a.name}": len(a.flux) for a in self.arms}
        if self.zwarn is not None:
            sizes["zwarn"] = len(self.zwarn)
        if self.snr is not None:
            sizes["snr"] = len(self.snr)
        if self.truth is not None:
            sizes |= {"truth.z": len(self.truth.z), "truth.spectype": len(self.truth.spectype)}
            if self.truth.label is not None:
                sizes["truth.label"] = len(self.truth.label)
        wrong = {k: v for k, v in sizes.items() if v != n}
        if wrong:
            raise ValueError(f"{n} ids, but {wrong}")

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Spectra:
        """Some of the spectra."""
        return Spectra(
            arms=tuple(arm[rows] for arm in self.arms),
            ids=self.ids[rows],
            rows=self.rows[rows],
            table={k: v[rows] for k, v in self.table.items()},
            truth=None if self.truth is None else self.truth[rows],
            zwarn=None if self.zwarn is None else self.zwarn[rows],
            snr=None if self.snr is None else self.snr[rows],
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from zspec.notebook import show_spectra

        return show_spectra(self)

    def split(self, size: int) -> Iterator[Spectra]:
        """The same spectra in pieces of ``size`` rows; the last may be shorter."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


@dataclass(frozen=True)
class HDU:
    """What ``sniff`` sees of one HDU: enough to recognise a layout without reading data."""

    name: str
    """EXTNAME in upper case, or empty."""
    kind: Literal["image", "table"]
    """A compressed image is an image."""
    header: Mapping[str, Any]
    """Header cards; keys in upper case."""
    columns: tuple[str, ...] = ()
    """Column names in upper case."""
    shape: tuple[int, ...] = ()
    """Image shape in numpy order, or (rows,)."""


class Survey:
    """Base of all adapters. Subclasses set the attributes and write ``sniff`` and ``read``."""

    name: ClassVar[str]
    """What ``--survey`` takes."""
    title: ClassVar[str]
    """The survey in words."""
    url: ClassVar[str]
    """Where its data model is described."""
    reference: ClassVar[str]
    """Paper to cite."""
    medium: ClassVar[Medium] = "vacuum"
    """Medium of the wavelengths in its files."""
    frame: ClassVar[str] = "barycentric"
    """Velocity frame of the wavelengths in its files."""
    arms: ClassVar[tuple[str, ...]]
    """Names of its arms, from blue to red."""
    grid: ClassVar[WaveGrid]
    """Grid of a new training; a checkpoint brings its own."""
    channels: ClassVar[tuple[str, ...]] = ("flux", "error")
    """What the common tensor holds for it."""
    classes: ClassVar[tuple[str, ...]] = ("GALAXY", "QSO", "STAR")
    """Classes that its objects can have."""
    file_patterns: ClassVar[tuple[str, ...]] = ()
    """Shell patterns for folders and ``--watch``; never used for recognition."""
    z_range: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Redshifts to search, by class or spectype, where fewer than a model's make sense."""
    simulation: ClassVar[Path | None] = None
    """Folder with ``instrument.toml`` and ``population.toml``, for ``zspec simulate``."""

    @dataclass(frozen=True)
    class Options:
        """What a user can choose with ``-S key=value``."""

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """Whether a file with these HDUs is one that ``read`` can read. Never raises."""
        raise NotImplementedError

    def count(self, hdus: Sequence[HDU]) -> int | None:
        """How many rows a file with these HDUs has: all ROW are below it.

        Large files are predicted in units of some rows, by several workers and again after a break.
        None: not known without its data, and the file is one unit.
        """
        return None

    def masked(self, spectra: Spectra) -> Spectra:
        """The spectra without the pixels that ``read`` leaves out by itself, as air's absorption.

        A training on mock spectra in memory sees by it what a prediction will see.
        """
        return spectra

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """Yield the spectra of a file in chunks, in the file's order.

        ``rows`` limits to spectra whose ROW lies in the range; ``options`` is an ``Options`` of
        this survey or None for its defaults. Raises :class:`zspec.InputError` with one line where
        the file is damaged or lacks what is needed.
        """
        raise NotImplementedError

    def demo(self, n: int, seed: int) -> Spectra:
        """``n`` simulated spectra with their truth, as this survey would observe them."""
        raise NotImplementedError

    def write(self, path: Path, spectra: Spectra) -> None:
        """Write spectra in the survey's native layout, so that ``read`` gives them back."""
        raise NotImplementedError


def hash_id(path: Path | str, row: int) -> int:
    """TARGETID of a spectrum whose file has none: 63 bits of SHA-256 of ``basename:row``."""
    name = str(path).replace("\\", "/").rsplit("/", 1)[-1]
    digest = hashlib.sha256(f"{name}:{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def option_help(options: type[Any]) -> dict[str, str]:
    """The docstring that stands below each field of an Options class, by field name."""
    try:
        source = textwrap.dedent(inspect.getsource(options))
    except (OSError, TypeError):  # made at run time: there is no source
        return {}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for item, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            texts[item.target.id] = inspect.cleandoc(str(following.value.value))
    return texts


def make_options(survey: Survey, given: Mapping[str, Any]) -> Any:
    """Build ``survey.Options`` from text or TOML values, strictly.

    Text is turned into the type of the field's default: a comma-separated string into a tuple.
    Raises ConfigError for an unknown key (with the nearest name) and for a value of a wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(survey.Options)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            raise ConfigError(unknown(f"option of survey {survey.name}", key, fields))
        values[key] = _convert(survey.name, key, value, fields[key].default)
    try:
        return survey.Options(**values)
    except ValueError as error:  # an Options class checks its own values
        raise ConfigError(f"survey {survey.name}: {error}") from None


WORDS = {bool: "true or false", int: "whole number", float: "number", tuple: "list", str: "text"}
"""Types in words."""


def _convert(survey: str, key: str, value: Any, default: Any) -> Any:
    """``value`` as the type of ``default``; see :func:`make_options`."""
    kind = type(default)
    text = value.strip() if isinstance(value, str) else value
    if kind is bool and isinstance(text, str):
        if text.lower() in ("true", "yes", "1"):
            return True
        if text.lower() in ("false", "no", "0"):
            return False
    elif kind is tuple and isinstance(text, str):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    elif kind is tuple and isinstance(text, list):
        return tuple(text)
    elif kind in (int, float) and isinstance(text, (str, int, float)):
        try:
            return kind(text)
        except ValueError:
            pass
    elif default is None or isinstance(text, kind):
        return text
    raise ConfigError(f"survey {survey}: option {key}={value!r} is no {WORDS[kind]}")
