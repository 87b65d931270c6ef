from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zspec import Arm, WaveGrid
from zspec.arms import merge, to_grid

seeds = st.integers(0, 2**32 - 1)


def arm(name, wave, rng, n=2):
    ivar = np.where(rng.random((n, len(wave))) < 0.1, 0, rng.uniform(0.5, 5, (n, len(wave))))
    return Arm(name, wave, rng.normal(3, 1, ivar.shape), ivar, resolution=np.full(len(wave), 0.7))


def desi(seed, shift=0.0):
    """Three arms in steps of 0.8 Å on one phase; ``shift`` puts the middle one off it."""
    rng = np.random.default_rng(seed)
    return [
        arm("B", 3600 + 0.8 * np.arange(2751), rng),
        arm("R", 5760 + shift + 0.8 * np.arange(2326), rng),
        arm("Z", 7520 + 0.8 * np.arange(2881), rng),
    ]


@given(seeds)
def test_shared_pixels_are_averaged_by_ivar(seed):
    arms = desi(seed)
    merged = merge(arms)
    assert merged is not None
    assert merged.name == "BRZ"
    assert len(merged.wave) == 7781  # 3600 to 9824 Å in steps of 0.8 Å
    assert np.allclose(np.diff(merged.wave), 0.8)
    total = sum(a.ivar.astype(float).sum() for a in arms)
    weighted = sum((a.ivar.astype(float) * a.flux).sum() for a in arms)
    assert np.isclose(merged.ivar.astype(float).sum(), total, rtol=1e-6)
    assert np.isclose((merged.ivar.astype(float) * merged.flux).sum(), weighted, rtol=1e-5)


@given(seeds, st.permutations([0, 1, 2]))
def test_the_order_of_arms_does_not_matter(seed, order):
    arms = desi(seed)
    a, b = merge(arms), merge([arms[i] for i in order])
    for field in ("wave", "flux", "ivar"):
        assert np.array_equal(getattr(a, field), getattr(b, field))


def test_arms_out_of_phase_are_merged_on_the_grid():
    arms = desi(0, shift=0.3)
    assert merge(arms) is None
    grid = WaveGrid.log(3600, 9824, 5e-5)
    constant = [Arm(a.name, a.wave, np.full_like(a.flux, 2.0), a.ivar) for a in arms]
    flux, ivar = to_grid(constant, grid)
    assert np.allclose(flux[ivar > 0], 2.0)


def test_arms_that_do_not_overlap_merge_always():
    rng = np.random.default_rng(0)
    blue, red = arm("B", np.arange(4000.0, 5000, 1.3), rng), arm("R", np.arange(6e3, 7e3, 2.1), rng)
    merged = merge([red, blue])
    assert merged is not None
    assert np.array_equal(merged.wave, np.concatenate([blue.wave, red.wave]))
    assert np.array_equal(merged.ivar, np.concatenate([blue.ivar, red.ivar], axis=1))


def test_a_dead_arm_changes_nothing():
    arms = desi(3)
    dead = Arm("X", arms[1].wave, np.full_like(arms[1].flux, np.nan), np.zeros_like(arms[1].ivar))
    with_dead = merge([*arms, dead])
    alone = merge(arms)
    assert np.array_equal(with_dead.flux, alone.flux)
    assert np.array_equal(with_dead.ivar, alone.ivar)


def test_bad_pixels_are_zeroed_at_construction():
    flux = np.array([[1, np.nan, np.inf, 4, 5]], np.float32)
    ivar = np.array([[1, 1, 1, -1, np.nan]], np.float32)
    made = Arm("B", np.arange(5) + 4000.0, flux, ivar)
    assert made.usable.tolist() == [[True, False, False, False, False]]
    assert made.flux.tolist() == [[1, 0, 0, 0, 0]]
    assert made.ivar.tolist() == [[1, 0, 0, 0, 0]]


@pytest.mark.parametrize("wave", [[1, 3, 2], [1, 1, 2], [np.nan, 1, 2], [-1, 1, 2]])
def test_wavelengths_must_increase(wave):
    with pytest.raises(ValueError, match="increasing"):
        Arm("B", np.array(wave, float), np.ones((1, 3)), np.ones((1, 3)))


def test_arms_of_different_pixel_widths_are_not_pixel_on_pixel():
    fine = Arm("B", np.arange(4000.0, 4010.0), np.full((1, 10), 1.0), np.ones((1, 10)))
    coarse = Arm("R", np.arange(4001.0, 4015.0, 2.0), np.full((1, 7), 3.0), np.ones((1, 7)))
    assert merge([fine, coarse]) is None
