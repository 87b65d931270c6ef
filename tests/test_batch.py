from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zspec import Arm, ConfigError, Spectra, SpectrumBatch, WaveGrid, device

GRID = WaveGrid.log(4000, 6000)


def spectra(seed: int, n: int = 4) -> Spectra:
    rng = np.random.default_rng(seed)
    wave = np.arange(3900.0, 6100.0, 1.1)
    ivar = np.where(rng.random((n, len(wave))) < 0.3, 0, 10 ** rng.uniform(-2, 2, (n, len(wave))))
    if n:
        ivar[0] = 0
    flux = rng.normal(size=ivar.shape) * 10 ** rng.uniform(-6, 6, (n, 1))
    return Spectra((Arm("B", wave, flux, ivar),), np.arange(n) * 7, np.arange(n, dtype=np.int32))


@given(st.integers(0, 1000))
def test_the_contract_holds_and_scale_undoes(seed):
    batch = SpectrumBatch.from_spectra(spectra(seed), GRID)
    assert np.isfinite(batch.flux).all()
    assert not batch.good[0].any()
    assert batch.scale[0] == 1
    assert np.array_equal(batch.ids, np.arange(4) * 7)
    rms = np.sqrt((batch.flux.astype(float) ** 2).sum(1) / np.maximum(batch.good.sum(1), 1))
    assert np.allclose(rms[1:], 1, rtol=1e-4)
    assert np.array_equal(batch.error > 0, batch.good)


def test_an_empty_batch_is_allowed():
    batch = SpectrumBatch.from_spectra(spectra(0, n=0), GRID)
    assert batch.inputs(["flux", "error"]).shape == (0, 2, len(GRID))


def test_channels_are_stacked_in_the_order_asked_for():
    batch = SpectrumBatch.from_spectra(spectra(0), GRID)
    tensor = batch.inputs(["error", "good", "flux"])
    assert np.array_equal(tensor[:, 0].numpy(), batch.error)
    assert np.array_equal(tensor[:, 1].numpy(), batch.good.astype(np.float32))
    with pytest.raises(ConfigError, match="did you mean 'error'"):
        batch.inputs(["errors"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flux", np.full((4, len(GRID)), np.nan, np.float32)),
        ("error", np.full((4, len(GRID)), -1, np.float32)),
        ("flux", np.ones((4, 3), np.float32)),
        ("good", np.zeros((4, len(GRID)), bool)),
        ("scale", np.ones(3, np.float32)),
    ],
)
def test_a_broken_batch_is_refused(field, value):
    good = SpectrumBatch.from_spectra(spectra(0), GRID)
    values = {f: getattr(good, f) for f in ("flux", "error", "good", "grid", "ids", "scale")} | {
        field: value
    }
    with pytest.raises(ValueError, match=r"flux|error|scale"):
        SpectrumBatch(**values)


def test_what_float32_cannot_hold_is_not_good():
    ivar = np.ones((1, 2200))
    ivar[0, 5] = 1e-44
    flux = np.full((1, 2200), 1e-30)
    arm = Arm("B", np.arange(3900.0, 6100.0), flux, ivar)
    given = Spectra((arm,), np.arange(1), np.arange(1, dtype=np.int32))
    batch = SpectrumBatch.from_spectra(given, GRID)
    assert np.isfinite(batch.error).all()
    assert np.isfinite(batch.flux).all()


class Elsewhere:
    """A tensor that writes down how it is moved."""

    def __init__(self, place):
        self.device, self.moved = torch.device(place), []

    def pin_memory(self):
        self.moved.append("pinned")
        return self

    def to(self, device, **how):
        self.moved.append((str(device), how))
        return self


@pytest.mark.parametrize(
    ("start", "end", "moved"),
    [
        ("cpu", "cuda:1", ["pinned", ("cuda:1", {"non_blocking": True})]),
        ("cpu", "mps", [("mps", {})]),
        ("cuda", "cuda", [("cuda", {})]),
    ],
)
def test_what_goes_to_cuda_goes_by_pinned_memory(start, end, moved):
    assert device.move(Elsewhere(start), end).moved == moved


def test_what_stays_is_not_copied():
    tensor = torch.zeros(3)
    assert device.move(tensor, "cpu") is tensor
