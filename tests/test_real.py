"""Real files in, redshifts out: the shipped likelihood on spectra whose answer is known.

What a survey says of a fibre sets SKY and UNPLUGGED, so that ZWARN 0 is impossible there. Where the
spectrum has data, the tests below ask that the estimator sees by itself that nothing is there.
"""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from zspec import ZWarn, open_fits, predict
from zspec.testing import shared

GALAXY, QSO, STAR = 0.0015, 0.015, 0.0015
"""Most |dz| / (1 + z): the thresholds of `gf`, and a galaxy's for stars."""

SPECTRA = {
    "GALAXY": (
        "0266-51602-0001",  # no subclass, z 0.02
        "3650-55244-0001",  # BOSS, z 0.57 at SNR 2
        "0489-51930-0193",  # AGN
        "0285-51930-0184",  # STARFORMING
        "2880-54509-0230",  # STARBURST, a full spec file
        "0286-51999-0359",  # BROADLINE
    ),
    "QSO": (
        "6685-56412-0003",  # z 0.22
        "10000-57346-0002",  # eBOSS, z 0.65 at SNR 3
        "3655-55240-0002",  # z 2.36
        "0411-51817-0176",  # z 3.23
    ),
    "STAR": ("2089-53498-0199", "2942-54521-0124", "0618-52049-0372", "0266-51602-0031"),
}
"""SDSS spectra by class; the stars are A0, G2, M1 and a white dwarf."""

SKY = ("1947-53431-0275", "2342-53742-0580", "2297-53738-0003")
"""Sky fibres, which SDSS's pipeline took for galaxies at z 0.74 and a quasar at z 6.7."""

STUCK = 1 << 1
"""STUCKPOSITIONER of FIBERSTATUS."""

DATALESS = ("coadd-5-169-thru20210419.fits", "coadd-sv3-dark-26065.fits")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tests share their machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def desi():
    """Rows of each DESI file with a fibre map, by name."""
    folder = shared("desi")
    files = [p for p in sorted(folder.glob("*.fits")) if p.name.startswith(("coadd", "spectra"))]
    rows = predict([p for p in files if p.name != "coadd-25-no-fibermap.fits"], survey="desi")
    return {p.name: rows[rows["FILE"] == str(p)] for p in files}


def off(rows, z):
    return np.abs(rows["Z"] - z) / (1 + np.asarray(z, float))


def known(name):
    """TARGETID to redshift, as the manifest has it."""
    with (shared("desi") / "manifest.csv").open() as lines:
        return {
            int(r["targetid"]): float(r["z"]) for r in csv.DictReader(lines) if name == r["file"]
        }


def test_desi_quasars(desi):
    name = "coadd-1-80693-thru20210204.fits"
    rows, z = desi[name], known(name)
    assert len(rows) == len(z) == 5
    assert set(rows["SPECTYPE"]) == {"QSO"}
    assert np.all(off(rows, [z[i] for i in rows["TARGETID"].tolist()]) < QSO)
    assert rows["ZWARN"].tolist() == [0] * 5


def test_a_desi_galaxy(desi):
    name = "coadd-4-80613-thru20210324.fits"
    (row,) = desi[name]
    assert row["SPECTYPE"] == "GALAXY"
    assert off(row, known(name)[row["TARGETID"]]) < GALAXY
    assert row["ZWARN"] == 0


@pytest.mark.parametrize("name", DATALESS)
def test_desi_rows_without_data_are_said_to_be_so(desi, name):
    with open_fits(shared("desi") / name) as file:
        empty = ~sum(np.nansum(file.image(f"{arm}_IVAR"), axis=1) for arm in "BRZ").astype(bool)
    rows = desi[name]
    assert rows["ROW"].tolist() == list(range(len(empty)))
    assert empty.sum() >= 3
    assert np.array_equal((rows["ZWARN"] & ZWarn.NODATA) != 0, empty)
    assert np.all(rows["Z"][empty] == 0)


def test_no_stuck_or_sky_fibre_of_desi_passes(desi):
    found = 0
    for name, rows in desi.items():
        with open_fits(shared("desi") / name) as file:
            if not file.has("FIBERMAP"):
                continue
            ids = file.column("FIBERMAP", "TARGETID")
            bad = ids < 0
            for column in ("COADD_FIBERSTATUS", "FIBERSTATUS"):
                if file.has("FIBERMAP", column):
                    bad |= file.column("FIBERMAP", column) & STUCK != 0
            if file.has("FIBERMAP", "OBJTYPE"):
                bad |= file.column("FIBERMAP", "OBJTYPE") == "SKY"
        of_bad = np.isin(rows["TARGETID"], np.setdiff1d(ids[bad], ids[~bad]))
        assert np.all(rows["ZWARN"][of_bad] != 0), name
        found += of_bad.sum()
    assert found >= 10


def test_one_arm_alone_is_a_row(desi):
    rows = desi["spectra-main-dark-9144-r-arm-only.fits"]
    assert rows["ARMS"].tolist() == ["R", "R"]
    assert np.all(np.isfinite(rows["Z"]))
    assert np.all(rows["ZWARN"] & ZWarn.LITTLE_COVERAGE)


@pytest.fixture(scope="module")
def sdss():
    """Rows of the SDSS spectra above, by plate, MJD and fibre."""
    names = [*(name for some in SPECTRA.values() for name in some), *SKY]
    rows = predict([shared(f"sdss/spectra/spec-{name}.fits") for name in names], survey="sdss")
    return dict(zip(names, rows, strict=True))


@pytest.mark.parametrize(
    ("spectype", "name"), [(kind, name) for kind, some in SPECTRA.items() for name in some]
)
def test_sdss_objects_of_every_class(sdss, spectype, name):
    row = sdss[name]
    assert row["CLASS_TRUE"] == row["SPECTYPE"] == spectype
    assert off(row, row["Z_TRUE"]) < {"GALAXY": GALAXY, "QSO": QSO, "STAR": STAR}[spectype]


@pytest.mark.parametrize("name", SKY)
def test_sdss_sky_does_not_pass(sdss, name):
    zwarn = int(sdss[name]["ZWARN"])
    assert zwarn & ZWarn.SKY
    assert zwarn & ~ZWarn.SKY, "nothing but the plug map says that there is no object"


def test_a_truncated_file_in_a_folder_costs_itself_only(tmp_path, caplog):
    whole, other = (shared(f"sdss/spectra/spec-{n}.fits") for n in SPECTRA["STAR"][:2])
    for path in (whole, other):
        shutil.copy(path, tmp_path)
    (tmp_path / "spec-0001-cut.fits").write_bytes(whole.read_bytes()[:100_000])
    rows = predict(tmp_path, survey="sdss")
    assert rows["FILE"].tolist() == [str(tmp_path / path.name) for path in (whole, other)]
    assert set(rows["SPECTYPE"]) == {"STAR"}
    assert "spec-0001-cut.fits" in caplog.text
