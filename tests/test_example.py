"""The example that the README predicts, with the model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zspec import ZWarn, catalog, checkpoint, prediction
from zspec.sources import Source

EXAMPLE = Path(__file__).parent.parent / "examples" / "coadd-example.fits"


@pytest.fixture(scope="module")
def fitter():
    return checkpoint.load_estimator("likelihood")


def predicted(fitter, chunk=64):
    return prediction.predict([Source(EXAMPLE, "desi")], fitter, prediction.Task(chunk))


@pytest.fixture(scope="module")
def rows(fitter):
    return predicted(fitter).redshifts


def test_known_answers_come_back(rows):
    known = rows[rows["CLASS_TRUE"] != ""]
    assert len(known) == 10
    off = np.abs(known["Z"] - known["Z_TRUE"]) / (1 + known["Z_TRUE"])
    limit = np.where(known["CLASS_TRUE"] == "QSO", 0.015, 0.0015)
    assert np.all(off < limit)
    assert known["SPECTYPE"].tolist() == known["CLASS_TRUE"].tolist()
    assert np.mean(known["ZWARN"] == 0) >= 0.9


def test_sky_and_stuck_fibres_are_flagged(rows):
    sky, stuck = rows[-2], rows[-1]
    assert sky["ZWARN"] & ZWarn.SKY
    assert stuck["ZWARN"] & ZWarn.NODATA
    assert stuck["Z"] == 0


def test_the_same_bytes_again(fitter, tmp_path):
    for name in ("a.fits", "b.fits"):
        made = predicted(fitter)
        made.header |= prediction.provenance(
            fitter, prediction.Task(), "zspec predict", [EXAMPLE], {}
        )
        catalog.write(made, tmp_path / name)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_another_chunk_size_is_the_same_to_float_tolerance(fitter, rows):
    again = predicted(fitter, chunk=5).redshifts
    assert again["CLASS"].tolist() == rows["CLASS"].tolist()
    assert again["ZWARN"].tolist() == rows["ZWARN"].tolist()
    assert np.allclose(again["Z"], rows["Z"], atol=1e-8)
    assert np.allclose(again["CHI2"], rows["CHI2"], rtol=1e-7, equal_nan=True)
