"""Spectra from and to specutils (extra ``specutils``): what other tools of astropy hand over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, InputError
from zspec.survey import FLUX_UNIT, Arm, Medium, Spectra, hash_id

if TYPE_CHECKING:
    from specutils import Spectrum


def from_specutils(
    *spectra: Spectrum, ids: Sequence[int] | None = None, medium: Medium = "vacuum"
) -> Spectra:
    """Spectra of specutils' Spectrum objects, each an arm of the same n objects.

    Flux (pixel,) or (n, pixel) in a unit of flux density (per wavelength or per frequency) becomes
    1e-17 erg/s/cm2/Å; the spectral axis, of any kind and order, Å in vacuum and the observed frame.
    ``medium`` says what its wavelengths are in. Uncertainty of any kind becomes ivar; a mask is
    True where a pixel is bad, as in specutils; NaN is bad. ``ids`` (n,) are TARGETIDs, else hashes.
    Raises InputError where an uncertainty is missing, a unit makes no sense, or the number of
    objects differs.
    """
    from zspec.sources import in_vacuum

    if not spectra:
        raise InputError("no Spectrum was given")
    arms = tuple(in_vacuum(_arm(one, str(k)), medium) for k, one in enumerate(spectra))
    sizes = {len(arm.flux) for arm in arms}
    if len(sizes) > 1 or (ids is not None and sizes != {len(ids)}):
        raise InputError(f"Spectrum objects and ids of different lengths: {sorted(sizes)}")
    n = sizes.pop()
    known = [hash_id("specutils", i) for i in range(n)] if ids is None else list(ids)
    return Spectra(arms, np.array(known, np.int64), np.arange(n, dtype=np.int32))


def _arm(spectrum: Spectrum, number: str) -> Arm:
    """One Spectrum as an arm, wavelengths increasing, medium as they are."""
    from astropy import units as u

    name = str(spectrum.meta.get("arm", number))
    if spectrum.uncertainty is None:
        raise InputError(f"Spectrum {name}: has no uncertainty; zspec needs one")
    axis = spectrum.spectral_axis
    unit, kind = u.Unit(FLUX_UNIT), u.spectral_density(axis)
    try:
        wave = axis.to_value(u.AA, u.spectral())
        flux = spectrum.flux.to_value(unit, kind)
        sigma = _sigma(spectrum).to_value(unit, kind)
    except u.UnitConversionError as reason:
        raise InputError(f"Spectrum {name}: {reason}") from None
    order = np.argsort(wave)
    masked = spectrum.mask if spectrum.mask is not None else np.zeros(flux.shape, bool)
    shown, error, bad = (np.atleast_2d(one)[:, order] for one in (flux, sigma, masked))
    ivar: NDArray[np.float64] = np.zeros_like(error)
    np.divide(1, error**2, out=ivar, where=error > 0)
    return Arm(name, wave[order], shown, ivar.astype(np.float32), ~bad)


def _sigma(spectrum: Spectrum) -> Any:
    """1 sigma as a Quantity in the flux's unit, whatever kind of uncertainty it is."""
    from astropy.nddata import StdDevUncertainty

    with np.errstate(divide="ignore"):  # no information is an infinite sigma
        return spectrum.uncertainty.represent_as(StdDevUncertainty).quantity


def to_specutils(spectra: Spectra) -> dict[str, Spectrum]:
    """A specutils Spectrum for each arm, by its name: flux (n, pixel) in 1e-17 erg/s/cm2/Å.

    Uncertainty is InverseVariance, 0 where a pixel is not good, and the mask True there; ``meta``
    holds the arm's name and the TARGETIDs. Raises ConfigError where specutils is missing.
    """
    try:
        from specutils import Spectrum
    except ImportError:
        reason = "specutils is needed; pip install 'zspec-redshift[specutils]'"
        raise ConfigError(reason) from None
    from astropy import units as u
    from astropy.nddata import InverseVariance

    unit = u.Unit(FLUX_UNIT)

    def one(arm: Arm) -> Spectrum:
        usable: NDArray[np.bool_] = arm.usable
        return Spectrum(
            flux=arm.flux * unit,
            spectral_axis=arm.wave * u.AA,
            uncertainty=InverseVariance(arm.ivar, unit=unit**-2),
            mask=~usable,
            meta={"arm": arm.name, "TARGETID": spectra.ids.tolist()},
        )

    return {arm.name: one(arm) for arm in spectra.arms}
