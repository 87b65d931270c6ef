"""Where a CSST file keeps what: the declared map of HDUs and columns, and how to change it."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zspec import ConfigError


@dataclass(frozen=True)
class Layout:
    """Names of HDUs and columns, in any case. ``{band}`` stands for GU, GV or GI."""

    wave: str = "{band}_WAVELENGTH"
    """Image HDU (pixel,) or (source, pixel): wavelengths in vacuum; unit from BUNIT."""
    flux: str = "{band}_FLUX"
    """Image HDU (source, pixel) or, for one source, (pixel,): flux density; unit from BUNIT."""
    ivar: str = "{band}_IVAR"
    """Image HDU like flux: inverse variance, in the inverse square of flux's unit."""
    error: str = "{band}_ERR"
    """Image HDU like flux: 1 sigma in flux's unit; read where there is no ivar."""
    mask: str = "{band}_MASK"
    """Image HDU like flux, may be missing: 0 is good."""
    lsf: str = "{band}_LSFSIGMA"
    """Image HDU like wave, may be missing: sigma of the line-spread function in wave's unit."""
    catalog: str = "CATALOG"
    """Table HDU, one row a source, may be missing."""
    spectra: str = "SPECTRA"
    """Table HDU, one row a source and band, with vectors; read where there are no images."""
    id_column: str = "ID"
    """In both tables: the source, as text or number."""
    band_column: str = "BAND"
    """In the table of spectra: GU, GV or GI."""
    wave_column: str = "WAVELENGTH"
    """In the table of spectra: vector, unit from TUNIT."""
    flux_column: str = "FLUX"
    """In the table of spectra: vector, unit from TUNIT."""
    error_column: str = "ERR"
    """In the table of spectra: vector, 1 sigma in flux's unit."""
    z_column: str = "Z_TRUE"
    """In either table, may be missing: the true redshift."""
    class_column: str = "CLASS"
    """In either table, may be missing: GALAXY, QSO or STAR."""
    subclass_column: str = "SUBCLASS"
    """In either table, may be missing: where there is no class, a kind of galaxy means GALAXY."""
    ra_column: str = "RA"
    """In either table, may be missing: degrees, ICRS."""
    dec_column: str = "DEC"
    """In either table, may be missing: degrees, ICRS."""
    label_column: str = "LABEL"
    """In either table, may be missing: the finest class, as a simulation knows it."""
    contamination_column: str = "CONTAM_{band}"
    """In either table, may be missing: share of the extracted light that is of other sources, as
    the pipeline estimates it from direct images."""
    keep: tuple[str, ...] = ("SNR_GU", "SNR_GV", "SNR_GI")
    """Columns of either table that pass through to the catalogue."""
    wave_unit: str = "Angstrom"
    """Unit of wavelengths where the file states none."""
    flux_unit: str = ""
    """Unit of flux where the file states none; empty: that is an error."""


def load_layout(path: str) -> Layout:
    """The layout of a TOML file; what it does not name stays as declared.

    An empty path is the default. Raises ConfigError for a file that cannot be read, a key that
    does not exist (with the nearest one), and a value of a wrong type.
    """
    if not path:
        return Layout()
    import tomli

    try:
        given = tomli.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: layout cannot be read ({error.strerror})") from None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: layout is no TOML ({error})") from None
    return Layout(**{key: _value(path, key, value) for key, value in given.items()})


def _value(path: str, key: str, value: Any) -> Any:
    """A checked value of a layout file."""
    defaults = {f.name: f.default for f in dataclasses.fields(Layout)}
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(defaults)}"
        raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    texts = isinstance(value, list) and all(isinstance(v, str) for v in value)
    if isinstance(defaults[key], tuple) and texts:
        return tuple(value)
    if isinstance(defaults[key], str) and isinstance(value, str):
        return value
    expected = "a list of texts" if isinstance(defaults[key], tuple) else "text"
    raise ConfigError(f"{path}: {key} = {value!r}, but {expected} was expected")
