from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from zspec import (
    ClassSpec,
    ConfigError,
    InputError,
    OutputError,
    PluginError,
    ZWarn,
    catalog,
    prediction,
)
from zspec.sources import Source, expand


def run(estimator, *paths, survey="toy", **more):
    inputs = [Source(path, survey, more.pop("options", {})) for path in paths]
    return prediction.predict(inputs, estimator, prediction.Task(**more))


def test_rows_keep_their_order_and_keys(toy_file, estimator):
    a, b = toy_file("b.fits", range(1, 21)), toy_file("a.fits", [7, 7, -3])
    made = run(estimator, a, b)
    rows = made.redshifts
    assert rows["TARGETID"].tolist() == [*range(1, 21), 7, 7, -3]
    assert rows["ROW"].tolist() == [*range(20), 0, 1, 2]
    assert rows["FILE"].tolist() == [str(a)] * 20 + [str(b)] * 3
    assert np.allclose(rows["Z"][:20], np.arange(1, 21) / 100)
    assert made.header["SURVEY1"][0] == "toy (toy-dist 1.2)"
    assert rows["ZWARN"].tolist()[-1] == int(ZWarn.UNPLUGGED)
    assert rows["TOY_MEAN"].tolist()[:3] == [1, 2, 3]
    assert rows["NAME"].tolist()[-2:] == ["7", "-3"]
    assert set(rows["ARMS"]) == {"T"}


def test_chunks_have_a_fixed_size_and_never_cross_a_file(toy_file, estimator):
    run(estimator, toy_file("a.fits", range(1, 11)), toy_file("b.fits", [1]), chunk_rows=4)
    assert estimator.calls == [4, 4, 2, 1]  # the toy reads 8 rows at once


def test_a_row_without_data_is_flagged(toy_file, estimator):
    rows = run(estimator, toy_file("a.fits", [0, 5])).redshifts
    assert rows["ZWARN"].tolist() == [int(ZWarn.NODATA | ZWarn.LITTLE_COVERAGE), 0]
    assert rows["Z"][0] == 0
    assert np.isnan(rows["ZERR"][0])
    assert np.isnan(rows["PROB"][0])
    assert rows["ARMS"].tolist() == ["", "T"]
    assert rows["SPECTYPE"].tolist() == ["", "GALAXY"]
    assert rows["NPIXELS"].tolist() == [0, 500]
    assert rows["SNR"].tolist() == [0, 5]


@pytest.mark.parametrize(("other", "told"), [(0.5, True), (0.11, True), (0.09, False)])
def test_spectypes_that_share_prob_are_told_whatever_the_model(
    toy_file, estimator, monkeypatch, other, told
):
    plain = type(estimator).predict

    def undecided(self, chunk, want=frozenset()):
        said = plain(self, chunk, want)
        said.prob[:, said.best] = 1 - other
        said.prob[:, 1 - said.best] = other
        return said

    monkeypatch.setattr(type(estimator), "predict", undecided)
    rows = run(estimator, toy_file("a.fits", [5])).redshifts
    assert bool(rows["ZWARN"][0] & ZWarn.CLASS_AMBIGUOUS) == told


def test_classes_of_one_spectype_may_share_prob(toy_file, estimator, monkeypatch):
    plain = type(estimator).predict

    def undecided(self, chunk, want=frozenset()):
        said = plain(self, chunk, want)
        said.prob[:] = 0.5
        return said

    estimator.classes = (estimator.classes[0], ClassSpec("DIM", "GALAXY"))
    monkeypatch.setattr(type(estimator), "predict", undecided)
    assert run(estimator, toy_file("a.fits", [5])).redshifts["ZWARN"].tolist() == [0]


def test_little_coverage_is_less_than_half_of_the_grid(toy_file, estimator):
    flux = np.ones((2, 500))
    flux[0, :252] = 0
    flux[1, :248] = 0
    rows = run(estimator, toy_file("a.fits", [1, 2], flux=flux)).redshifts
    assert rows["ZWARN"].tolist() == [int(ZWarn.LITTLE_COVERAGE), 0]


def test_one_bad_file_costs_itself_only(toy_file, estimator, tmp_path):
    good = toy_file("a.fits", [1, 2])
    cut = toy_file("cut.fits", range(1, 30))
    cut.write_bytes(cut.read_bytes()[:9000])
    empty = tmp_path / "empty.fits"
    empty.touch()
    text = tmp_path / "text.fits"
    text.write_text("hello\n" * 1000)
    gone = tmp_path / "gone.fits"
    other = tmp_path / "other.fits"
    fits.PrimaryHDU(np.zeros(5)).writeto(other)
    made = run(estimator, cut, good, empty, text, gone, other)
    assert made.redshifts["TARGETID"].tolist() == [1, 2]
    failed = dict(made.failures)
    assert set(failed) == {str(p) for p in (cut, empty, text, gone, other)}
    assert all("\n" not in reason and name in reason for name, reason in failed.items())
    assert "is empty" in failed[str(empty)]
    assert "no such file" in failed[str(gone)]
    assert "HDU TOY_FLUX is missing" in failed[str(other)]
    assert made.tables["FILES"]["NROWS"].tolist() == [0, 2, 0, 0, 0, 0]


def test_a_damaged_card_is_no_bug(toy_file, estimator):
    good, bad = toy_file("a.fits", [1]), toy_file("b.fits", [2])
    data = bad.read_bytes()
    at = data.index(b"TFIELDS ")
    bad.write_bytes(data[: at + 12] + b"!" + data[at + 13 :])
    made = run(estimator, good, bad)
    assert made.redshifts["TARGETID"].tolist() == [1]
    assert "b.fits: is truncated (the header" in made.failures[0][1]


def test_all_files_bad_is_an_error(estimator, toy, tmp_path):
    with pytest.raises(InputError, match=r"no such file \(and 1 more\)"):
        run(estimator, tmp_path / "a.fits", tmp_path / "b.fits")


def test_a_bug_in_an_adapter_is_said_and_costs_its_file_only(
    toy_file, estimator, monkeypatch, toy, caplog
):
    good, bad = toy_file("a.fits", [1]), toy_file("b.fits", [2])
    read = type(toy).read

    def broken(self, path, rows=None, options=None):
        if path == bad:
            raise RuntimeError("oops")
        return read(self, path, rows, options)

    monkeypatch.setattr(type(toy), "read", broken)
    made = run(estimator, good, bad)
    assert made.failures == [(str(bad), f"{bad}: bug: RuntimeError: oops")]
    assert "Traceback" in caplog.text


def test_the_survey_is_found_by_content(toy_file, estimator):
    made = run(estimator, toy_file("x.fits", [4]), survey=None)
    assert made.tables["FILES"]["SURVEY"].tolist() == ["toy"]


def test_the_wrong_survey_gets_a_hint(toy_file, estimator):
    with pytest.raises(InputError, match=r"x.fits.*; try --survey toy"):
        run(estimator, toy_file("x.fits", [4]), survey="csst")


def test_two_surveys_that_recognise_a_file(toy_file, estimator, toy, monkeypatch):
    from zspec import plugins

    class Twin(type(toy)):
        name = "twin"

    monkeypatch.setitem(plugins.surveys().found, "twin", (Twin, "twin-dist 1"))
    path = toy_file("x.fits", [4])
    with pytest.raises(InputError, match="toy and twin recognise it; choose one with --survey"):
        run(estimator, path, survey=None)
    assert len(run(estimator, path, survey="twin").redshifts) == 1


def test_wrong_options_and_names_stop_at_once(toy_file, estimator):
    path = toy_file("x.fits", [4])
    assert run(estimator, path, options={"gain": "2"}).redshifts["Z"][0] == pytest.approx(0.08)
    with pytest.raises(ConfigError, match="unknown option of survey toy 'gian'; did you mean 'gai"):
        run(estimator, path, options={"gian": "2"})
    with pytest.raises(ConfigError, match="gain='two' is no number"):
        run(estimator, path, options={"gain": "two"})
    with pytest.raises(PluginError, match="unknown survey 'toi'; did you mean 'toy'"):
        run(estimator, path, survey="toi")


def test_truth_passes_through_and_is_filled_where_unknown(toy_file, estimator):
    labelled = toy_file("a.fits", [1, 2], labelled=True)
    made = run(estimator, labelled, toy_file("b.fits", [3])).redshifts
    assert made["CLASS_TRUE"].tolist() == ["GALAXY", "GALAXY", ""]
    assert made["Z_TRUE"][:2].tolist() == [0.01, 0.02]
    assert np.isnan(made["Z_TRUE"][2])
    assert "Z_TRUE" not in run(estimator, toy_file("c.fits", [3])).redshifts.colnames


def test_a_catalogue_is_read_back(toy_file, estimator, tmp_path):
    made = run(estimator, toy_file("a.fits", [1, 0, 60], labelled=True))
    made.header["CALIB"] = (False, "calibrated?")
    made.header["ZSPECVER"] = "0"
    path = tmp_path / "zcat.fits"
    catalog.write(made, path)
    back = catalog.read(path)
    assert list(back.tables) == [hdu for hdu in catalog.HDUS if hdu != "ZPDF"]
    for name, table in made.tables.items():
        again = back.tables[name]
        assert again.colnames == table.colnames
        for column in table.colnames:
            assert again[column].dtype == table[column].dtype or table[column].dtype.kind == "U"
            equal_nan = table[column].dtype.kind == "f"
            assert np.array_equal(again[column], table[column], equal_nan=equal_nan), column
    assert back.redshifts["RA"].unit == "deg"
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum warns, and warnings are errors
        assert hdus["REDSHIFTS"].header["TTYPE1"] == "TARGETID"
        assert hdus["REDSHIFTS"].header["TUCD8"] == "src.redshift"
        assert "by zspec" in hdus[0].header.comments["CHECKSUM"]


def test_the_same_input_gives_the_same_bytes(toy_file, estimator, tmp_path):
    source = toy_file("a.fits", range(30))
    for name in ("one.fits", "two.fits"):
        catalog.write(run(estimator, source), tmp_path / name)
    assert (tmp_path / "one.fits").read_bytes() == (tmp_path / "two.fits").read_bytes()


def test_columns_of_the_catalogue_are_those_declared(toy_file, estimator):
    made = run(estimator, toy_file("a.fits", [1]))
    assert set(made.tables) == set(catalog.HDUS) - {"ZPDF"}  # it is on request
    for name, columns in [(name, catalog.HDUS[name]) for name in made.tables]:
        declared = [c.name for c in columns]
        assert made.tables[name].colnames[: len(declared)] == declared
        for column in columns:
            dtype = made.tables[name][column.name].dtype
            assert dtype.kind == np.dtype(column.dtype).kind
            assert column.dtype == "U" or dtype == np.dtype(column.dtype)
            assert made.tables[name][column.name].info.description == column.sentence


def test_unsigned_ids_pass_through(tmp_path, toy_file, estimator, monkeypatch, toy):
    big = np.uint64(2**63 + 12345)
    read = type(toy).read

    def with_specobjid(self, path, rows=None, options=None):
        for spectra in read(self, path, rows, options):
            spectra.table["SPECOBJID"] = np.full(len(spectra), big)
            yield spectra

    monkeypatch.setattr(type(toy), "read", with_specobjid)
    made = run(estimator, toy_file("a.fits", [1]))
    made.header["ZSPECVER"] = "0"
    catalog.write(made, tmp_path / "z.fits")
    assert catalog.read(tmp_path / "z.fits").redshifts["SPECOBJID"][0] == big


def test_an_output_that_is_not_ours_is_kept(toy_file, estimator, tmp_path):
    source, out = toy_file("a.fits", [1]), tmp_path / "z.fits"
    with pytest.raises(OutputError, match="is an input"):
        catalog.check_output(source, [source], overwrite=True)
    out.write_text("precious")
    with pytest.raises(OutputError, match="replace it with --overwrite"):
        catalog.check_output(out, [source], overwrite=False)
    catalog.check_output(out, [source], overwrite=True)
    made = run(estimator, source)
    made.header["INHASH"] = catalog.inputs_hash([source])
    catalog.write(made, out)
    catalog.check_output(out, [source], overwrite=False)  # the same inputs: may be replaced
    with pytest.raises(OutputError, match="not of these inputs"):
        catalog.check_output(out, [source, "b.fits"], overwrite=False)
    with pytest.raises(OutputError, match="no such folder"):
        catalog.check_output(tmp_path / "no" / "z.fits", [source], overwrite=False)


def test_a_full_disk_leaves_nothing_behind(toy_file, estimator, tmp_path, monkeypatch):
    made = run(estimator, toy_file("a.fits", [1]))

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        catalog.write(made, tmp_path / "z.fits")
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]


def test_folders_are_searched_by_pattern(toy_file, tmp_path):
    b, a = toy_file("toy-b.fits", [1]), toy_file("toy-a.fits", [1])
    toy_file("other.fits", [1])
    assert expand([tmp_path], "toy") == [a, b]
    assert expand([b, tmp_path], None)[0] == b
    with pytest.raises(InputError, match=r"no file in this folder fits toy-\*.fits"):
        expand([tmp_path / "none"], "toy") if (tmp_path / "none").mkdir() is None else None


def test_what_is_no_catalogue_is_refused(toy_file, tmp_path):
    with pytest.raises(InputError, match="is no catalogue of zspec"):
        catalog.read(toy_file("a.fits", [1]))
    (tmp_path / "t.fits").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        catalog.read(tmp_path / "t.fits")


@pytest.mark.parametrize(("survey_says", "arm_says"), [("air", None), ("vacuum", "air")])
def test_air_becomes_vacuum(toy_file, toy, monkeypatch, survey_says, arm_says):
    from dataclasses import replace

    from zspec import air_to_vacuum
    from zspec.sources import read

    path = toy_file("a.fits", [1])
    as_told = next(read(Source(path, "toy"))[1]).arms[0]
    native = type(toy).read

    def in_air(self, path, rows=None, options=None):
        for spectra in native(self, path, rows, options):
            yield replace(spectra, arms=(replace(spectra.arms[0], medium=arm_says),))

    monkeypatch.setattr(type(toy), "read", in_air)
    monkeypatch.setattr(type(toy), "medium", survey_says)
    arm = next(read(Source(path, "toy"))[1]).arms[0]
    assert np.array_equal(arm.wave, air_to_vacuum(as_told.wave))
    assert arm.medium == "vacuum"


def test_a_folder_does_not_give_our_own_catalogues(toy_file, tmp_path):
    path = toy_file("toy-a.fits", [1])
    toy_file("toy-a.zspec.fits", [1])
    assert expand([tmp_path], "toy") == [path]


def test_a_file_named_twice_is_read_once(toy_file, tmp_path, caplog):
    path = toy_file("toy-a.fits", [1])
    assert expand([path, tmp_path, tmp_path / "." / "toy-a.fits"], "toy") == [path]
    assert "2 inputs are named twice" in caplog.text


def test_an_option_of_another_survey_costs_that_file_only(toy_file, estimator, tmp_path):
    import zspec

    other = tmp_path / "csst.fits"
    csst = zspec.plugins.survey("csst")
    csst.write(other, csst.demo(1, seed=0))
    inputs = [Source(path, None, {"gain": "1"}) for path in (toy_file("a.fits", [4]), other)]
    made = prediction.predict(inputs, estimator)
    assert made.redshifts["TARGETID"].tolist() == [4]
    assert "unknown option of survey csst 'gain'" in made.failures[0][1]


def test_a_sniff_that_raises_does_not_recognise(toy_file, estimator, toy, monkeypatch, caplog):
    from zspec import plugins

    class Broken(type(toy)):
        name = "broken"

        def sniff(self, hdus):
            raise KeyError("EXTNAME")

    monkeypatch.setitem(plugins.surveys().found, "broken", (Broken, "broken-dist 1"))
    assert len(run(estimator, toy_file("x.fits", [4]), survey=None).redshifts) == 1
    assert "sniff of survey broken failed: KeyError('EXTNAME')" in caplog.text


def test_text_that_fits_cannot_hold_is_escaped(toy_file, estimator, tmp_path):
    made = run(estimator, toy_file("sp\u00e9c.fits", [1]))
    made.header |= {"ZSPECVER": "0", "COMMAND": "zspec predict sp\u00e9c\n\x1b.fits"}
    catalog.write(made, tmp_path / "z.fits")
    back = catalog.read(tmp_path / "z.fits")
    assert back.header["COMMAND"] == "zspec predict sp\\xe9c\\x0a\\x1b.fits"
    assert back.redshifts["FILE"][0].endswith("sp\\xe9c.fits")


def test_a_column_that_is_text_here_and_a_number_there_is_text(
    toy_file, estimator, toy, monkeypatch
):
    read = type(toy).read
    kinds = iter([np.array([7]), np.array(["x9"])])

    def with_tile(self, path, rows=None, options=None):
        for spectra in read(self, path, rows, options):
            spectra.table["TILEID"] = next(kinds)
            yield spectra

    monkeypatch.setattr(type(toy), "read", with_tile)
    made = run(estimator, toy_file("a.fits", [1]), toy_file("b.fits", [2]))
    assert made.redshifts["TILEID"].tolist() == ["7", "x9"]


def test_the_same_names_elsewhere_are_other_inputs(tmp_path, monkeypatch):
    (tmp_path / "n1").mkdir()
    (tmp_path / "n2").mkdir()
    hashes = []
    for folder in ("n1", "n2"):
        monkeypatch.chdir(tmp_path / folder)
        hashes.append(catalog.inputs_hash(["spec.fits"]))
    assert hashes[0] != hashes[1] == catalog.inputs_hash([tmp_path / "n2" / "spec.fits"])


def test_the_library_says_what_it_left_out(toy_file, estimator, toy, monkeypatch, caplog):
    import zspec
    from zspec import checkpoint

    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    good = toy_file("a.fits", [1])
    assert len(zspec.predict([good, good.with_name("gone.fits")], survey="toy")) == 1
    assert "left out:" in caplog.text
    assert "gone.fits: no such file" in caplog.text
