"""zspec: spectra in, redshift catalogue out.

The public names, and no others. They are loaded when first used (PEP 562), so that importing zspec
costs nothing and listing surveys needs neither astropy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zspec.api import predict, read
    from zspec.batch import SpectrumBatch
    from zspec.density import Densities
    from zspec.errors import ConfigError, InputError, OutputError, PluginError, ZspecError
    from zspec.estimator import (
        Candidates,
        Chunk,
        ClassSpec,
        Estimator,
        ExtraColumn,
        Prediction,
    )
    from zspec.exchange import from_specutils, to_specutils
    from zspec.fits import FitsFile, open_fits, write_fits
    from zspec.flags import ZWarn
    from zspec.grid import WaveGrid
    from zspec.likelihood.bound import cramer_rao
    from zspec.plugins import hookimpl
    from zspec.simulate.mocks import mock_spectra
    from zspec.survey import HDU, Arm, Spectra, Survey, Truth, hash_id
    from zspec.units import air_to_vacuum, to_angstrom, to_flux_unit

_HOME = {
    "Arm": "survey",
    "Candidates": "estimator",
    "Chunk": "estimator",
    "ClassSpec": "estimator",
    "ConfigError": "errors",
    "Densities": "density",
    "Estimator": "estimator",
    "ExtraColumn": "estimator",
    "FitsFile": "fits",
    "HDU": "survey",
    "InputError": "errors",
    "OutputError": "errors",
    "PluginError": "errors",
    "Prediction": "estimator",
    "Spectra": "survey",
    "SpectrumBatch": "batch",
    "Survey": "survey",
    "Truth": "survey",
    "WaveGrid": "grid",
    "ZWarn": "flags",
    "ZspecError": "errors",
    "air_to_vacuum": "units",
    "cramer_rao": "likelihood.bound",
    "from_specutils": "exchange",
    "hash_id": "survey",
    "hookimpl": "plugins",
    "open_fits": "fits",
    "predict": "api",
    "read": "api",
    "mock_spectra": "simulate.mocks",
    "to_angstrom": "units",
    "to_flux_unit": "units",
    "to_specutils": "exchange",
    "write_fits": "fits",
}

__all__ = [
    "HDU",
    "Arm",
    "Candidates",
    "Chunk",
    "ClassSpec",
    "ConfigError",
    "Densities",
    "Estimator",
    "ExtraColumn",
    "FitsFile",
    "InputError",
    "OutputError",
    "PluginError",
    "Prediction",
    "Spectra",
    "SpectrumBatch",
    "Survey",
    "Truth",
    "WaveGrid",
    "ZWarn",
    "ZspecError",
    "air_to_vacuum",
    "cramer_rao",
    "from_specutils",
    "hash_id",
    "hookimpl",
    "mock_spectra",
    "open_fits",
    "predict",
    "read",
    "to_angstrom",
    "to_flux_unit",
    "to_specutils",
    "write_fits",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name == "__version__":
        from importlib.metadata import version

        return version("zspec-redshift")
    if name not in _HOME:
        raise AttributeError(f"module 'zspec' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"zspec.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
