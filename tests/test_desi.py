"""DESI: the contract on demo and real files, and what is DESI's own."""

import dataclasses
import gzip
import logging
import runpy
from pathlib import Path

import numpy as np
import pytest
from zspec_desi.adapter import DESI

from zspec import InputError, OutputError, Spectra, ZWarn, open_fits, write_fits
from zspec.arms import merge
from zspec.survey import make_options
from zspec.testing import SurveyContract, compare, shared

WAVE = {"B": 3600 + 0.8 * np.arange(50), "R": 3600 + 0.8 * np.arange(40, 90)}
MASKS = ("image", "compressed", "table", "none")


class TestDESI(SurveyContract):
    survey = DESI
    files = ("desi/coadd-*.fits", "desi/spectra-*.fits")
    foreign = (
        "desi/redrock-4-80613-thru20210324.fits",
        "desi/QSO_cat_fuji_dark_tile.fits.gz",
        "desi/stack-LRG.fits",
    )


def write_file(path, ids, *, arms=("B", "R"), fibermap=None, mask="image", **images):
    """A small file: flux is the number of the row, ivar 1; ``images`` replace HDUs by name."""
    n = len(ids)
    hdus = [("", np.zeros(0), {})]
    if fibermap is not None:
        hdus.append(("FIBERMAP", {"TARGETID": np.asarray(ids, np.int64)} | fibermap, {}))
    for arm in arms:
        wave = WAVE.get(arm, WAVE["B"])
        flux = np.repeat(np.arange(n, dtype=np.float32)[:, None], len(wave), axis=1)
        flux[:1, ::8] = 1e-6  # a run of exact zeros would be no data
        hdus.append((f"{arm}_WAVELENGTH", wave, {}))
        hdus.append((f"{arm}_FLUX", images.get(f"{arm}_FLUX", flux), {}))
        hdus.append((f"{arm}_IVAR", images.get(f"{arm}_IVAR", np.ones_like(flux)), {}))
        bits = np.zeros(flux.shape, np.int32)
        bits[:, 3] = 2
        if mask != "none":
            hdus.append((f"{arm}_MASK", {"MASK": bits} if mask == "table" else bits, {}))
        if f"{arm}_RESOLUTION" in images:
            hdus.append((f"{arm}_RESOLUTION", images[f"{arm}_RESOLUTION"], {}))
    small = {f"{arm}_MASK" for arm in arms} if mask == "compressed" else set()
    write_fits(path, hdus, compress=small)
    return path


def cut(data):
    packed = gzip.compress(data)
    return packed[: len(packed) * 3 // 4]


def in_two(data):
    """cfitsio reads the first of these alone."""
    middle = data.find(b"XTENSION", len(data) // 2)
    return gzip.compress(data[:middle]) + gzip.compress(data[middle:])


def read(path, rows=None, **options) -> Spectra:
    """The only chunk of a file."""
    survey = DESI()
    (spectra,) = survey.read(path, rows, make_options(survey, options))
    return spectra


def flux_of(spectra, pixel=10):
    return spectra.arms[0].flux[:, pixel].tolist()


@pytest.mark.parametrize("mask", MASKS)
def test_masks_of_every_kind(tmp_path, mask):
    path = write_file(tmp_path / "coadd-a.fits", [1, 2, 3], fibermap={}, mask=mask)
    for arm in read(path, rows=range(1, 3)).arms:
        assert arm.usable.shape[0] == 2
        assert arm.usable[:, 3].all() == (mask == "none")
        assert arm.usable[:, 4:].all()
    assert all(arm.usable.all() for arm in read(path, mask="none").arms)


def test_arms_merge_pixel_on_pixel(tmp_path):
    path = write_file(tmp_path / "coadd-a.fits", [1, 2], fibermap={}, mask="none")
    merged = merge(read(path).arms)
    assert len(merged.wave) == 90
    assert merged.ivar[0].tolist() == [1.0] * 40 + [2.0] * 10 + [1.0] * 40
    assert np.all(merged.flux[1] == 1)


def test_exposures_are_combined_wherever_they_are(tmp_path):
    path = write_file(tmp_path / "spectra-a.fits", [7, 8, 7, 9, 8, 7], fibermap={}, mask="none")
    spectra = read(path)
    assert spectra.ids.tolist() == [7, 8, 9]
    assert spectra.rows.tolist() == [0, 1, 3]
    assert flux_of(spectra) == pytest.approx([(0 + 2 + 5) / 3, (1 + 4) / 2, 3])
    assert spectra.arms[0].ivar[:, 0].tolist() == [3, 2, 1]
    some = read(path, rows=range(1, 3))  # the target whose first row is 1, with all its exposures
    assert some.rows.tolist() == [1]
    assert flux_of(some) == pytest.approx([2.5])
    apart = read(path, combine="false")
    assert apart.ids.tolist() == [7, 8, 7, 9, 8, 7]
    assert flux_of(apart) == [0, 1, 2, 3, 4, 5]


def test_exposures_weigh_by_ivar(tmp_path):
    ivar = np.ones((2, 50), np.float32)
    ivar[0] = 3
    ivar[1, 20] = 0
    path = write_file(
        tmp_path / "spectra-a.fits", [5, 5], fibermap={}, arms=("B",), mask="none", B_IVAR=ivar
    )
    arm = read(path).arms[0]
    assert arm.flux[0, 10] == pytest.approx(0.25)
    assert arm.ivar[0, 10] == 4
    assert (arm.flux[0, 20], arm.ivar[0, 20]) == (0, 3)


def test_placeholder_ids_are_never_combined(tmp_path):
    path = write_file(tmp_path / "spectra-a.fits", [-1, 0, -1, 0, 4, 4], fibermap={})
    spectra = read(path)
    assert spectra.rows.tolist() == [0, 1, 2, 3, 4]
    assert flux_of(spectra) == pytest.approx([0, 1, 2, 3, 4.5])


def test_bad_exposures_are_left_out_where_there_are_better_ones(tmp_path):
    status = np.array([1 << 9, 1 << 3, 1 << 20 | 1 << 3, 1 << 9, 1 << 2, 1 << 22])
    path = write_file(
        tmp_path / "spectra-a.fits",
        [1, 1, 1, 2, 2, 3],
        fibermap={"FIBERSTATUS": status.astype(np.int32), "EXPID": np.arange(6)},
    )
    spectra = read(path)
    assert spectra.rows.tolist() == [0, 3, 5]
    assert flux_of(spectra) == pytest.approx([1.5, 3.5, 5])
    assert spectra.table["COADD_FIBERSTATUS"].tolist() == [1 << 3, 1 << 9 | 1 << 2, 1 << 22]
    assert spectra.table["COADD_NUMEXP"].tolist() == [2, 0, 1]
    bad, unplugged = int(ZWarn.BAD_TARGET), int(ZWarn.UNPLUGGED)
    assert spectra.zwarn.tolist() == [0, bad | unplugged, bad]


def test_type_and_status_become_zwarn(tmp_path):
    kind = np.array(["TGT", "SKY", "BAD", "", "TGT", "TGT"])
    status = np.array([8, 0, 0, 1, 1 << 20, 1 << 10], np.int32)
    columns = {"OBJTYPE": kind.astype("S3"), "COADD_FIBERSTATUS": status}
    path = write_file(tmp_path / "coadd-a.fits", [1, 2, 3, -44, 5, 6], fibermap=columns)
    sky, bad, unplugged = (int(ZWarn[n]) for n in ("SKY", "BAD_TARGET", "UNPLUGGED"))
    assert read(path).zwarn.tolist() == [0, sky, bad, unplugged, 0, bad]


def test_ids_tell_of_sky_and_lost_fibres_where_nothing_else_does(tmp_path):
    path = write_file(tmp_path / "coadd-a.fits", [616088619186127404, -7, 12], fibermap={})
    assert read(path).zwarn.tolist() == [int(ZWarn.SKY), int(ZWarn.UNPLUGGED), 0]
    hashed = read(write_file(tmp_path / "coadd-b.fits", range(40)))
    assert not hashed.zwarn.any()
    assert len(set(hashed.ids.tolist())) == 40


def test_merged_arms(tmp_path):
    path = write_file(tmp_path / "coadd-a.fits", [1, 2], fibermap={}, arms=("BRZ",))
    assert [arm.name for arm in read(path).arms] == ["BRZ"]


def test_chunks_hold_few_rows_and_whole_targets(tmp_path):
    ids = np.concatenate([np.arange(1, 401), np.arange(1, 401)])
    path = write_file(tmp_path / "spectra-a.fits", ids, fibermap={}, arms=("B",), mask="none")
    chunks = list(DESI().read(path))
    assert [len(c) for c in chunks] == [256, 144]  # 512 rows are 256 targets
    assert np.concatenate([c.rows for c in chunks]).tolist() == list(range(400))
    assert np.concatenate([flux_of(c) for c in chunks]) == pytest.approx(np.arange(400) + 200)


def test_lsf_is_the_second_moment_of_the_diagonals(tmp_path):
    path = tmp_path / "coadd-a.fits"
    demo = DESI().demo(3, seed=4)
    dead = [dataclasses.replace(arm, ivar=arm.ivar * [[1], [0], [1]]) for arm in demo.arms]
    wide = [
        dataclasses.replace(a, resolution=np.stack([a.resolution * f for f in (1, 1, 1.2)]))
        for a in dead
    ]
    DESI().write(path, dataclasses.replace(demo, arms=tuple(wide)))
    for arm, before in zip(read(path).arms, demo.arms, strict=True):
        np.testing.assert_allclose(arm.resolution, before.resolution, rtol=2e-3)
    for arm, before in zip(read(path, lsf="each").arms, demo.arms, strict=True):
        expected = before.resolution * np.array([[1], [1], [1.2]])
        np.testing.assert_allclose(arm.resolution, expected, rtol=2e-3)
    assert all(arm.resolution is None for arm in read(path, lsf="none").arms)


def test_a_fibre_without_data_has_no_lsf_of_its_own(tmp_path):
    band = np.zeros((3, 11, 50), np.float32)
    path = write_file(
        tmp_path / "coadd-a.fits", [1, 2, 3], fibermap={}, arms=("B",), B_RESOLUTION=band
    )
    assert read(path).arms[0].resolution is None
    assert read(path, lsf="each").arms[0].resolution is None


def test_truth_is_what_redrock_is_sure_of(tmp_path):
    path = write_file(tmp_path / "spectra-x.fits.gz", [3, 1, 2], fibermap={})
    columns = {
        "TARGETID": np.array([1, 2, 3]),
        "Z": np.array([0.1, 0.2, 0.3]),
        "ZWARN": np.array([0, 4, 0]),
        "SPECTYPE": np.array([b"GALAXY", b"QSO", b"STAR"]),
    }
    write_fits(tmp_path / "zbest-x.fits", [("", np.zeros(0), {}), ("ZBEST", columns, {})])
    truth = read(path).truth
    assert truth.spectype.tolist() == ["STAR", "GALAXY", ""]
    np.testing.assert_equal(truth.z, [0.3, 0.1, np.nan])


def test_a_damaged_truth_costs_a_warning(tmp_path, caplog):
    path = write_file(tmp_path / "coadd-x.fits", [1, 2], fibermap={})
    (tmp_path / "redrock-x.fits").write_text("nothing")
    with caplog.at_level(logging.WARNING, logger="zspec"):
        assert read(path).truth is None
    assert "redrock-x.fits" in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"B_IVAR": np.ones((3, 7), np.float32)}, "B_IVAR"),
        ({"B_RESOLUTION": np.ones((3, 11, 7), np.float32)}, "lsf=none"),
        ({"R_FLUX": np.ones((2, 50), np.float32), "R_IVAR": np.ones((2, 50), "f4")}, "different"),
        ({"fibermap": {"TARGETID": np.arange(2)}}, "FIBERMAP"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, change, says):
    path = write_file(tmp_path / "coadd-x.fits", [1, 2, 3], **({"fibermap": {}} | change))
    with pytest.raises(InputError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert "coadd-x.fits" in str(caught.value)


def test_a_file_cut_between_arms_is_an_error(tmp_path):
    path = tmp_path / "coadd-x.fits"
    DESI().write(path, DESI().demo(2, seed=1))
    whole = path.read_bytes()
    with open_fits(path) as fits:
        start = whole.find(b"XTENSION", len(whole) // 2)
        assert len(fits.hdus) > 10
    path.write_bytes(whole[: start + 1000])
    with pytest.raises(InputError, match="truncated"):
        read(path)


@pytest.mark.parametrize("pack", [cut, in_two], ids=["cut", "in two streams"])
def test_a_gzipped_file_that_is_not_read_whole_is_an_error(tmp_path, pack):
    path = write_file(tmp_path / "coadd-x.fits", [1, 2, 3], fibermap={})
    packed = tmp_path / "coadd-x.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [arm.name for arm in read(packed).arms] == ["B", "R"]
    packed.write_bytes(pack(path.read_bytes()))
    with pytest.raises(InputError, match="coadd-x") as caught:
        read(packed)
    assert "\n" not in str(caught.value)


def test_options_are_checked():
    for key, value in (("mask", "or"), ("lsf", "all")):
        with pytest.raises(ValueError, match=f"{key}="):
            DESI.Options(**{key: value})


def test_write_replaces_nothing(tmp_path):
    path = tmp_path / "coadd-x.fits"
    DESI().write(path, DESI().demo(1, seed=1))
    with pytest.raises(OutputError):
        DESI().write(path, DESI().demo(1, seed=1))


def test_flags_and_columns_come_back(tmp_path):
    demo = DESI().demo(4, seed=1)
    zwarn = np.array([0, ZWarn.SKY, ZWarn.UNPLUGGED, ZWarn.BAD_TARGET], np.int64)
    path = tmp_path / "coadd-x.fits"
    DESI().write(path, dataclasses.replace(demo, zwarn=zwarn))
    again = read(path)
    assert again.zwarn.tolist() == zwarn.tolist()
    np.testing.assert_array_equal(again.table["RA"], demo.table["RA"])
    assert again.table["OBJTYPE"].tolist() == ["TGT", "SKY", "TGT", "TGT"]


def test_the_example_is_what_its_script_makes(tmp_path):
    folder = Path(__file__).parents[1] / "examples"
    runpy.run_path(str(folder / "make_coadd.py"))["main"](tmp_path)
    made, there = (read(place / "coadd-example.fits") for place in (tmp_path, folder))
    compare.assert_same_spectra([there], [made])
    assert there.ids.tolist() == made.ids.tolist()
    assert np.isfinite(there.truth.z).tolist() == [True] * 10 + [False] * 2
    unplugged, bad = int(ZWarn.UNPLUGGED), int(ZWarn.BAD_TARGET)
    assert there.zwarn.tolist() == [0] * 10 + [int(ZWarn.SKY), unplugged | bad]
    assert not any(arm.usable[-1].any() for arm in there.arms)


def test_real_rows_without_data_are_flagged():
    folder = shared("desi")
    for name in ("coadd-5-169-thru20210419.fits", "spectra-5-169-thru20210419.fits"):
        spectra = read(folder / name)
        empty = [not any(arm.usable[i].any() for arm in spectra.arms) for i in range(5)]
        assert empty == [True, True, True, True, False]
        assert all(spectra.zwarn[:4] != 0)
        assert spectra.zwarn[4] == 0


def test_real_galaxy_has_its_truth():
    spectra = read(shared("desi/coadd-4-80613-thru20210324.fits"))
    assert spectra.truth.spectype.tolist() == ["GALAXY"]
    assert spectra.truth.z[0] == pytest.approx(0.36874, abs=1e-5)
    assert spectra.table["COADD_NUMEXP"].tolist() == [30]


def test_real_file_with_one_arm():
    spectra = read(shared("desi/spectra-main-dark-9144-r-arm-only.fits"))
    assert [arm.name for arm in spectra.arms] == ["R"]
    assert spectra.ids.tolist() == [39632936152072660, 39632936152073654]
