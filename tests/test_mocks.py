from __future__ import annotations

import numpy as np
import pytest

from zspec import ConfigError, mock_spectra
from zspec.simulate import restframe
from zspec.simulate.mocks import KINDS, _instrument, observe

BLUE = np.arange(3600.0, 5800.0, 0.8)
RED = np.arange(5760.0, 9800.0, 1.0)
ARMS = {"B": (BLUE, 0.75), "R": (RED, np.linspace(0.8, 1.2, len(RED)))}


def test_shapes_ids_and_truth() -> None:
    mocks = mock_spectra(ARMS, n=4, seed=1)
    assert [arm.name for arm in mocks.arms] == ["B", "R"]
    assert [arm.flux.shape for arm in mocks.arms] == [(4, len(BLUE)), (4, len(RED))]
    assert mocks.ids.tolist() == [1, 2, 3, 4]
    assert mocks.rows.tolist() == [0, 1, 2, 3]
    assert mocks.truth is not None
    assert mocks.truth.spectype.tolist() == ["GALAXY", "QSO", "STAR", "GALAXY"]
    assert all(arm.usable.all() for arm in mocks.arms)
    np.testing.assert_allclose(mocks.arms[1].resolution, ARMS["R"][1], rtol=1e-6)


def test_same_arguments_same_bits_whatever_n() -> None:
    few, many = (mock_spectra(ARMS, n=n, seed=5) for n in (2, 5))
    for one, other in zip(few.arms, many.arms, strict=True):
        np.testing.assert_array_equal(one.flux, other.flux[:2])
    other_seed = mock_spectra(ARMS, n=2, seed=6)
    assert not np.array_equal(few.arms[0].flux, other_seed.arms[0].flux)


@pytest.mark.parametrize("name", list(KINDS))
def test_snr_is_as_asked(name: str) -> None:
    instrument = _instrument([BLUE, RED], [np.full(len(BLUE), 0.8), np.full(len(RED), 1.0)])
    clean, noisy = (observe(name, instrument, [2], snr) for snr in (1e9, 8.0))
    assert np.median(clean.flux * np.sqrt(noisy.ivar)) == pytest.approx(8.0, rel=1e-6)
    assert np.ptp(noisy.ivar) > 0


@pytest.mark.parametrize("name", list(KINDS))
def test_noise_is_what_ivar_says(name: str) -> None:
    instrument = _instrument([RED], [np.full(len(RED), 1.0)])
    noisy = observe(name, instrument, [3], snr=5.0)
    clean = observe(name, instrument, [3], snr=1e9)
    pull = (noisy.flux - clean.flux) * np.sqrt(noisy.ivar)
    assert abs(pull.mean()) < 0.08
    assert abs(pull.std() - 1) < 0.05


def test_a_constant_stays_and_a_line_has_the_width_of_the_lsf() -> None:
    instrument = _instrument([RED], [np.full(len(RED), 3.0)])
    np.testing.assert_allclose(instrument.response.sum(axis=1), 1, rtol=1e-12)
    fine = instrument.fine
    line = instrument.response @ np.exp(-0.5 * ((fine - 7000) / 2.0) ** 2)
    centre = np.average(RED, weights=line)
    width = np.sqrt(np.average((RED - centre) ** 2, weights=line))
    assert centre == pytest.approx(7000, abs=1e-3)
    assert width == pytest.approx(np.sqrt(9 + 4 + 1 / 12), rel=1e-4)  # LSF, line, pixel
    assert line.sum() == pytest.approx(2.0 * np.sqrt(2 * np.pi), rel=1e-4)


def test_lines_lie_where_the_redshift_puts_them() -> None:
    mocks = mock_spectra({"R": (RED, 1.0)}, n=8, seed=4, snr=200.0, classes=("GALAXY",))
    assert mocks.truth is not None
    flux = mocks.arms[0].flux
    brightest = RED[np.argmax(flux / np.median(flux, axis=1, keepdims=True), axis=1)]
    rest = brightest / (1 + mocks.truth.z)
    lines = np.array([3727.09, 3729.88, 4862.68, 5008.24, 6564.61])
    offset = np.min(np.abs(rest[:, None] / lines - 1), axis=1)
    assert np.sum(offset < 4e-4) >= 6  # the others are passive


def test_two_features_lie_in_the_arms() -> None:
    mocks = mock_spectra({"Z": (np.arange(7520.0, 9824.0, 0.8), 0.9)}, 40, seed=1)
    assert mocks.truth is not None
    for name, kind in KINDS.items():
        z = mocks.truth.z[mocks.truth.spectype == name]
        assert np.all((z > kind.z_range[0] - 1e-3) & (z < kind.z_range[1] + 1e-3))
        if kind.features:
            at = np.multiply.outer(1 + z, kind.features)
            assert np.all(((at > 7520) & (at < 9824)).sum(axis=1) >= 2 - (name == "QSO"))


def test_forest_is_kambles_and_stops_at_the_limit() -> None:
    through = restframe.forest(np.array([900.0, 1100.0, 1215.0, 1300.0]), 2.5)
    tau = 0.00554 * (1100 * 3.5 / 1215.67) ** 3.182
    np.testing.assert_allclose(through[[0, 1, 3]], [0, np.exp(-tau), 1])


def test_no_spectra_and_arguments_without_sense() -> None:
    assert len(mock_spectra(ARMS, n=0, seed=1)) == 0
    with pytest.raises(ConfigError, match="did you mean 'GALAXY'"):
        mock_spectra(ARMS, n=1, seed=1, classes=("GALAXI",))
    for n, snr in ((-1, 20.0), (1, 0.0), (1, float("nan"))):
        with pytest.raises(ConfigError, match="need"):
            mock_spectra(ARMS, n=n, seed=1, snr=snr)
