from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zspec import ConfigError, WaveGrid
from zspec.grid import bounds, overlap, resample

GRIDS = [
    WaveGrid.linear(4000, 1.0, 2001),
    WaveGrid.linear(4100, 3.7, 300),
    WaveGrid.log(4000, 6000, 1e-4),
    WaveGrid.log(4000, 6000, 5e-5),
    WaveGrid.native(np.arange(4000, 5000, 6.1), np.arange(4800, 6000, 8.5)),
]
grids = st.sampled_from(GRIDS)
seeds = st.integers(0, 2**32 - 1)
settings.register_profile("quick", max_examples=25, deadline=None)
settings.load_profile("quick")


def native(seed: int) -> tuple[np.ndarray, np.random.Generator]:
    """Pixels of uneven width from 3900 to about 6200 Å."""
    rng = np.random.default_rng(seed)
    return 3900 + np.cumsum(rng.uniform(0.4, 2.5, 1600)), rng


def ivars(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise that varies by orders of magnitude, with a fifth of the pixels dead."""
    return np.where(rng.random(shape) < 0.2, 0.0, 10 ** rng.uniform(-3, 3, shape))


@given(seeds, grids, st.sampled_from(["ivar", "overlap"]))
def test_a_constant_flux_density_stays_constant(seed, grid, weights):
    wave, rng = native(seed)
    ivar = ivars(rng, (3, len(wave)))
    flux, new = resample(wave, np.full_like(ivar, 7.25), ivar, grid, weights)
    assert np.allclose(flux[new > 0], 7.25, rtol=1e-12)
    assert np.all(flux[new == 0] == 0)


@given(seeds, st.sampled_from(["equal ivar", "overlap"]))
def test_the_integral_is_conserved(seed, case):
    wave, rng = native(seed)
    left, right = bounds(wave)
    flux = rng.normal(size=(2, len(wave)))
    ivar = np.ones_like(flux) if case == "equal ivar" else 10 ** rng.uniform(-3, 3, flux.shape)
    grid = WaveGrid.native(np.linspace(wave[0] - 50, wave[-1] + 50, 977))
    weights = "ivar" if case == "equal ivar" else "overlap"
    new, new_ivar = resample(wave, flux, ivar, grid, weights)
    out_left, out_right = grid.edges
    # output pixels at the ends are covered in part: count the covered part of each
    covered = overlap(wave, grid).sum(axis=1)
    assert np.allclose((new * covered).sum(1), (flux * (right - left)).sum(1), atol=1e-9)
    assert np.all(covered <= out_right - out_left + 1e-9)
    assert np.all(new_ivar >= 0)


@given(seeds, grids)
def test_a_pixel_without_ivar_cannot_matter(seed, grid):
    wave, rng = native(seed)
    ivar = ivars(rng, (2, len(wave)))
    flux = rng.normal(size=ivar.shape)
    poisoned = np.where(ivar > 0, flux, 1e30)
    for a, b in zip(
        resample(wave, flux, ivar, grid), resample(wave, poisoned, ivar, grid), strict=True
    ):
        assert np.array_equal(a, b)


@given(seeds, grids)
def test_rows_do_not_know_each_other(seed, grid):
    wave, rng = native(seed)
    ivar = ivars(rng, (4, len(wave)))
    flux = rng.normal(size=ivar.shape)
    order = rng.permutation(4)
    whole = resample(wave, flux, ivar, grid)
    shuffled = resample(wave, flux[order], ivar[order], grid)
    for a, b in zip(whole, shuffled, strict=True):
        assert np.array_equal(a[order], b)


def test_variance_is_carried_through():
    """Propagated by the weights, against a sparse covariance computed the long way."""
    wave, rng = native(1)
    ivar = ivars(rng, (1, len(wave)))
    grid = WaveGrid.linear(4000, 3.3, 600)
    _, new = resample(wave, np.zeros_like(ivar), ivar, grid)
    weight = overlap(wave, grid).toarray() * ivar
    total = weight.sum(1, keepdims=True)
    mean = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    variance = (mean**2 * np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)).sum(1)
    assert np.allclose(new[0][variance > 0], 1 / variance[variance > 0])
    assert np.array_equal(new[0] > 0, variance > 0)


def test_the_same_pixels_come_back_as_they_are():
    grid = WaveGrid.log(3600, 10400)
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(size=(2, 2, len(grid))) ** 2
    # edges of the log grid are geometric, those of a bare list of centres are midway: 1e-5 apart
    new, new_ivar = resample(grid.wave, flux, ivar, WaveGrid.native(grid.wave))
    assert np.allclose(new, flux, atol=1e-12)
    assert np.allclose(new_ivar, ivar, rtol=1e-9)


def test_log_grid_lies_on_the_phase_of_sdss():
    grid = WaveGrid.log(3600, 10400)
    k = np.log10(grid.wave) / 1e-4
    assert np.allclose(k, np.round(k), atol=1e-6)
    assert grid.wave[0] >= 3600 - 1e-6
    assert grid.wave[-1] <= 10400


@pytest.mark.parametrize("grid", GRIDS)
def test_a_grid_is_stored_and_found_again(grid):
    assert WaveGrid.from_dict(grid.to_dict()) == grid
    assert np.all(np.diff(WaveGrid.from_dict(grid.to_dict()).edges[0][:50]) > 0)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"kind": "cubic"},
        {"kind": "log", "start": "x"},
        {"kind": "linear", "start": 4000, "step": -1, "size": 5},
        {"kind": "linear", "start": float("nan"), "step": 1, "size": 5},
        {"kind": "log", "start": 36000, "step": 1e-4, "size": 0},
        {"kind": "native", "segments": [[3.0, 2.0]]},
        {"kind": "native", "segments": []},
    ],
)
def test_what_is_no_grid_is_refused(stored):
    with pytest.raises(ConfigError, match="no wavelength grid"):
        WaveGrid.from_dict(stored)


def test_empty_input_and_no_overlap():
    grid = WaveGrid.linear(4000, 1, 11)
    wave = np.arange(8000.0, 8100.0)
    flux, ivar = resample(wave, np.ones((2, 100)), np.ones((2, 100)), grid)
    assert not flux.any()
    assert not ivar.any()
    assert resample(wave, np.ones((0, 100)), np.ones((0, 100)), grid)[0].shape == (0, 11)
