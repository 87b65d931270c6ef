"""``zspec evaluate``: any table against any truth, and what is said of it."""

from __future__ import annotations

import itertools
import json
import os

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from zspec import catalog, checkpoint, prediction, write_fits
from zspec.cli.app import build
from zspec.errors import ConfigError, InputError, ZspecError
from zspec.evaluation.compare import align
from zspec.evaluation.frame import from_table, open_frame
from zspec.evaluation.groups import group
from zspec.evaluation.inputs import newest, parse_robust
from zspec.evaluation.matching import join, match
from zspec.evaluation.measure import Settings, evaluate
from zspec.evaluation.sample import Choice, Columns, assemble
from zspec.metrics import choose
from zspec.sources import Source
from zspec.testing import shared

HEADER = {"ZSPECVER": "0.1.0"}
ROWS = {
    "TARGETID": [1, 2, 3, 4, 5, 6],
    "FILE": ["a"] * 6,
    "ROW": [0, 1, 2, 3, 4, 5],
    "SPECTYPE": ["GALAXY", "QSO", "STAR", "GALAXY", "QSO", "GALAXY"],
    "Z": [0.1, 1.02, 0.0, 0.5, 2.0, 0.0],
    "ZERR": [1e-4, 1e-2, 1e-5, -1.0, 1e-2, np.nan],
    "ZCONF": [np.nan] * 6,
    "PROB": [0.9, 0.8, 0.99, 0.6, 0.7, 0.5],
    "ZWARN": [0, 0, 0, 4, 0, 512],
    "SNR": [3.0, 8.0, 40.0, 0.5, 12.0, 0.0],
    "Z_TRUE": [0.1001, 1.0, 0.00001, 0.2, np.nan, 0.3],
    "CLASS_TRUE": ["GALAXY", "QSO", "STAR", "GALAXY", "", "GALAXY"],
}


def write(path, columns, header=HEADER, name="REDSHIFTS"):
    arrays = {key: np.array(values) for key, values in columns.items()}
    write_fits(path, [("", np.zeros(0), header), (name, arrays, {})], overwrite=True)
    return path


def some(rows=None, **changes):
    columns = ROWS | changes
    columns = {k: v for k, v in columns.items() if v is not None}
    return columns if rows is None else {k: np.array(v)[rows] for k, v in columns.items()}


@pytest.fixture
def zspec():
    def run(*words):
        result = CliRunner().invoke(build(), ["evaluate", *map(str, words)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def as_json(result):
    return json.loads(result.stdout)


# one catalogue


def test_the_newest_catalogue_of_the_folder(zspec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "z.fits", some())
    write(tmp_path / "newer-but-not-ours.fits", some(), header={})
    result = zspec("--metrics", "nmad,gf")
    assert "the newest catalogue here: z.fits" in result.stderr
    assert "what the catalogue carries" in result.stdout
    assert "gf           fraction with bias < 0.0015 GALAXY, 0.015 QSO" in result.stdout


def test_no_catalogue_in_the_folder(tmp_path):
    with pytest.raises(InputError, match="no catalogue of zspec here"):
        newest(tmp_path)


def test_what_a_broken_run_left_is_no_catalogue(tmp_path):
    write(tmp_path / "z.fits", some())
    for k, name in enumerate((".y.fits", ".z.fits")):
        os.utime(write(tmp_path / name, some()), (2e9 + k, 2e9 + k))
    assert newest(tmp_path).name == "z.fits"


def test_control_characters_of_names_do_not_reach_the_terminal(zspec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x\x07y.fits", some())
    result = zspec("--metrics", "acc,confusion")
    assert "\x07" not in result.stderr + result.stdout
    assert "here: xy.fits" in result.stderr


def test_json_has_the_documented_shape(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    words = [
        "--metrics",
        "gf,nmad,acc",
        "--by",
        "class",
        "--by",
        "class,snr",
        "--bins",
        "snr=0,5,50",
    ]
    found = as_json(zspec(path, *words, "--json", "--seed", "7", "--interval", "95"))
    assert set(found["metrics"]["gf"]) >= {"value", "lo", "hi", "n", "thr"}
    assert found["metrics"]["gf"]["thr"] == {"GALAXY": 0.0015, "QSO": 0.015}
    assert found["metrics"]["gf"]["n"] == 4
    assert found["metrics"]["gf"]["value"] == pytest.approx(2 / 4)
    assert found["unanswered"] == 1
    assert found["bootstrap"] == {"replicates": 1000, "level": 0.95, "seed": 7}
    assert found["columns"]["z_true"] == "Z_TRUE"
    assert found["definitions"]["nmad"].startswith("1.48 median")
    crossed = found["by"][1]
    assert crossed["by"] == ["class", "snr"]
    labels = [(g["label"]["class"], g["label"]["snr"], g["n"]) for g in crossed["groups"]]
    assert labels[0] == ("GALAXY", "0 to 5", 3)
    assert [g["unanswered"] for g in crossed["groups"]] == [1, 0, 0, 0, 0, 0]
    assert labels[1] == ("GALAXY", "5 to 50", 0)  # an empty bin is there, and empty
    assert crossed["groups"][1]["metrics"]["nmad"]["value"] is None
    assert crossed["groups"][0]["edges"] == {"snr": [0.0, 5.0]}


def test_same_seed_same_intervals(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    one, two = (zspec(path, "--json").stdout for _ in range(2))
    assert one == two


def test_rows_that_cannot_be_judged_are_counted(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    text = zspec(path, "--metrics", "all").stdout
    assert "1 rows have no answer (1 ZWARN NODATA): failures in gf, right, star, acc," in text
    assert "1 rows left out: no true redshift or class" in text
    assert "5 evaluated, of 5 objects; without an answer: 1" in text
    found = as_json(zspec(path, "--metrics", "all", "--json"))["metrics"]
    assert found["pull"]["n"] == 3
    assert found["pull"]["note"] == "1 rows without z; 1 rows without sigma"
    assert found["ece_z"]["value"] is None
    assert found["ece_z"]["note"] == "1 rows without z; 4 rows without zconf"
    assert found["eff"]["note"].startswith("no Cramér-Rao bound")
    assert found["cov68"]["note"].endswith("p(z) is a Gaussian of Z and ZERR")
    assert found["gf"]["note"] == (
        "without STAR (1): no threshold; 1 rows without z count as failures"
    )
    assert found["confusion"]["matrix"]["classes"] == ["GALAXY", "QSO", "STAR"]
    assert found["confusion"]["matrix"]["counts"] == [[2, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found["confusion"]["matrix"]["none"] == [1, 0, 0]
    assert found["confusion"]["value"] == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_only_good_rows(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    assert "2 rows left out: ZWARN is not 0 (--good)" in zspec(path, "--good").stdout
    bare = write(tmp_path / "y.fits", some(ZWARN=None))
    with pytest.raises(ConfigError, match="--good needs a column ZWARN"):
        zspec(bare, "--good")


def test_thresholds_are_said(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    text = zspec(path, "--metrics", "gf,eta", "--thr", "gf=0.05", "--thr", "eta=0.1").stdout
    assert "gf           fraction with bias < 0.05" in text
    assert "eta          of rows with a redshift, the fraction with |d| > 0.1" in text
    assert as_json(zspec(path, "--thr", "gf=0.05", "--json"))["metrics"]["gf"]["n"] == 5


def test_a_fraction_of_none_has_an_upper_limit():
    table = from_table("t", Table({"Z": np.zeros(50), "Z_TRUE": np.zeros(50)}))
    sample = assemble(table, None, Columns(), Choice())
    eta = evaluate(sample, Settings(choose(["eta"])))["eta"]
    assert (eta.value, eta.lo) == (0, 0)
    assert eta.hi == pytest.approx(1 - 0.32 ** (1 / 50))


def test_empty_tables_say_so():
    table = from_table("t", Table({"Z": np.zeros(0), "Z_TRUE": np.zeros(0)}))
    results = evaluate(assemble(table, None, Columns(), Choice()), Settings(choose(["all"])))
    assert all(r.value is None and r.note for r in results.values())


def test_eff_only_where_few_are_catastrophic():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 1, 500)
    table = Table({"Z_TRUE": true, "Z": rng.normal(true, 1e-3), "ZCRB": np.full(500, 1e-3)})
    good = assemble(from_table("t", table), None, Columns(), Choice())
    assert evaluate(good, Settings(choose(["eff"])))["eff"].value == pytest.approx(1, abs=0.3)
    table["Z"][:20] = 3
    bad = assemble(from_table("t", table), None, Columns(), Choice())
    result = evaluate(bad, Settings(choose(["eff"])))["eff"]
    assert result.value is None
    assert "4.0% have |d| > 0.01" in result.note


def test_repeated_ids_are_said_and_can_be_drawn_together(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some(TARGETID=[1, 1, 3, 3, 5, 6]))
    assert "2 rows repeat the id of another" in zspec(path).stdout
    together = zspec(path, "--object", "TARGETID").stdout
    assert "repeat the id" not in together
    assert "5 evaluated, of 3 objects" in together


# rows without an answer


def half_silent(n=400):
    """Good redshifts, of which every second is not given, each in another way."""
    true = np.linspace(0.1, 2, n)
    table = Table({"TARGETID": np.arange(1, n + 1), "Z_TRUE": true, "Z": true})
    table["CLASS_TRUE"] = table["SPECTYPE"] = np.full(n, "GALAXY")
    table["ZERR"], table["ZCONF"], table["PROB"] = 1e-4, 0.9, 0.9
    table["ZWARN"] = np.zeros(n, int)
    table["ZWARN"][0::6] = 512  # as zspec says it: Z is 0
    table["Z"][0::6] = 0.0
    table["Z"][2::6] = np.nan
    table["Z"][4::6] = -1.0
    return table


def test_a_missing_answer_is_a_failure():
    sample = assemble(from_table("t", half_silent()), None, Columns(), Choice())
    found = evaluate(sample, Settings(choose(["all"])))
    assert sample.unanswered.sum() == 200
    for name in ("gf", "right", "completeness"):
        assert (found[name].value, found[name].n) == (0.5, 400), name
        assert "200 rows without z count as failures" in found[name].note
    assert found["purity"].value == pytest.approx(200 / 333)  # 67 have ZWARN NODATA
    assert found["acc"].value == pytest.approx(333 / 400)
    for name in ("nmad", "bias", "mae", "dz", "ebar", "pull", "eta", "cat", "cat_v", "ece_z"):
        assert found[name].n == 200, name
        assert "200 rows without" in found[name].note
    assert found["eta"].value == 0
    assert sample.notes[0].startswith(
        "200 rows have no answer (67 ZWARN NODATA, 66 z <= -1, 67 no redshift): failures in gf"
    )


def test_a_missing_answer_is_a_failure_side_by_side(zspec, tmp_path):
    silent = half_silent()
    full = silent.copy()
    full["Z"], full["ZWARN"] = full["Z_TRUE"], 0
    paths = [
        write(tmp_path / name, {c: np.asarray(table[c]) for c in table.colnames})
        for name, table in (("a.fits", full), ("b.fits", silent))
    ]
    words = [*paths, "--metrics", "gf,nmad,completeness"]
    found = as_json(zspec(*words, "--json"))
    assert [m["gf"]["value"] for m in found["metrics"]] == [1, 0.5]
    assert [m["completeness"]["value"] for m in found["metrics"]] == [1, 0.5]
    assert [m["nmad"]["n"] for m in found["metrics"]] == [200, 200]
    assert found["differences"][0]["gf"]["hi"] < 0
    assert found["unanswered"] == [0, 200]
    text = zspec(*words, "--by", "class").stdout
    assert "without an answer: 0 of A, 200 of B" in text
    assert "gf, completeness of B: 200 rows without z count as failures" in text
    assert "class GALAXY: 400 rows, without an answer: 0 of A, 200 of B" in text


def test_a_table_of_classes_only():
    table = Table({"SPECTYPE": ["QSO", "", "STAR"], "CLASS_TRUE": ["QSO", "QSO", "STAR"]})
    sample = assemble(from_table("t", table), None, Columns(), Choice())
    assert evaluate(sample, Settings(choose(["acc"])))["acc"].value == pytest.approx(2 / 3)
    assert sample.notes == (
        "1 rows have no answer (1 no class): failures in gf, right, star, acc, confusion, purity, "
        "completeness; left out of the other metrics",
    )


def test_rows_without_an_answer_have_a_column_in_groups(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    text = zspec(path, "--by", "class", "--metrics", "acc,confusion").stdout
    assert "no answer" in text
    assert "none" in text


# groups


def test_groups_by_any_column(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some(VDISP=[100.0, 200.0, 300.0, 400.0, 1.0, 1.0]))
    found = as_json(zspec(path, "--by", "VDISP", "--by", "z", "--json", "--metrics", "mae"))
    numbers = [g["n"] for g in found["by"][0]["groups"]]
    assert sum(numbers) == 5
    assert [g["label"]["z"] for g in found["by"][1]["groups"]][:2] == ["< 0", "0 to 0.2"]


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-10, 10) | st.just(float("nan")), min_size=1, max_size=20),
    edges=st.lists(st.integers(-9, 9), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_bins_hold_what_lies_in_them(values, edges):
    table = from_table("t", Table({"Z": np.zeros(len(values)), "X": values}))
    sample = assemble(table, table, Columns(), Choice(on="row"))
    found = group(sample, ["X"], {"X": edges})
    for piece, (low, high) in zip(found.groups, itertools.pairwise(edges), strict=True):
        assert piece.rows.tolist() == [i for i, v in enumerate(values) if low <= v < high]
    outside = sum(not edges[0] <= v < edges[-1] for v in values)
    expected = (f"X: {outside} rows are in no group (outside of all bins or unknown)",)
    assert found.notes == (expected if outside else ())


def test_coarse_classes(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some(SPECTYPE=["QSO", "QSO", "STAR", "GALAXY", "QSO", "QSO"]))
    coarse = tmp_path / "coarse.toml"
    coarse.write_text('[coarse]\nEXTRAGALACTIC = ["GALAXY", "QSO"]\n')
    words = [path, "--metrics", "acc,confusion", "--json"]
    assert as_json(zspec(*words))["metrics"]["acc"]["value"] == 3 / 5  # one has no answer
    found = as_json(zspec(*words, "--coarse", coarse))["metrics"]
    assert found["acc"]["value"] == 4 / 5
    assert found["confusion"]["matrix"]["classes"] == ["EXTRAGALACTIC", "STAR"]


def test_robust_and_unstable(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    words = ["--by", "robust", "--metrics", "mae", "--json"]
    found = as_json(zspec(path, "--robust", "GALAXY=1e-3,QSO=1e-3", *words))["by"][0]
    assert [(g["label"]["robust"], g["n"]) for g in found["groups"]] == [
        ("unstable", 1),
        ("robust", 2),
    ]
    # there is no limit for stars, and one row has no sigma
    assert found["notes"] == ["robust: 2 rows are in no group (unknown)"]
    flagged = write(tmp_path / "y.fits", some(ZWARN=[0, 1 << 27, 0, 0, 0, 0]))
    assert [g["n"] for g in as_json(zspec(flagged, *words))["by"][0]["groups"]] == [1, 4]
    with pytest.raises(ConfigError, match="--by robust: give a limit with --robust"):
        zspec(path, "--by", "robust")
    assert parse_robust("0.01") == 0.01


# the truth


def test_truth_by_id(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some(Z_TRUE=None, CLASS_TRUE=None))
    truth = {"TARGETID": [3, 1, 9, 2, 2], "Z": [0.0, 0.1, 5.0, 1.0, 1.1]}
    truth["SPECTYPE"] = ["STAR", "GALAXY", "QSO", "QSO", "QSO"]
    other = write(tmp_path / "truth.fits", truth | {"ZERR": np.zeros(5)}, header={})
    text = zspec(path, "--truth", other, "--metrics", "gf").stdout
    assert "3 of 6 rows matched on TARGETID; 3 are not in the truth; 2 rows of the truth" in text
    assert "1 rows match several of the truth: the first counts" in text
    assert "z_true Z" in text


def test_truth_of_sdss_by_fibre(tmp_path):
    fibre = {"PLATE": [266, 266, 267], "MJD": [51602, 51602, 51608], "FIBERID": [1, 2, 1]}
    catalogue = write(tmp_path / "z.fits", {**fibre, "Z": [0.1, 0.2, 0.3]})
    spall = {
        "PLATE": [267, 266, 266],
        "MJD": [51608, 51602, 51602],
        "FIBERID": [1, 2, 1],
        "Z": [3.0, 2.0, 1.0],
        "Z_ERR": [0.1] * 3,
        "CLASS": ["QSO"] * 3,
        "ZWARNING": [0] * 3,
    }
    truth = open_frame(write(tmp_path / "spAll.fits", spall, {}, name=""))
    sample = assemble(open_frame(catalogue), truth, Columns(), Choice())
    assert sample.columns["z_true"].tolist() == [1, 2, 3]
    assert "label_true" in sample.columns


DOUBTS = {"SKY": 1, "LITTLE_COVERAGE": 2, "SMALL_DELTA_CHI2": 4, "NODATA": 512, "POORDATA": 2048}
TRUSTED = (0, 8, 16, 64)
"""No bit, and NEGATIVE_MODEL, MANY_OUTLIERS and NEGATIVE_EMISSION."""


def of_pipeline(column, **more):
    zwarn = [*DOUBTS.values(), *TRUSTED]
    number = np.arange(1, len(zwarn) + 1)
    columns = {"TARGETID": number, "Z": number / 10, "SPECTYPE": ["QSO"] * len(zwarn)}
    return from_table("t", Table(columns | {column: zwarn} | more))


@pytest.mark.parametrize("column", ["ZWARN", "ZWARNING"])
def test_a_doubted_redshift_of_a_pipeline_is_no_truth(column):
    truth = of_pipeline(column)
    mine = from_table("m", Table({"TARGETID": truth["TARGETID"], "Z": truth["Z"]}))
    sample = assemble(mine, truth, Columns(), Choice())
    assert sample.ids.tolist() == [6, 7, 8, 9]
    assert "1 rows left out: the truth has ZWARN NODATA (1)" in sample.notes
    others = "SKY (1), LITTLE_COVERAGE (1), SMALL_DELTA_CHI2 (1), POORDATA (1)"
    assert f"4 rows left out: the truth has ZWARN {others}; --truth-all keeps them" in sample.notes
    every = assemble(mine, truth, Columns(), Choice(truth_all=True))
    assert every.ids.tolist() == [1, 2, 3, 5, 6, 7, 8, 9]


def test_the_warnings_of_a_prediction_say_nothing_of_its_truth():
    seen = of_pipeline("ZWARN", Z_TRUE=np.arange(1, 10) / 10, Z_VI=np.arange(1, 10) / 10)
    mine = from_table("m", Table({"TARGETID": seen["TARGETID"], "Z": seen["Z"]}))
    assert len(assemble(mine, seen, Columns(), Choice())) == 9
    assert len(assemble(mine, of_pipeline("ZWARN", Z_VI=seen["Z"]), Columns(), Choice())) == 4
    by_eye = Columns(z_true="Z_VI")
    assert len(assemble(mine, of_pipeline("ZWARN", Z_VI=seen["Z"]), by_eye, Choice())) == 9
    with_truth = Table({name: seen[name] for name in ("TARGETID", "Z", "ZWARN", "Z_TRUE")})
    first, _ = align([from_table("a", with_truth), mine], None, Columns(), Choice())
    assert len(first) == 9


def test_truth_all_is_an_option(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some(Z_TRUE=None, CLASS_TRUE=None))
    text = zspec(path, "--truth", path, "--metrics", "mae").stdout
    assert "1 rows left out: the truth has ZWARN SMALL_DELTA_CHI2 (1); --truth-all" in text
    text = zspec(path, "--truth", path, "--metrics", "mae", "--truth-all").stdout
    assert "SMALL_DELTA_CHI2" not in text
    assert "1 rows left out: the truth has ZWARN NODATA (1)" in text


def test_placeholders_match_nothing(zspec, tmp_path):
    ids = np.array([-1, -1, 0, 7, 8])
    mine = from_table("m", Table({"TARGETID": ids, "Z": np.zeros(5)}))
    truth = from_table("t", Table({"TARGETID": ids[::-1], "Z": np.zeros(5)}))
    found = match(mine, truth)
    assert (found.rows.tolist(), found.truth_rows.tolist()) == ([3, 4], [1, 0])
    assert found.notes[-1] == "3 rows have no TARGETID, and match none"
    assert match(mine, truth, "TARGETID").rows.tolist() == [3, 4]
    unsigned = from_table("u", Table({"TARGETID": np.array([0, 7], np.uint64), "Z": np.zeros(2)}))
    assert match(unsigned, truth).truth_rows.tolist() == [1]
    with pytest.raises(InputError, match="first here: 0; there: 8"):
        match(from_table("e", Table({"TARGETID": [0], "Z": [0.0]})), truth)
    path = write(tmp_path / "z.fits", some(TARGETID=[-1, -1, -1, 4, 5, 4]))
    assert "1 rows repeat the id of another" in zspec(path).stdout
    assert "5 evaluated, of 4 objects" in zspec(path, "--object", "TARGETID").stdout


def test_one_spectrum_of_one_file_is_one_row_of_each_table():
    columns = {"FILE": ["a", "a", "b"], "ROW": [0, 1, 0], "TARGETID": [-1, 5, 5]}
    mine = from_table("m", Table(columns | {"Z": np.zeros(3)}))
    order = [2, 0, 1]
    turned = {k: np.array(v)[order] for k, v in columns.items()}
    truth = from_table("t", Table(turned | {"Z": np.zeros(3)}))
    found = match(mine, truth)
    assert found.truth_rows.tolist() == [1, 2, 0]
    assert found.notes[0].startswith("3 of 3 rows matched on FILE and ROW")
    other = turned | {"TARGETID": np.array([6, 9, 8])}  # files that are called alike
    with pytest.raises(InputError, match="by TARGETID"):
        match(mine, from_table("t", Table(other | {"Z": np.zeros(3)})))
    elsewhere = turned | {"FILE": np.array(["x", "y", "y"])}
    moved = match(mine, from_table("t", Table(elsewhere | {"Z": np.zeros(3)})))
    assert moved.rows.tolist() == [1, 2]
    assert moved.notes[0] == "no FILE and ROW of m is in t: other files?"
    assert not any("other files" in note for note in found.notes)
    folder = from_table("f", Table(columns | {"FILE": ["x/a", "x/a", "x/b"], "Z": np.zeros(3)}))
    assert match(folder, truth).truth_rows.tolist() == [1, 2, 0]
    assert match(folder, truth).notes[0].startswith("3 of 3 rows matched on FILE and ROW")


def test_matching_by_row_and_by_named_columns(tmp_path):
    table = from_table("a", Table({"NAME": ["x", "y"], "Z": [0.1, 0.2]}))
    truth = from_table("b", Table({"obj": ["y", "x"], "Z": [2.0, 1.0]}))
    assert match(table, truth, "row").truth_rows.tolist() == [0, 1]
    assert match(table, truth, "NAME=obj").truth_rows.tolist() == [1, 0]
    with pytest.raises(ConfigError, match="neither TARGETID nor PLATE"):
        match(table, truth)
    with pytest.raises(InputError, match="name columns with --match"):
        match(table, truth, "NAME=Z")
    with pytest.raises(InputError, match="a has 2 rows, c has 1"):
        match(table, from_table("c", Table({"Z": [1.0]})), "row")


@settings(max_examples=100, deadline=None)
@given(
    mine=st.lists(st.tuples(st.integers(-2, 2), st.sampled_from("ab")), min_size=1, max_size=12),
    theirs=st.lists(st.tuples(st.integers(-2, 2), st.sampled_from("ab")), min_size=1, max_size=12),
)
def test_join_is_the_obvious_loop(mine, theirs):
    arrays = [[np.array(column) for column in zip(*keys, strict=True)] for keys in (mine, theirs)]
    found, repeated = join(*arrays)
    assert found.tolist() == [theirs.index(k) if k in theirs else -1 for k in mine]
    assert repeated.tolist() == [theirs.count(k) > 1 for k in mine]


def test_ids_keep_their_digits_and_missing_ones_match_nothing(tmp_path):
    big = 39633345008634465
    path = tmp_path / "t.csv"
    path.write_text(f"TARGETID,Z\n{big},1\n{big + 1},2\n,3\n")
    ids = open_frame(path)["TARGETID"]
    mine = np.array([big + 1, big, np.iinfo(np.int64).min])
    assert join([mine], [ids])[0].tolist() == [1, 0, -1]
    assert join([mine.astype(np.uint64)], [ids])[0].tolist()[:2] == [1, 0]
    assert join([mine.astype("U")], [ids])[0].tolist()[:2] == [1, 0]
    assert join([np.array([3.0, np.nan])], [np.array([1, 3])])[0].tolist() == [1, -1]
    assert join([np.array(["", "a"])], [np.array(["a", ""])])[0].tolist() == [-1, 0]
    with pytest.raises(InputError, match="loses their digits"):
        join([mine], [ids.astype(float)])


def test_names_exactly_first_then_without_case():
    frame = from_table("t", Table({"CLASS": ["A"], "class": ["b"], "Snr": [1.0], "sNR": [2.0]}))
    assert frame["class"].tolist() == ["b"]
    assert frame["CLASS"].tolist() == ["A"]
    with pytest.raises(InputError, match="there are Snr and sNR"):
        frame["SNR"]
    with pytest.raises(ConfigError, match="unknown column 'clas'; did you mean 'class'"):
        frame["clas"]


def test_columns_of_one_value_a_row_are_flat():
    table = from_table("t", Table({"label": np.ones((3, 1)), "mags": np.ones((3, 5))}))
    assert table["label"].shape == (3,)
    with pytest.raises(InputError, match="column mags holds 5 values a row"):
        table["mags"]


def test_csv_with_missing_values(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("TARGETID,Z,Z_TRUE,SPECTYPE,CLASS_TRUE\n1,0.1,0.1,QSO,QSO\n2,0.2,,QSO,\n")
    sample = assemble(open_frame(path), None, Columns(), Choice())
    assert len(sample) == 1
    assert sample.names == ("QSO",)
    with pytest.raises(InputError, match="no such file"):
        open_frame(tmp_path / "no.csv")


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"no parquet")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        with pytest.raises(ConfigError, match="pip install pyarrow"):
            open_frame(path)
        return
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_frame(path)
    columns = {"Z": [0.1, 0.2], "Z_TRUE": [0.1, 0.3], "SPECTYPE": ["QSO", "GALAXY"]}
    parquet.write_table(pyarrow.table(columns), path)
    sample = assemble(open_frame(path), None, Columns(), Choice())
    assert sample.names == ("GALAXY", "QSO")
    assert sample.columns["z_true"].tolist() == [0.1, 0.3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "nmda"], "did you mean 'nmad'"),
        (["--z", "NOPE"], "unknown column 'NOPE'"),
        (["--by", "SNRR"], "did you mean 'SNR'"),
        (["--by", "mag"], "no magnitude; name its column with --mag"),
        (["--bins", "snr=3"], "two or more edges that increase"),
        (["--bins", "snr=a,b"], "expected COLUMN=EDGE,EDGE"),
        (["--bins", "snr=0:50"], "or COLUMN=LOW:HIGH:NUMBER"),
        (["--bins", "snr=0:50:0"], "two or more edges"),
        (["--given-class"], "--given-class needs redshifts by class (HDU CLASSPROB)"),
        (["--given-class", "--good"], "leave it out with --given-class"),
        (["--robust", "GALAXY=x"], "expected a number or CLASS=NUMBER"),
        (["--coarse", "no.toml"], "cannot be read as TOML"),
        (["--zerr", "SPECTYPE"], "holds text, not numbers"),
        (["--truth", "no.fits"], "no such file"),
    ],
)
def test_mistakes_are_one_line(zspec, tmp_path, words, message):
    path = write(tmp_path / "z.fits", some())
    with pytest.raises(ZspecError) as caught:
        zspec(path, *words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_truth_says_what_is_missing(zspec, toy_file, tmp_path):
    path = write(tmp_path / "z.fits", some(Z_TRUE=None, CLASS_TRUE=None))
    with pytest.raises(ConfigError, match=r"carries no truth .* --truth, or columns with --ztrue"):
        zspec(path)
    spectra = toy_file("s.fits", [1, 2])
    with pytest.raises(ConfigError, match="Predict them first, with --survey or --model"):
        zspec(spectra)


def test_finer_classes_have_the_threshold_of_their_first_word(zspec, tmp_path):
    fine = ["GALAXY AGN", "QSO nan", "STAR F", "GALAXY nan", "", "GALAXY nan"]
    path = write(tmp_path / "z.fits", some(CLASS_TRUE=fine))
    words = [path, "--metrics", "gf", "--json"]
    gf = as_json(zspec(*words))["metrics"]["gf"]
    assert (gf["value"], gf["n"]) == (1 / 2, 4)  # 0.0001 of AGN, and 0.01 of the quasar
    own = as_json(zspec(*words, "--thr", "gf:QSO nan=0.001"))["metrics"]["gf"]
    assert own["value"] == pytest.approx(1 / 4)


def test_equal_bins_by_their_number(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    words = [path, "--metrics", "mae", "--by", "snr", "--json", "--bins"]
    equal, listed = (as_json(zspec(*words, f"snr={bins}")) for bins in ("0:50:2", "0,25,50"))
    assert equal["by"] == listed["by"]
    assert [g["n"] for g in equal["by"][0]["groups"]] == [4, 1]


def test_redshifts_of_the_true_class(zspec, tmp_path):
    """Row 0 was taken for a quasar; the model's two kinds of galaxy are one class here."""
    rows = some([0, 1, 2], SPECTYPE=["QSO", "QSO", "STAR"] * 2, CLASS=["QSO", "QSO", "F"] * 2)
    classes = ["AGN", "nan", "QSO", "F"]
    by_class = {
        **{name: np.repeat(rows[name], 4) for name in ("TARGETID", "FILE", "ROW")},
        "CLASS": np.tile(classes, 3),
        "PROB": [0.1, 0.3, 0.6, 0, 0, 0, 1, 0, 0, 0, 0.2, 0.8],
        "Z": [0.4, 0.1002, 1.5, np.nan, *[np.nan] * 2, 1.02, np.nan, *[np.nan] * 4],
        "ZERR": [0.1, 0.2, 0.3, np.nan, *[np.nan] * 2, 0.4, np.nan, *[np.nan] * 4],
        "Z_POINT": [0.5, 0.11, 1.6, np.nan, *[np.nan] * 8],
        "SMALL": [0.01] * 12,
    }
    rows |= {"Z_POINT": [9.0] * 3, "SMALL": [9.0] * 3, "OTHER": [9.0] * 3}
    path = tmp_path / "z.fits"
    tables = [("REDSHIFTS", rows, {}), ("CLASSPROB", by_class, {})]
    tables = [(name, {k: np.array(v) for k, v in t.items()}, cards) for name, t, cards in tables]
    write_fits(path, [("", np.zeros(0), HEADER), *tables])
    coarse = tmp_path / "coarse.toml"
    coarse.write_text('[coarse]\nGALAXY = ["AGN", "nan"]\nSTAR = ["F"]\n')
    words = [path, "--class", "CLASS", "--coarse", coarse, "--by", "class", "--json"]
    words += ["--metrics", "mae,ebar,acc"]
    found = as_json(zspec(*words, "--given-class"))
    assert found["metrics"].keys() >= {"mae", "ebar"}
    assert found["metrics"]["acc"]["value"] is None
    of = {g["label"]["class"]: g["metrics"] for g in found["by"][0]["groups"]}
    assert of["GALAXY"]["mae"]["value"] == pytest.approx(1e-4)  # nan's, more probable than AGN's
    assert of["GALAXY"]["ebar"]["value"] == pytest.approx(0.2 / 1.1001)
    assert of["QSO"]["mae"]["value"] == pytest.approx(0.02)
    assert of["STAR"]["mae"]["value"] == pytest.approx(1e-5)  # no redshift in the model: 0
    chosen = as_json(zspec(*words))
    assert chosen["metrics"]["acc"]["value"] == pytest.approx(2 / 3)
    point = as_json(zspec(*words, "--given-class", "--z", "z_point", "--zerr", "SMALL"))
    assert point["columns"]["z"] == "Z_POINT"
    of = {g["label"]["class"]: g["metrics"] for g in point["by"][0]["groups"]}
    assert of["GALAXY"]["mae"]["value"] == pytest.approx(0.11 - 0.1001)
    assert of["GALAXY"]["ebar"]["value"] == pytest.approx(0.01 / 1.1001)
    assert of["QSO"]["mae"]["value"] is None  # has a redshift, but no point estimate: not 0
    assert of["STAR"]["mae"]["value"] == pytest.approx(1e-5)
    with pytest.raises(ConfigError, match=r"HDU CLASSPROB, .*unknown column 'OTHER'"):
        zspec(*words, "--given-class", "--z", "OTHER")


# several catalogues


@pytest.fixture
def two(tmp_path):
    """The same objects by two tools; the second is worse, and lacks one object."""
    rng = np.random.default_rng(3)
    n = 400
    true = rng.uniform(0, 1, n)
    common = {"TARGETID": np.arange(1, n + 1), "SPECTYPE": np.full(n, "GALAXY")}
    first = common | {"Z": rng.normal(true, 1e-4), "ZERR": np.full(n, 1e-4)}
    second = common | {"Z": rng.normal(true, 2e-3), "ZERR": np.full(n, 2e-3)}
    second["Z"][:3] = 2.0
    second["SPECTYPE"] = np.where(np.arange(n) == 2, "QSO", "GALAXY")
    truth = common | {"Z": true}
    order = rng.permutation(n)[:-1]
    return (
        write(tmp_path / "a.fits", first),
        write(tmp_path / "b.fits", {k: v[order] for k, v in second.items()}),
        write(tmp_path / "t.fits", truth | {"ZERR": np.zeros(n)}, header={}),
        set((order + 1).tolist()),
    )


def test_two_tools_on_the_same_objects(zspec, two):
    first, second, truth, there = two
    words = [first, second, "--truth", truth, "--metrics", "gf,nmad,acc,eff"]
    found = as_json(zspec(*words, "--json"))
    assert found["rows"] == 399
    assert [m["gf"]["n"] for m in found["metrics"]] == [399, 399]
    gap = found["differences"][0]["gf"]
    a, b = (m["gf"]["value"] for m in found["metrics"])
    assert gap["value"] == pytest.approx(b - a)
    assert gap["hi"] < 0
    assert {row["id"] for row in found["disagreements"]} >= {1, 2, 3} & there
    assert len(found["disagreements"]) > 3
    assert found["disagreements"][0]["apart_km_s"] == max(
        row["apart_km_s"] for row in found["disagreements"]
    )
    text = zspec(*words, "--by", "z", "--bins", "z=0,0.5,1").stdout
    assert "B - A *" in text
    assert "not computed: eff of A: no Cramér-Rao bound" in text
    assert "z 0 to 0.5: " in text


def test_a_catalogue_against_itself_differs_by_nothing(zspec, tmp_path):
    path = write(tmp_path / "z.fits", some())
    again = write(tmp_path / "y.fits", some(rows=[5, 3, 1, 0, 2, 4]))
    found = as_json(zspec(path, again, "--json"))
    for name, gap in found["differences"][0].items():
        values = [m[name]["value"] for m in found["metrics"]]
        assert values[0] == values[1], name
        if gap["value"] is not None:
            assert gap["value"] == 0, name
            assert gap["lo"] == gap["hi"] == 0, name
    assert found["disagreements"] == []


def test_the_truth_that_the_first_carries_is_not_its_prediction(zspec, tmp_path):
    first = write(tmp_path / "a.fits", some(CLASS_TRUE=None))
    second = write(tmp_path / "b.fits", some(Z_TRUE=None, CLASS_TRUE=None))
    found = as_json(zspec(first, second, "--metrics", "acc,mae", "--json"))
    assert [m["acc"]["value"] for m in found["metrics"]] == [None, None]
    assert found["metrics"][0]["mae"]["value"] == found["metrics"][1]["mae"]["value"]


def test_no_common_object(zspec, tmp_path):
    first = write(tmp_path / "a.fits", some(rows=[0]))
    second = write(tmp_path / "b.fits", some(rows=[1]))
    with pytest.raises(InputError, match=r"no row of .*b\.fits is in .*a\.fits by TARGETID"):
        zspec(first, second)


# spectra


def test_spectra_are_predicted_first(zspec, toy_file, estimator, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    path = toy_file("s.fits", [1, 2, 3, 0], labelled=True)
    words = ["--metrics", "mae,gf,acc", "--json"]
    found = as_json(zspec(path, "--survey", "toy", *words))
    made = prediction.predict([Source(path, "toy")], estimator)
    made.header["ZSPECVER"] = "0"
    catalog.write(made, tmp_path / "z.fits")
    by_file = as_json(zspec(tmp_path / "z.fits", *words))
    assert found["metrics"] == by_file["metrics"]
    assert found["metrics"]["mae"]["value"] == pytest.approx(0, abs=1e-7)
    with pytest.raises(ConfigError, match="name files of spectra"):
        zspec("--survey", "toy")


def test_a_file_that_cannot_be_read_is_exit_1(zspec, toy_file, estimator, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    good = toy_file("s.fits", [1, 2, 3], labelled=True)
    bad = tmp_path / "bad\x07.fits"
    bad.write_bytes(good.read_bytes()[:3000])
    result = zspec(good, bad, "--survey", "toy", "--metrics", "mae")
    assert result.exit_code == 1
    assert "mae" in result.stdout
    assert "could not be read:" in result.stderr
    assert "\x07" not in result.stderr
    assert zspec(good, "--survey", "toy", "--metrics", "mae").exit_code == 0


# what others released: figures of field.md

PUBLISHED = {
    "GALAXY_STARBURST": ("0.0008", "0.0006", "0.942", "3.2e-04", "0.4", "0.998"),
    "GALAXY_nan": ("0.0098", "0.0062", "0.625", "1.4e-03", "5.2", "0.989"),
    "QSO_BROADLINE": ("0.0194", "0.0073", "0.926", "3.0e-03", "5.9", "0.995"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_of_gasnet2(zspec, name):
    path = shared(f"published/gasnet2-{name}.fits")
    found = as_json(zspec(path, "--metrics", "mae,dz,gf,nmad,eta,t", "--json"))["metrics"]
    value = {key: result["value"] for key, result in found.items()}
    got = (
        f"{value['mae']:.4f}",
        f"{value['dz']:.4f}",
        f"{value['gf']:.3f}",
        f"{value['nmad']:.1e}",
        f"{100 * value['eta']:.1f}",
        f"{value['t']:.3f}",
    )
    assert got == PUBLISHED[name]


def test_published_figures_of_gasnet3(zspec):
    path = shared("published/gasnet3-encoder-QSO.fits")
    found = as_json(zspec(path, "--z", "Best_fit_z", "--ztrue", "Z", "--json"))["metrics"]
    assert 4.6e-4 <= found["nmad"]["value"] <= 4.8e-4
    assert f"{100 * found['cat']['value']:.1f}" == "4.6"
    assert as_json(zspec(path, "--json"))["metrics"]["nmad"] == found["nmad"]  # known shape
