from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zspec_lamost import LAMOST

from zspec import InputError, OutputError, Spectra, ZWarn, open_fits, read, write_fits
from zspec.testing import SurveyContract, shared

EXAMPLE = Path(__file__).parent.parent / "lamost-example.fits"


class TestLAMOST(SurveyContract):
    survey = LAMOST
    files = ("lamost/*.fits",)
    foreign = ("sdss/spectra/spec-0*.fits", "desi/coadd-*.fits", "4most/*.fits", "csst/*.fits")
    demo_name = "spec-58575-demo_sp01-001.fits"
    demo_rows = 1


def read_one(path: Path) -> Spectra:
    (spectra,) = LAMOST().read(path)
    return spectra


def joined(spectra: Spectra) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wavelength, flux and ivar of both arms, end to end."""
    parts = [(arm.wave, arm.flux[0], arm.ivar[0]) for arm in spectra.arms]
    wave, flux, ivar = (np.concatenate(part) for part in zip(*parts, strict=True))
    return wave, flux, ivar


def changed(tmp_path: Path, **cards: Any) -> Path:
    """A copy of the example with other header cards; None removes one."""
    with open_fits(EXAMPLE) as file:
        image, header = file.image(0), dict(file.header(0))
    kept = ("TELESCOP", "OBSID", "VACUUM", "COEFF0", "COEFF1", "RA", "DEC", "CLASS", "Z")
    wanted = {card: header[card] for card in kept} | cards
    path = tmp_path / "changed.fits"
    write_fits(path, [("Flux", image, {k: v for k, v in wanted.items() if v is not None})])
    return path


def test_example_is_what_make_example_writes() -> None:
    spectra, demo = read_one(EXAMPLE), LAMOST().demo(1, seed=14)
    assert spectra.truth is not None
    assert demo.truth is not None
    assert spectra.truth.spectype[0] == "GALAXY"
    np.testing.assert_allclose(spectra.truth.z, demo.truth.z)
    np.testing.assert_allclose(spectra.arms[0].flux, demo.arms[0].flux, rtol=1e-5)


def test_real_files_agree_with_the_manifest() -> None:
    folder = shared("lamost")
    with (folder / "manifest.csv").open() as text:
        for row in csv.DictReader(text):
            spectra = read_one(folder / row["file"])
            assert spectra.ids[0] == int(row["targetid"])
            assert spectra.truth is not None
            assert spectra.truth.spectype[0] == row["class"]
            expected = float(row["z"] or "nan")  # the header of an unknown says -9999
            np.testing.assert_allclose(spectra.truth.z[0], expected, atol=1e-6)


def test_ivar_is_an_inverse_variance() -> None:
    # the header's SNRR is the mean over r, flux * sqrt(ivar) per pixel
    folder = shared("lamost")
    for path in sorted(folder.glob("*.fits"))[::10]:
        with open_fits(path) as file:
            stated = float(file.header(0)["SNRR"])
        wave, flux, ivar = joined(read_one(path))
        in_r = (wave > 5700) & (wave < 6800) & (ivar > 0)
        if stated > 5:
            measured = np.median(flux[in_r] * np.sqrt(ivar[in_r]))
            assert measured == pytest.approx(stated, rel=0.2)


@pytest.mark.parametrize(
    ("fibre", "bit"),
    [("Obj", 0), ("F-Std", 0), ("Sky", ZWarn.SKY), ("Dead", ZWarn.UNPLUGGED)],
)
def test_fibre_types_become_flags(tmp_path: Path, fibre: str, bit: int) -> None:
    zwarn = read_one(changed(tmp_path, FIBERTYP=fibre)).zwarn
    assert zwarn is not None
    assert zwarn[0] == bit


@pytest.mark.parametrize("card", [False, 0, "F"])
def test_zspec_converts_from_air(tmp_path: Path, card: object) -> None:
    vacuum, *_ = joined(read_one(EXAMPLE))
    path = changed(tmp_path, VACUUM=card)
    assert {arm.medium for arm in read_one(path).arms} == {"air"}
    (spectra,) = read(path, "lamost")
    air, *_ = joined(spectra)
    assert np.all((air / vacuum - 1) > 2.6e-4)


@pytest.mark.parametrize("card", [True, 1, "T"])
def test_vacuum_is_kept(tmp_path: Path, card: object) -> None:
    (spectra,) = read(changed(tmp_path, VACUUM=card), "lamost")
    np.testing.assert_array_equal(joined(spectra)[0], joined(read_one(EXAMPLE))[0])


@pytest.mark.parametrize(
    ("card", "says"), [(None, "is missing"), (2, "is 2; expected"), ("no", "")]
)
def test_an_unknown_medium_is_refused(tmp_path: Path, card: object, says: str) -> None:
    with pytest.raises(InputError, match=f"VACUUM {says}"):
        read_one(changed(tmp_path, VACUUM=card))


def test_without_obsid_the_id_is_a_hash(tmp_path: Path) -> None:
    assert read_one(changed(tmp_path, OBSID=None)).ids[0] > 1e6


def test_a_file_holds_one_spectrum(tmp_path: Path) -> None:
    two = LAMOST().demo(2, seed=1)
    with pytest.raises(OutputError, match="one spectrum a file"):
        LAMOST().write(tmp_path / "two.fits", two)


def test_the_example_is_what_predict_says() -> None:
    from zspec import predict

    (row,) = predict(EXAMPLE)
    assert row["SPECTYPE"] == row["CLASS_TRUE"] == "GALAXY"
    assert abs(row["Z"] - row["Z_TRUE"]) < 0.0015 * (1 + row["Z_TRUE"])
