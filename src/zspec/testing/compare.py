"""What "the same spectra" and "the same prediction" mean to the contracts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zspec.estimator import Prediction
from zspec.survey import Arm, Spectra


def single(chunks: Iterable[Spectra]) -> list[Spectra]:
    """The spectra of all chunks one by one, in order."""
    return [one for chunk in chunks for one in chunk.split(1)]


def assert_same_spectra(got: Iterable[Spectra], expected: Iterable[Spectra]) -> None:
    """The same rows in the same order: pixels and truth. Ids are compared apart."""
    for one, other in zip(single(got), single(expected), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert [arm.name for arm in one.arms] == [arm.name for arm in other.arms]
        for arm, before in zip(one.arms, other.arms, strict=True):
            assert_same_arm(arm, before)
        assert_same_truth(one, other)


def assert_same_arm(arm: Arm, other: Arm) -> None:
    """The same pixels, to the precision of float32: also of an error, where a file holds that."""
    np.testing.assert_allclose(arm.wave, other.wave, rtol=1e-6, err_msg=f"wave of {arm.name}")
    np.testing.assert_array_equal(arm.ivar == 0, other.ivar == 0, f"ivar = 0 of {arm.name}")
    np.testing.assert_array_equal(arm.usable, other.usable, f"good of {arm.name}")
    np.testing.assert_allclose(arm.ivar, other.ivar, rtol=1e-5, err_msg=f"ivar of {arm.name}")
    scale = float(np.max(np.abs(other.flux), initial=0))
    np.testing.assert_allclose(
        arm.flux, other.flux, rtol=1e-5, atol=1e-6 * scale, err_msg=f"flux of {arm.name}"
    )


def assert_same_truth(one: Spectra, other: Spectra) -> None:
    """The same class and redshift, or neither has any."""
    assert (one.truth is None) == (other.truth is None), "one has a truth, the other has none"
    if one.truth is not None and other.truth is not None:
        assert one.truth.spectype.tolist() == other.truth.spectype.tolist()
        np.testing.assert_allclose(one.truth.z, other.truth.z, atol=1e-6)


def spoil(spectra: Spectra, row: int, pixel: int) -> Spectra:
    """The same spectra with NaN in the flux of one pixel, and in the ivar of the next.

    ``Arm`` would set both to 0; a file that others wrote holds them, so they are put in behind it.
    """
    spoilt = spectra[:]
    for arm, original in zip(spoilt.arms, spectra.arms, strict=True):
        flux, ivar = original.flux.copy(), original.ivar.copy()
        flux[row, pixel], ivar[row, pixel + 1] = np.nan, np.nan
        object.__setattr__(arm, "flux", flux)
        object.__setattr__(arm, "ivar", ivar)
    return spoilt


def blank(spectra: Spectra, row: int) -> Spectra:
    """The same spectra, one of them without any good pixel."""
    arms = []
    for arm in spectra.arms:
        ivar = arm.ivar.copy()
        ivar[row] = 0
        arms.append(dataclasses.replace(arm, ivar=ivar))
    return dataclasses.replace(spectra, arms=tuple(arms))


def reorder(spectra: Spectra, order: NDArray[np.intp]) -> Spectra:
    """The same spectra in another order; only what an estimator may look at."""
    arms = [
        dataclasses.replace(
            arm,
            flux=arm.flux[order],
            ivar=arm.ivar[order],
            good=arm.usable[order],
            resolution=_rows(arm.resolution, order),
        )
        for arm in spectra.arms
    ]
    return Spectra(tuple(arms), spectra.ids[order], spectra.rows[order])


def assert_same_prediction(got: Prediction, expected: Prediction, tolerance: float) -> None:
    """The same class, and z and sigma of it, to ``tolerance`` (of 1 + z, and relative)."""
    n = np.arange(len(expected.best))
    np.testing.assert_array_equal(got.best, expected.best, "chosen class")
    np.testing.assert_allclose(got.prob, expected.prob, atol=10 * tolerance, err_msg="prob")
    z, before = got.z[n, got.best], expected.z[n, expected.best]
    np.testing.assert_allclose(1 + z, 1 + before, rtol=tolerance, err_msg="z")
    sigma, before = got.sigma[n, got.best], expected.sigma[n, expected.best]
    np.testing.assert_allclose(sigma, before, rtol=100 * tolerance, err_msg="sigma")


def _rows(
    resolution: NDArray[np.float32] | None, order: NDArray[np.intp]
) -> NDArray[np.float32] | None:
    return resolution[order] if resolution is not None and resolution.ndim == 2 else resolution
