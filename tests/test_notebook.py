"""What a notebook shows, spectra in memory, and specutils' Spectrum in and out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import zspec
from zspec import Arm, Candidates, ClassSpec, InputError, Prediction, Spectra, Truth
from zspec.notebook import ROWS

EXAMPLE = Path(__file__).parent.parent / "examples" / "coadd-example.fits"
WAVE = np.arange(4000.0, 5000.0, 2.0)
EVIL = "<script>alert(1)</script>"


def spectra(n=2, **more):
    flux = 3 + np.random.default_rng(1).normal(size=(n, len(WAVE))).astype(np.float32)
    ivar = np.ones_like(flux)
    ivar[:, 7] = 0
    arms = (Arm("T", WAVE, flux, ivar),)
    return Spectra(arms, np.arange(n) + 10**17, np.arange(n, dtype=np.int32), **more)


def test_spectra_show_themselves():
    shown = spectra(
        20, table={"NAME": np.full(20, EVIL)}, truth=Truth(np.full(20, "QSO"), WAVE[:20])
    )
    html = shown._repr_html_()
    assert "<b>20 spectra</b>, arms: T 500 pixels, 4000 to 4998 Å" in html
    assert "<script" not in html
    assert html.count("<tr>") == 1 + ROWS
    assert "and 12 more" in html
    points = re.search(r'points="([^"]+)"', html)[1].split()
    assert len(points) == 499  # of 500 pixels one is bad, and each has a column of its own
    assert len(spectra(0)._repr_html_()) < 1000


def test_a_spectrum_without_data_is_no_picture():
    nothing = np.zeros((1, len(WAVE)), np.float32)
    blank = Spectra((Arm("T", WAVE, nothing, nothing),), np.array([1]), np.array([0], np.int32))
    assert "no usable pixel" in blank._repr_html_()


def test_predictions_show_themselves():
    label = np.full((2, 5), -1, np.int16)
    label[0, :2] = [0, 1]
    values = np.where(label >= 0, 0.25, np.nan)
    made = Prediction(
        classes=(ClassSpec(EVIL, "GALAXY"), ClassSpec("Q", "QSO")),
        prob=np.array([[0.75, 0.25], [np.nan, np.nan]], np.float32),
        z=np.array([[0.123456789, 1.0], [np.nan, np.nan]]),
        sigma=np.full((2, 2), 1e-4),
        best=np.zeros(2, np.int16),
        zwarn=np.array([4, 512]),
        candidates=Candidates(label, values, values, values.astype(np.float32), values),
    )
    html = made._repr_html_()
    assert "<script" not in html
    for text in ("0.123457", "0.750", "Q 0.25000 (0.250)", "SMALL_DELTA_CHI2", "no data"):
        assert text in html


def test_spectra_in_memory_are_predicted_as_those_of_a_file():
    chunk = next(zspec.read(EXAMPLE))[:3]
    made, known = zspec.predict(chunk), zspec.predict(EXAMPLE)[:3]
    for name in ("TARGETID", "SPECTYPE", "ZWARN", "Z_TRUE"):
        assert np.array_equal(np.asarray(made[name]), np.asarray(known[name])), name
    for name in ("Z", "ZERR", "CHI2"):  # a chunk of other rows: sums are the same to rounding
        assert np.allclose(np.asarray(made[name]), np.asarray(known[name]), rtol=1e-9, atol=0), name
    assert made["Z"].info.description == "Redshift; 0 in a row without data."
    assert set(made["FILE"]) == {""}
    assert len(zspec.predict(chunk[:0])) == 0


@pytest.fixture
def specutils():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, when they are imported
        return pytest.importorskip("specutils", reason="pip install '.[specutils]'")


def test_specutils_there_and_back(specutils):
    given = spectra(3)
    out = zspec.to_specutils(given)
    assert list(out) == ["T"]
    assert out["T"].mask[:, 7].all()
    back = zspec.from_specutils(*out.values(), ids=given.ids.tolist())
    assert np.array_equal(back.ids, given.ids)
    arm, was = back.arms[0], given.arms[0]
    assert arm.name == "T"
    np.testing.assert_allclose(arm.wave, was.wave)
    np.testing.assert_allclose(arm.flux, was.flux, rtol=1e-6)
    np.testing.assert_allclose(arm.ivar, was.ivar, rtol=1e-5)


def test_specutils_of_other_units(specutils):
    """Frequencies and flux per frequency, decreasing wavelengths, variance, one spectrum."""
    from astropy import units as u
    from astropy.nddata import VarianceUncertainty

    axis = (WAVE * u.AA).to(u.THz, u.spectral())
    lam = np.full(len(WAVE), 5.0) * u.Unit("1e-17 erg / (s cm2 Angstrom)")
    flux = lam.to(u.Jy, u.spectral_density(axis))
    bad = np.arange(len(WAVE)) == 3
    one = specutils.Spectrum(
        flux=flux, spectral_axis=axis, uncertainty=VarianceUncertainty((flux / 10) ** 2), mask=bad
    )
    (arm,) = zspec.from_specutils(one).arms
    np.testing.assert_allclose(arm.wave, WAVE, rtol=1e-9)
    np.testing.assert_allclose(arm.flux[0, ~bad], 5.0, rtol=1e-5)
    np.testing.assert_allclose(arm.ivar[0, ~bad], 4.0, rtol=1e-5)
    assert not arm.usable[0, 3]
    (air,) = zspec.from_specutils(one, medium="air").arms
    assert air.wave[0] == pytest.approx(WAVE[0] * 1.00028, rel=1e-5)


def test_specutils_mistakes_are_one_line(specutils):
    from astropy import units as u
    from astropy.nddata import StdDevUncertainty

    flux, axis = np.ones(len(WAVE)) * u.Jy, WAVE * u.AA
    with pytest.raises(InputError, match="has no uncertainty"):
        zspec.from_specutils(specutils.Spectrum(flux=flux, spectral_axis=axis))
    counts = specutils.Spectrum(
        flux=flux.value * u.ct, spectral_axis=axis, uncertainty=StdDevUncertainty(flux.value)
    )
    with pytest.raises(InputError, match="not convertible"):
        zspec.from_specutils(counts)
    with pytest.raises(InputError, match="no Spectrum"):
        zspec.from_specutils()
    good = zspec.to_specutils(spectra(2))["T"]
    with pytest.raises(InputError, match="different lengths"):
        zspec.from_specutils(good, ids=[1])
