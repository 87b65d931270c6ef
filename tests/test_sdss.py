from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from zspec_sdss import pixels, zspec_surveys
from zspec_sdss.adapter import SDSS

from zspec import HDU, ConfigError, InputError, OutputError, ZWarn, hash_id, open_fits, write_fits
from zspec.survey import make_options, option_help
from zspec.testing import SurveyContract, shared

survey = SDSS()
EMPTY = np.zeros(0, np.float32)
LOGLAM = np.arange(35800, 38800) * 1e-4
SPEC = "spectra/spec-0266-51602-0001.fits"


class TestSDSS(SurveyContract):
    survey = SDSS
    files = (
        "sdss/spectra/spec-0266-51602-000*.fits",
        "sdss/spectra/spec-10656-58163-0366.fits",
        "sdss/spectra/spSpec-1834-54562-0021.fit",
        "sdss/grid-3600-9200.fits",
    )
    foreign = ("desi/coadd-*.fits", "4most/*.fits", "csst/*.fits", "lamost/*-00*.fits")


@pytest.fixture(scope="module")
def sdss():
    """Folder of the real files."""
    return shared("sdss")


def only(path, **options):
    (spectra,) = survey.read(path, None, SDSS.Options(**options))
    return spectra


def coadd(n=3000, upper=False, **columns):
    made = {
        "flux": np.linspace(1, 2, n).astype("f4"),
        "loglam": LOGLAM[:n].astype("f4"),
        "ivar": np.full(n, 4, "f4"),
        "and_mask": np.zeros(n, "i4"),
        "or_mask": np.zeros(n, "i4"),
        "wdisp": np.ones(n, "f4"),
    } | columns
    return {k.upper() if upper else k: v for k, v in made.items() if v is not None}


def write_spec(path, table=None, row=None, header=None, name="COADD"):
    hdus = [("", EMPTY, header or {}), (name, table or coadd(), {})]
    write_fits(path, hdus + ([("SPALL" if name else "", row, {})] if row else []))
    return path


def row(**values):
    return {name: np.array([value]) for name, value in values.items()}


def sniffs(path):
    with open_fits(path) as handle:
        return survey.sniff(handle.hdus)


def test_the_plugin_offers_the_survey_without_importing_more():
    assert list(zspec_surveys()) == [SDSS]
    assert set(option_help(SDSS.Options)) == {
        "mask", "bits", "wave_start", "wave_step", "wave_dex",
    }  # fmt: skip


# real files


@pytest.mark.parametrize(
    ("name", "target", "z", "spectype", "specobjid"),
    [
        (SPEC, 266_51602_0001, 0.02127545326948166, "GALAXY", 299489676975171584),
        ("spectra/spec-10000-57346-0002.fits", 10000_57346_0002, None, "QSO", 11258999741428506624),
        ("spectra/spec-10656-58163-0366.fits", 10656_58163_0366, None, "QSO", 11997690149582688256),
        ("spectra/spec-0391-51782-0594.fits", 391_51782_0594, None, None, None),
        ("spectra/spec-3836-55302-0258.fits", 3836_55302_0258, None, "QSO", 4319023050102018048),
        ("spectra/spSpec-1834-54562-0021.fit", 1834_54562_0021, 0.0415369, "GALAXY", None),
    ],
    ids=["specobj", "spall", "blank HDU names", "full", "calib_corr", "spSpec"],
)
def test_each_generation_of_real_files(sdss, name, target, z, spectype, specobjid):
    with (sdss / "manifest.csv").open() as lines:
        label = next(r for r in csv.DictReader(lines) if r["file"] == name)
    assert sniffs(sdss / name)
    spectra = only(sdss / name)
    arm = spectra.arms[0]
    assert spectra.ids.tolist() == [target]
    assert spectra.rows.tolist() == [0]
    assert np.array_equal(arm.wave, pixels.WAVE)
    assert arm.usable.sum() > 3500
    assert spectra.truth.z[0] == pytest.approx(float(label["z"]) if z is None else z, rel=1e-12)
    assert spectra.truth.spectype[0] == (spectype or label["class"])
    assert spectra.table["RA"][0] == pytest.approx(float(label["ra"]), abs=1e-4)
    assert spectra.table["PLATE"][0] == int(label["plate"])
    assert spectra.zwarn.tolist() == [0]
    if specobjid:
        assert spectra.table["SPECOBJID"].tolist() == [specobjid]
        assert spectra.snr[0] == pytest.approx(float(label["sn_median"]), rel=1e-6)
    ratio = arm.resolution[0] / pixels.SIGMA
    assert 0.5 < ratio.min() < ratio.max() < 2


def test_h_alpha_stands_where_the_redshift_says(sdss):
    spectra = only(sdss / SPEC)
    arm = spectra.arms[0]
    near = np.abs(arm.wave / (6564.61 * (1 + spectra.truth.z[0])) - 1) < 0.003
    peak = arm.wave[near][np.argmax(arm.flux[0][near])]
    assert peak / 6564.61 - 1 == pytest.approx(spectra.truth.z[0], abs=2e-4)


def test_a_real_sky_fibre_is_flagged_and_has_no_truth(sdss):
    with (sdss / "manifest.csv").open() as lines:
        name = next(r["file"] for r in csv.DictReader(lines) if r["is_sky"] == "1")
    spectra = only(sdss / name)
    assert spectra.zwarn.tolist() == [int(ZWarn.SKY)]
    assert spectra.truth.spectype.tolist() == [""]
    assert np.isnan(spectra.truth.z[0])


def test_masks_of_a_real_file(sdss):
    path = sdss / "spectra/spec-10000-57346-0002.fits"
    counts = {m: int(only(path, mask=m).arms[0].usable.sum()) for m in ("none", "and", "or")}
    assert counts == {"none": 4587, "and": 4307, "or": 3774}
    assert only(path, bits=()).arms[0].usable.sum() == 4587


def test_the_grid_file(sdss):
    path = sdss / "grid-3600-9200.fits"
    assert sniffs(path)
    spectra = only(path)
    assert len(spectra) == 60
    assert spectra.ids[7] == hash_id("grid-3600-9200.fits", 7)
    assert spectra.arms[0].flux.shape == (60, 4076)
    assert spectra.arms[0].usable.sum(1).min() == 3328  # zero-padded where there is no data
    assert spectra.truth is None
    (part,) = survey.read(path, range(50, 99))
    assert part.rows.tolist() == list(range(50, 60))
    assert np.array_equal(part.arms[0].flux, spectra.arms[0].flux[50:])


@pytest.mark.parametrize("folder", ["desi", "4most", "csst", "lamost", "templates", "published"])
def test_files_of_others_are_not_recognised(sdss, folder):
    found = [p for p in sorted((sdss.parent / folder).iterdir()) if ".fits" in p.name][:12]
    assert found
    assert not any(sniffs(path) for path in found)


def test_a_truncated_file_is_one_line(sdss, tmp_path):
    whole = (sdss / SPEC).read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[:100_000])
    with pytest.raises(InputError, match=r"cut\.fits") as caught:
        only(tmp_path / "cut.fits")
    assert "\n" not in str(caught.value)


# spec


def test_sdss_v_is_known_by_catalogid(tmp_path):
    values = {"FIELD": 101010, "MJD": 59800, "CATALOGID": 27021598054114233, "SDSS_ID": 77}
    path = write_spec(tmp_path / "a.fits", coadd(upper=True), row(**values, RACAT=10.0, DECCAT=2.0))
    spectra = only(path)
    assert spectra.ids.tolist() == [27021598054114233]
    assert spectra.table["SDSS_ID"].tolist() == [77]
    assert spectra.table["RA"].tolist() == [10]
    text = write_spec(tmp_path / "b.fits", row=row(CATALOGID="u123", SDSS_ID=np.int64(77)))
    assert only(text).ids.tolist() == [77]  # an unassigned CATALOGID is text


def test_header_and_hash_stand_in_for_missing_metadata(tmp_path):
    cards = {"PLATEID": 266, "MJD": 51602, "FIBERID": 3, "PLUG_RA": 1.5, "PLUG_DEC": -2.0}
    spectra = only(write_spec(tmp_path / "a.fits", header=cards, name=""))
    assert spectra.ids.tolist() == [266_51602_0003]
    assert spectra.table["DEC"].tolist() == [-2]
    assert spectra.truth is None
    bare = only(write_spec(tmp_path / "b.fits"))
    assert bare.ids.tolist() == [hash_id("b.fits", 0)]
    assert np.isnan(bare.table["RA"][0])


def test_specobjid_beyond_63_bits_survives_however_it_is_stored(tmp_path):
    big = 11258999741428506624
    for i, value in enumerate([np.uint64(big), np.uint64(big).astype(np.int64), f"  {big}"]):
        path = write_spec(tmp_path / f"{i}.fits", row=row(SPECOBJID=value))
        assert only(path).table["SPECOBJID"].tolist() == [big]


def test_only_facts_about_the_fibre_become_flags(tmp_path):
    def flags(name, **values):
        return int(only(write_spec(tmp_path / name, row=row(**values))).zwarn[0])

    every = flags("a.fits", ZWARNING=0b1_1111_1111)
    assert every == ZWarn.SKY | ZWarn.UNPLUGGED | ZWarn.BAD_TARGET
    assert flags("b.fits", ZWARNING=0, OBJTYPE="SKY") == ZWarn.SKY
    assert flags("c.fits", ZWARNING=4, SOURCETYPE="QSO") == 0


@pytest.mark.parametrize("bit", range(12))
def test_labels_of_unreliable_fits_are_no_truth(tmp_path, bit):
    said = row(CLASS="QSO", Z=1.5, ZWARNING=np.int32(1 << bit))
    truth = only(write_spec(tmp_path / "a.fits", row=said)).truth
    stands = 1 << bit in (ZWarn.MANY_OUTLIERS, ZWarn.NEGATIVE_EMISSION)
    assert truth.spectype.tolist() == ["QSO" if stands else ""]
    assert np.isfinite(truth.z).tolist() == [stands]


def test_no_label_that_was_checked_is_lost(sdss):
    with (sdss / "manifest.csv").open() as lines:
        listed = [r for r in csv.DictReader(lines) if r["zwarning"] and r["format"] != "spSpec"]
    odd = [r for r in listed if r["zwarning"] != "0" and r["is_sky"] == "0"]
    assert len(odd) == 39
    for label in odd:
        known = only(sdss / label["file"]).truth.spectype[0] != ""
        assert known == (int(label["zwarning"]) & ZWarn.SMALL_DELTA_CHI2 == 0)
        assert known or label["label_ok"] == "0"


def test_which_pixels_are_good(tmp_path):
    table = coadd(ivar=np.full(3000, 4, "f4"))
    table["ivar"][[1, 2]] = 0, np.nan
    table["flux"][3] = np.inf
    table["and_mask"][4], table["or_mask"][[4, 5]] = 1 << 23, 1 << 23
    table["and_mask"][6] = 1 << 16  # NEARBADPIXEL
    path = write_spec(tmp_path / "a.fits", table)

    def bad(**options):
        arm = only(path, **options).arms[0]
        assert np.isfinite(arm.flux).all()
        return np.flatnonzero(~arm.usable[0][300:3300]).tolist()

    assert bad() == [1, 2, 3, 4]
    assert bad(mask="or") == [1, 2, 3, 4, 5]
    assert bad(mask="none") == [1, 2, 3]
    assert bad(bits=("NEARBADPIXEL",)) == [1, 2, 3, 6]


def test_a_spectrum_without_data_is_a_row(tmp_path):
    path = write_spec(
        tmp_path / "a.fits", coadd(ivar=np.zeros(3000, "f4"), flux=np.full(3000, np.nan))
    )
    assert not only(path).arms[0].usable.any()


def test_lsf_gaps_are_interpolated_and_the_ends_take_the_nearest_good_pixel(tmp_path):
    wdisp = np.zeros(3000, "f4")
    wdisp[10:100], wdisp[200:] = 1.2, 0.8
    wdisp[20] = np.nan
    path = write_spec(tmp_path / "a.fits", coadd(wdisp=wdisp))
    ratio = only(path).arms[0].resolution[0] / pixels.SIGMA
    start = 35800 - pixels.FIRST
    assert ratio[: start + 100] == pytest.approx(1.2, rel=1e-5)
    assert ratio[start + 99 : start + 201] == pytest.approx(np.linspace(1.2, 0.8, 102), rel=1e-5)
    assert ratio[start + 200 :] == pytest.approx(0.8, rel=1e-5)
    for name, values in (("b.fits", np.zeros(3000, "f4")), ("c.fits", None)):
        assert only(write_spec(tmp_path / name, coadd(wdisp=values))).arms[0].resolution is None


def test_pixels_out_of_phase_are_kept_as_they_are(tmp_path):
    loglam = LOGLAM + 0.4e-4
    arm = only(write_spec(tmp_path / "a.fits", coadd(loglam=loglam))).arms[0]
    assert np.allclose(np.log10(arm.wave), loglam, rtol=0, atol=1e-12)
    assert np.allclose(arm.resolution[0], arm.wave * np.log(10) * 1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("card", "medium"),
    [
        *((card, None) for card in (True, 1, "T", " t ")),
        *((card, "air") for card in (False, 0, "F", "false")),
    ],
)
def test_air_is_said(tmp_path, card, medium):
    assert only(write_spec(tmp_path / "a.fits")).arms[0].medium is None
    assert only(write_spec(tmp_path / "b.fits", header={"VACUUM": card})).arms[0].medium == medium


@pytest.mark.parametrize("card", [2, 0.5, "yes?"])
def test_a_medium_that_is_neither_is_refused(tmp_path, card):
    path = write_spec(tmp_path / "a.fits", header={"VACUUM": card})
    with pytest.raises(InputError, match=r"a\.fits: header card VACUUM is .*; expected T or F"):
        only(path)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (coadd(ivar=None), "column 'ivar' is missing"),
        (coadd(and_mask=None), "column 'and_mask' is missing; try -S mask=none"),
        (coadd(loglam=LOGLAM[::-1].copy()), "increasing"),
        (coadd(loglam=np.full(3000, np.nan)), "finite"),
        (coadd(1), "expected one pixel per row"),
    ],
)
def test_damage_is_one_line_that_says_where(tmp_path, table, says):
    path = write_spec(tmp_path / "bad.fits", table)
    with pytest.raises(InputError, match=says) as caught:
        only(path)
    assert "bad.fits" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_outside_the_range_are_not_read(tmp_path):
    path = write_spec(tmp_path / "a.fits")
    assert list(survey.read(path, range(1, 5))) == []
    assert len(list(survey.read(path, range(0, 5)))) == 1


def test_other_fits_files_are_refused_in_one_line(tmp_path):
    write_fits(tmp_path / "a.fits", [("", EMPTY, {}), ("FLUX", np.ones((2, 5)), {})])
    assert not sniffs(tmp_path / "a.fits")
    with pytest.raises(InputError, match="is no SDSS file"):
        list(survey.read(tmp_path / "a.fits"))


def test_sniff_survives_odd_hdus():
    assert not survey.sniff([])
    assert not survey.sniff([HDU("", "image", {"TELESCOP": None, "COEFF0": "x"}, (), (5, 9))] * 7)


# spPlate


def plate(tmp_path, n=5, folder=""):
    path = tmp_path / "spPlate-9000-57000.fits"
    made = survey.demo(n, 3)
    survey.write(path, replace(made, zwarn=np.zeros(n, np.int64), snr=np.arange(n, dtype="f4")))
    if folder:
        (tmp_path / folder).mkdir()
        shutil.move(tmp_path / "spZbest-9000-57000.fits", tmp_path / folder)
    return path, made


@pytest.mark.parametrize("folder", ["", "v5_13_2"])
def test_plate_with_redshifts_beside_it(tmp_path, folder):
    path, made = plate(tmp_path, folder=folder)
    assert sniffs(path)
    read = only(path)
    assert np.array_equal(read.ids, made.ids)
    assert read.ids.tolist() == [9000_57000_0001 + i for i in range(5)]
    assert np.array_equal(read.arms[0].flux, made.arms[0].flux)
    assert np.array_equal(read.arms[0].ivar, made.arms[0].ivar)
    assert np.array_equal(read.arms[0].wave, made.arms[0].wave)
    assert np.allclose(read.arms[0].resolution, made.arms[0].resolution, rtol=1e-6)
    assert np.array_equal(read.truth.z, made.truth.z)
    assert np.array_equal(read.truth.spectype, made.truth.spectype)
    assert np.array_equal(read.table["RA"], made.table["RA"])
    assert read.snr.tolist() == [0, 1, 2, 3, 4]


def test_plate_in_chunks_and_by_range(tmp_path, monkeypatch):
    monkeypatch.setattr("zspec_sdss.spplate.CHUNK", 4)
    path, made = plate(tmp_path)
    assert [len(s) for s in survey.read(path)] == [4, 1]
    parts = list(survey.read(path, range(1, 5, 2)))
    assert np.concatenate([p.rows for p in parts]).tolist() == [1, 3]
    assert np.array_equal(
        np.concatenate([p.arms[0].flux for p in parts]), made.arms[0].flux[[1, 3]]
    )
    assert np.concatenate([p.truth.z for p in parts]).tolist() == made.truth.z[[1, 3]].tolist()


def test_a_bad_spzbest_costs_the_labels_only(tmp_path, caplog):
    path, _ = plate(tmp_path)
    beside = tmp_path / "spZbest-9000-57000.fits"
    assert not sniffs(beside)
    beside.write_bytes(b"nothing")
    assert only(path).truth is None
    assert "labels left out" in caplog.text
    beside.unlink()
    for fibers in (3, 5):  # too few, and others
        labels = {"Z": np.zeros(fibers), "CLASS": np.full(fibers, "QSO")}
        labels["FIBERID"] = np.arange(fibers) + 7
        write_fits(beside, [("", EMPTY, {}), ("", labels, {})])
        caplog.clear()
        assert only(path).truth is None
        assert "is not of spPlate" in caplog.text
        beside.unlink()
    assert only(path).truth is None


def test_a_plate_of_the_first_survey(tmp_path):
    """No names, PLATEID and MJD in the header, sky fibres in the plug map, BRIGHTSKY in a mask."""
    flux, mask = np.ones((3, 3000), "f4"), np.zeros((3, 3000), "i4")
    mask[1, 7] = 1 << 23
    any_mask = np.where(np.arange(3000) < 9, mask.max(), 0) * np.ones((3, 1), "i4")
    header = {"PLATEID": 266, "MJD": 51602, "COEFF0": 3.58, "COEFF1": 1e-4, "VACUUM": True}
    plugs = {"FIBERID": np.array([11, 12, 13]), "OBJTYPE": np.array(["QSO", "SKY", "NA"])}
    plugs |= {"RA": np.array([1.0, 2, 3]), "DEC": np.array([4.0, 5, 6])}
    images = [("", d, {}) for d in (flux, mask, any_mask, flux * 0)]
    path = tmp_path / "p.fits"
    write_fits(path, [("", flux, header), *images, ("", plugs, {}), ("", flux, {})])
    read = only(path)
    assert read.ids.tolist() == [266_51602_0011, 266_51602_0012, 266_51602_0013]
    assert read.zwarn.tolist() == [0, 1, 0]
    assert read.table["DEC"].tolist() == [4, 5, 6]
    assert read.arms[0].usable.sum(1).tolist() == [3000, 2999, 3000]
    assert only(path, mask="or").arms[0].usable.sum(1).tolist() == [2991] * 3
    assert only(path, mask="none").arms[0].usable.sum(1).tolist() == [3000] * 3
    assert read.arms[0].resolution is None
    assert read.truth is None


# spSpec


def write_spspec(path, mask, table=True, **cards):
    image = np.stack([np.full(9, 3), np.zeros(9), np.full(9, 0.5), mask]).astype("f4")
    image[2, 0] = 0
    header = {"COEFF0": 3.58, "COEFF1": 1e-4, "PLATEID": 266, "MJD": 51602, "FIBERID": 7}
    header |= {"SPEC_CLN": 3, "Z": 1.5, "OBJTYPE": "QSO", "RAOBJ": 1.0, "DECOBJ": 2.0} | cards
    last = {"andMask": np.zeros(9, "i4"), "orMask": mask.astype("i4"), "dispersion": np.ones(9)}
    write_fits(path, [("", image, header)] + ([("", last, {})] if table else []))
    return path


def test_spspec_masks_and_labels(tmp_path):
    mask = np.zeros(9)
    mask[4] = 1 << 23
    path = write_spspec(tmp_path / "a.fit", mask)
    read = only(path)
    assert read.ids.tolist() == [266_51602_0007]
    assert (read.truth.spectype[0], read.truth.z[0]) == ("QSO", 1.5)
    assert read.arms[0].ivar[0, 301:309].tolist() == [4] * 8  # error 0 is no data
    assert only(path, mask="or").arms[0].usable.sum() == 7
    plain = write_spspec(tmp_path / "b.fit", mask, table=False, SPEC_CLN=5)
    assert only(plain).arms[0].usable.sum() == 7
    assert only(plain).zwarn.tolist() == [int(ZWarn.SKY)]


# the training table of GaSNet-II


def write_training(path, header=None, n=4):
    rng = np.random.default_rng(1)
    flux = 5 + rng.normal(0, 0.5, (n, 3600))
    flux[:, :100], flux[0, 200] = 0, np.nan
    columns = {
        "CLASS": np.array(["GALAXY", "QSO", "STAR", "GALAXY"] * n)[:n],
        "SUBCLASS": np.full(n, "AGN"),
        "Z": np.linspace(0, 1, n),
        "SN_MEDIAN_ALL": np.array([10, 10, 0, 10] * n, "f4")[:n],
        "PLATE": np.full(n, 266),
        "MJD": np.full(n, 51602),
        "FIBERID": np.arange(1, n + 1),
        "int_flux": flux.astype("f4"),
    }
    write_fits(path, [("", EMPTY, {}), ("", columns, header or {})])
    return path


def test_training_table(tmp_path):
    path = write_training(tmp_path / "train.fits")
    assert sniffs(path)
    read = only(path, wave_start=4000, wave_step=1.25)
    arm = read.arms[0]
    assert np.allclose(arm.wave, 4000 + 1.25 * np.arange(3600))
    assert read.ids.tolist() == [266_51602_0001 + i for i in range(4)]
    assert read.truth.spectype.tolist() == ["GALAXY", "QSO", "STAR", "GALAXY"]
    assert arm.usable.sum(1).tolist() == [3499, 3500, 3500, 3500]  # exact zeros are no data
    error = 1 / np.sqrt(arm.ivar[:, 1000])
    assert np.allclose(error, 0.5, rtol=0.05)  # from the SNR, and by the scatter in row 2
    dex = only(path, wave_start=4000, wave_dex=1e-4).arms[0]
    assert np.allclose(dex.wave, 4000 * 10 ** (1e-4 * np.arange(3600)))


def test_training_table_says_its_wavelengths_or_the_user_does(tmp_path):
    path = write_training(tmp_path / "a.fits", {"COEFF0": 3.6, "COEFF1": 1e-4})
    assert np.array_equal(only(path).arms[0].wave, pixels.WAVE)
    path = write_training(tmp_path / "b.fits")
    with pytest.raises(InputError, match="-S wave_start="):
        only(path)


def test_training_table_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("zspec_sdss.table.CHUNK", 3)
    path = write_training(tmp_path / "a.fits", {"COEFF0": 3.6, "COEFF1": 1e-4}, n=7)
    assert [s.rows.tolist() for s in survey.read(path)] == [[0, 1, 2], [3, 4, 5], [6]]
    (part,) = survey.read(path, range(4, 6))
    assert part.ids.tolist() == [266_51602_0005, 266_51602_0006]


# options, demo, write


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask": "xor"}, "expected and, or, none"),
        ({"bits": "BRIGHT"}, "'BRIGHT' is none of NOPLUG"),
        ({"wave_start": "-1"}, "positive"),
        ({"wave_step": "1", "wave_dex": "1e-4"}, "exclude"),
        ({"wave_start": "4000"}, "wave_start needs wave_step or wave_dex"),
        ({"wave_step": "1"}, "need wave_start"),
        ({"wave_dex": "1e-4"}, "need wave_start"),
        ({"msk": "or"}, "did you mean 'mask'"),
    ],
)
def test_options_are_strict(given, says):
    with pytest.raises(ConfigError, match=says):
        make_options(survey, given)


def test_options_from_text():
    given = {"mask": "or", "bits": "BRIGHTSKY,NOSKY", "wave_start": "4000", "wave_step": "1"}
    assert make_options(survey, given) == SDSS.Options("or", ("BRIGHTSKY", "NOSKY"), 4000.0, 1.0)


def test_demo_is_written_as_spec_and_read_back(tmp_path):
    made = survey.demo(1, 8)
    survey.write(tmp_path / "s.fits", made)
    read = only(tmp_path / "s.fits")
    assert np.array_equal(read.ids, made.ids)
    assert np.array_equal(read.arms[0].flux, made.arms[0].flux)
    assert read.truth.z.tolist() == made.truth.z.tolist()
    assert read.table["MJD"].tolist() == [57000]


def test_demo_ids_are_unique_beyond_one_plate():
    assert len(survey.demo(0, 1)) == 0
    assert survey.demo(3, 1).ids.tolist() == [9000_57000_0001, 9000_57000_0002, 9000_57000_0003]


def test_any_id_comes_back(tmp_path):
    made = replace(survey.demo(2, 1), ids=np.array([5, 2**62]), table={}, truth=None)
    survey.write(tmp_path / "p.fits", made)
    read = only(tmp_path / "p.fits")
    assert read.ids.tolist() == [5, 2**62]
    assert read.truth is None


def test_what_the_layout_cannot_hold_is_refused(tmp_path):
    made = survey.demo(2, 1)
    with pytest.raises(OutputError, match="one arm"):
        survey.write(tmp_path / "p.fits", replace(made, arms=made.arms * 2))
    linear = replace(made.arms[0], wave=np.linspace(4000, 9000, len(pixels.WAVE)))
    with pytest.raises(OutputError, match="log-uniform"):
        survey.write(tmp_path / "p.fits", replace(made, arms=(linear,)))
