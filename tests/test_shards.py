"""Units of work, shards, resuming and merging: whatever stops a run, the rows are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from zspec import (
    ConfigError,
    InputError,
    OutputError,
    ZspecError,
    catalog,
    checkpoint,
    engine,
    plugins,
    prediction,
    running,
    shards,
    work,
)
from zspec.cli.app import build
from zspec.sources import Source

HERE = Path(__file__).parent


class Stopped(BaseException):
    """What stops a run: a signal, as far as the run can tell."""


@pytest.fixture
def zspec(toy, estimator, monkeypatch, tmp_path):
    """Run a command line; units of 16 rows, and a shard for each."""
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    monkeypatch.setattr(work, "SMALL", 0)
    monkeypatch.setattr(shards, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr("zspec.cli.session.command_line", lambda: "zspec predict")
    monkeypatch.chdir(tmp_path)

    def run(*words, stop=None):
        if stop is not None:
            estimator.calls.clear()
            monkeypatch.setattr(type(estimator), "predict", stopping(type(estimator), stop))
        result = CliRunner().invoke(build(), [*map(str, words)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def stopping(kind, after):
    """``predict`` of an estimator that stops the run in call number ``after``."""
    whole = kind.predict

    def predict(self, chunk, want=frozenset()):
        if len(self.calls) >= after:
            kind.predict = whole
            raise Stopped
        return whole(self, chunk, want)

    return predict


def command(*more):
    return ["predict", *sorted(Path().glob("toy-*.fits")), "-o", "z.fits", "--chunk", "2", *more]


@pytest.fixture
def night(toy_file):
    """Three files; one is labelled, one holds two units and one three."""
    toy_file("toy-a.fits", range(1, 21))
    toy_file("toy-b.fits", range(30, 65), labelled=True)
    toy_file("toy-c.fits", [7, 7, -3])


@pytest.fixture
def expected(zspec, night):
    """Bytes of the catalogue of an undisturbed run."""
    assert zspec(*command()).exit_code == 0
    whole = Path("z.fits").read_bytes()
    Path("z.fits").unlink()
    return whole


def test_units_are_fixed_multiples_of_the_chunk(zspec, night):
    sources = [Source(path, "toy") for path in sorted(Path().glob("toy-*.fits"))]
    units = list(work.plan(sources, 16))
    rows = [(u.file[-6], u.rows and (u.rows.start, u.rows.stop)) for u in units]
    assert rows == [
        ("a", (0, 16)), ("a", (16, 20)),
        ("b", (0, 16)), ("b", (16, 32)), ("b", (32, 35)),
        ("c", None),
    ]  # fmt: skip
    assert len({u.name for u in units}) == len(units)
    assert [u.name for u in work.plan(sources, 16)] == [u.name for u in units]
    assert units[1].name == work.unit_name(units[1].file, range(16, 20))


def test_the_catalogue_of_shards_is_that_of_one_run_in_memory(zspec, expected, estimator):
    Path("z.fits").write_bytes(expected)
    sources = [Source(path, "toy") for path in sorted(Path().glob("toy-*.fits"))]
    memory = prediction.predict(sources, estimator, prediction.Task(2))
    back = catalog.read(Path("z.fits"))
    assert list(back.tables) == list(memory.tables)
    for name, table in memory.tables.items():
        assert back.tables[name].colnames == table.colnames
        for column in table.colnames:
            one, other = table[column], back.tables[name][column]
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), column
            assert one.info.unit == other.info.unit
    with fits.open("z.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert "Mean of the flux." in hdus["REDSHIFTS"].header.values()


@pytest.mark.parametrize("after", [0, 1, 9, 15, 27])
def test_a_stopped_run_goes_on(zspec, expected, estimator, after):
    with pytest.raises(Stopped):
        zspec(*command(), stop=after)
    assert not Path("z.fits").exists()
    assert Path("z.parts").exists() == (after >= 8)
    estimator.calls.clear()
    result = zspec(*command("--resume", "--json"))
    assert result.exit_code == 0
    assert Path("z.fits").read_bytes() == expected
    assert not Path("z.parts").exists()
    kept = json.loads(result.stdout)["kept"]
    assert (kept > 0) == (after >= 8)
    assert sum(estimator.calls) == 58 - kept


def test_nothing_is_done_twice(zspec, expected, estimator):
    Path("z.fits").write_bytes(expected)
    estimator.calls.clear()
    before = Path("z.fits").stat().st_mtime_ns
    assert "58 of an earlier run" in zspec(*command("--resume")).output
    assert estimator.calls == []
    assert Path("z.fits").stat().st_mtime_ns == before


def test_an_unfinished_run_is_not_dropped_by_accident(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=20)
    with pytest.raises(OutputError, match="holds an unfinished run; go on with --resume"):
        zspec(*command())
    assert zspec(*command("--overwrite")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_another_command_is_refused(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=20)
    with pytest.raises(ZspecError, match="CHUNK was 2 and is 4; give what it had, or start with"):
        zspec(*command("--resume", "--chunk", "4"))
    toy_c = Path("toy-c.fits")
    with pytest.raises(ZspecError, match="INHASH was"):
        zspec("predict", toy_c, "-o", "z.fits", "--chunk", "2", "--resume")


def test_another_survey_is_refused(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=20)
    said = r"SURVEY was '\(recognised\)' and is 'toy'; give what it had"
    with pytest.raises(ConfigError, match=said):
        zspec(*command("--resume", "--survey", "toy"))
    assert zspec(*command("--resume")).exit_code == 0
    with pytest.raises(ConfigError, match=rf"z\.fits: {said}"):
        zspec(*command("--resume", "--survey", "toy"))
    assert zspec(*command("--resume", "--overwrite", "--survey", "TOY")).exit_code == 0
    assert zspec(*command("--resume", "--survey", "toy")).exit_code == 0
    assert catalog.read(Path("z.fits")).header["SURVEY"] == "toy"


def test_another_version_of_the_adapter_is_refused(zspec, expected, toy, monkeypatch):
    with pytest.raises(Stopped):
        zspec(*command(), stop=20)
    found = plugins.surveys().found
    with monkeypatch.context() as upgraded:
        upgraded.setitem(found, "toy", (type(toy), "toy-dist 1.3"))
        said = r"was read by toy \(toy-dist 1\.2\), and that is toy \(toy-dist 1\.3\) by now"
        with pytest.raises(ConfigError, match=said) as caught:
            zspec(*command("--resume"))
        assert "\n" not in str(caught.value)
    with monkeypatch.context() as upgraded:  # one that read nothing of it may be any
        upgraded.setitem(found, "sdss", (found["sdss"][0], "other 7"))
        assert zspec(*command("--resume")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected
    with monkeypatch.context() as upgraded:
        upgraded.setitem(found, "toy", (type(toy), "toy-dist 1.3"))
        with pytest.raises(ConfigError, match=f"z\\.fits: {said}"):
            zspec(*command("--resume"))
        assert zspec(*command("--resume", "--overwrite")).exit_code == 0
        assert catalog.read(Path("z.fits")).header["SURVEY1"] == "toy (toy-dist 1.3)"


def test_catalogues_of_two_versions_of_an_adapter_are_not_merged(zspec, night, toy, monkeypatch):
    zspec("predict", "toy-a.fits", "--chunk", "2")
    monkeypatch.setitem(plugins.surveys().found, "toy", (type(toy), "toy-dist 1.3"))
    zspec("predict", "toy-b.fits", "--chunk", "2", "--survey", "toy")
    zspec("predict", "toy-c.fits", "--chunk", "2")
    with pytest.raises(
        ConfigError, match=r"b\.zspec\.fits: was read by toy \(toy-dist 1\.3\), but"
    ):
        zspec("merge", "toy-a.zspec.fits", "toy-b.zspec.fits", "-o", "m.fits")
    monkeypatch.setitem(plugins.surveys().found, "toy", (type(toy), "toy-dist 1.4"))
    assert zspec("merge", "toy-b.zspec.fits", "toy-c.zspec.fits", "-o", "m.fits").exit_code == 0
    header = catalog.read(Path("m.fits")).header
    assert header["SURVEY1"] == "toy (toy-dist 1.3)"  # which read them, whatever is installed now
    assert "SURVEY" not in header  # one was asked for by name


def test_a_file_that_changed_is_done_again(zspec, expected, toy_file):
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    toy_file("new.fits", range(101, 121)).replace("toy-a.fits")
    assert zspec(*command("--resume")).exit_code == 0
    rows = catalog.read(Path("z.fits")).redshifts
    assert rows["TARGETID"].tolist() == [*range(101, 121), *range(30, 65), 7, 7, -3]


def test_a_file_that_vanished_after_it_was_finished(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    Path("toy-a.fits").rename("away.fits")
    words = ["predict", "toy-a.fits", *command("--resume")[1:]]
    assert zspec(*words).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_half_a_file_is_none(zspec, night, monkeypatch, toy):
    read = type(toy).read

    def torn(self, path, rows=None, options=None):
        if path.name == "toy-b.fits" and rows.start == 16:
            raise InputError(f"{path}: torn")
        return read(self, path, rows, options)

    monkeypatch.setattr(type(toy), "read", torn)
    assert zspec(*command()).exit_code == 1
    made = catalog.read(Path("z.fits"))
    assert made.failures == [("toy-b.fits", "toy-b.fits: torn")]
    assert made.tables["FILES"]["NROWS"].tolist() == [20, 0, 3]
    assert set(made.redshifts["FILE"]) == {"toy-a.fits", "toy-c.fits"}
    assert "Z_TRUE" not in made.redshifts.colnames


def test_what_failed_is_tried_again_on_request(zspec, expected, estimator):
    good = Path("toy-b.fits").read_bytes()
    Path("toy-b.fits").write_bytes(good[:5000])
    assert zspec(*command()).exit_code == 1
    estimator.calls.clear()
    assert zspec(*command("--resume")).exit_code == 1  # nothing changed: nothing is tried
    assert estimator.calls == []
    Path("toy-b.fits").write_bytes(good)
    assert zspec(*command("--retry-failed")).exit_code == 0
    assert sum(estimator.calls) == 35
    assert Path("z.fits").read_bytes() == expected


def test_a_full_disk_says_so_and_loses_nothing(zspec, expected, monkeypatch):
    from zspec import tablestream

    fsync, calls = tablestream.os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            zspec(*command())
    assert zspec(*command("--resume")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_a_damaged_shard_is_done_again(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    shard = sorted(Path("z.parts").glob("shard-*.fits"))[0]
    shard.write_bytes(shard.read_bytes()[:4000])
    assert zspec(*command("--resume")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_two_at_once_are_refused(zspec, expected):
    import fcntl

    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    with open("z.parts/lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another zspec is at work"):
            zspec(*command("--resume"))
        with pytest.raises(OutputError, match="another zspec is at work"):
            zspec(*command("--overwrite"))


def test_two_that_start_at_once_do_not_mix(zspec, expected, estimator, monkeypatch):
    """Both find nothing there; the one whose first shard is due later has to give way."""
    whole, names = type(estimator).predict, [str(path) for path in sorted(Path().glob("toy-*"))]

    def meanwhile(self, chunk, want=frozenset()):
        monkeypatch.setattr(type(estimator), "predict", whole)
        other = shards.Shards(Path("z.fits"), names, {"CHUNK": 2}, {})
        other._make_folder()
        others.append(other)
        return whole(self, chunk, want)

    others = []
    monkeypatch.setattr(type(estimator), "predict", meanwhile)
    with pytest.raises(OutputError, match="another zspec is at work"):
        zspec(*command())
    assert sorted(path.name for path in Path("z.parts").iterdir()) == ["lock", "manifest.json"]
    others[0].discard()
    assert not Path("z.parts").exists()
    assert zspec(*command()).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_catalogues_are_merged(zspec, expected):
    Path("z.fits").write_bytes(expected)
    for name in "abc":
        zspec("predict", f"toy-{name}.fits", "--chunk", "2")
    result = zspec("merge", *[f"toy-{name}.zspec.fits" for name in "abc"], "-o", "m.fits")
    assert result.exit_code == 0
    one, other = catalog.read(Path("z.fits")), catalog.read(Path("m.fits"))
    for name, table in one.tables.items():
        for column in table.colnames:
            given = other.tables[name][column]
            assert np.array_equal(table[column], given, equal_nan=given.dtype.kind == "f"), column
    assert other.header["NMERGED"] == 3
    assert other.header["INHASH"] == one.header["INHASH"]
    with fits.open("m.fits", checksum=True) as hdus:
        hdus.verify("exception")
    with pytest.raises(InputError, match="is in two of these catalogues"):
        zspec("merge", "m.fits", "toy-a.zspec.fits", "-o", "n.fits")
    with pytest.raises(InputError, match="is no catalogue of zspec"):
        zspec("merge", "m.fits", "toy-a.fits", "-o", "n.fits")
    zspec("predict", "toy-a.fits", "--chunk", "2", "-S", "gain=2", "--survey", "toy")
    with pytest.raises(ZspecError, match="OPTIONS is"):
        zspec("merge", "toy-a.zspec.fits", "toy-b.zspec.fits", "-o", "n.fits")
    assert not Path("n.fits").exists()


def test_shards_of_an_unfinished_run_are_merged_if_they_are_whole(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=20)
    parts = sorted(Path("z.parts").glob("shard-*.fits"))
    assert len(parts) == 3
    assert zspec("merge", *reversed(parts[:2]), "-o", "m.fits").exit_code == 0
    merged = catalog.read(Path("m.fits")).redshifts
    assert merged["TARGETID"].tolist() == list(range(1, 21))
    with pytest.raises(InputError, match=r"toy-b\.fits: rows 16 to 34 are in none of these"):
        zspec("merge", *parts, "-o", "n.fits")


def test_killed_at_random_moments_and_resumed(tmp_path):
    words = [sys.executable, str(HERE / "kill_and_resume.py"), str(tmp_path), "7", "10"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["killed"] >= 5
    assert told["with shards"] > 0


def test_a_file_that_changes_while_it_is_read_has_no_rows(
    zspec, expected, toy_file, monkeypatch, toy
):
    read = type(toy).read

    def changing(self, path, rows=None, options=None):
        if path.name == "toy-b.fits" and rows.start == 16:
            toy_file("new.fits", range(40, 75)).replace("toy-b.fits")
        return read(self, path, rows, options)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(toy), "read", changing)
        assert zspec(*command()).exit_code == 1
    made = catalog.read(Path("z.fits"))
    assert [file for file, _ in made.failures] == ["toy-b.fits"]
    assert "changed while it was read" in made.failures[0][1]
    assert made.tables["FILES"]["NROWS"].tolist() == [20, 0, 3]
    assert zspec(*command("--retry-failed")).exit_code == 0
    rows = catalog.read(Path("z.fits")).redshifts
    assert rows["TARGETID"].tolist() == [*range(1, 21), *range(40, 75), 7, 7, -3]


def test_a_file_that_grew_since_it_was_counted_has_no_rows(zspec, night, toy_file, estimator):
    source = Source(Path("toy-b.fits"), "toy")
    units = work.split(source, 16)
    toy_file("new.fits", range(30, 90)).replace("toy-b.fits")
    done = prediction.predict_unit(units[0], estimator, prediction.Task(2))
    assert done.rows == 0
    assert "toy-b.fits: changed while it was read" in done.error
    unit = work.split(source, 16)[0]
    assert prediction.predict_unit(unit, estimator, prediction.Task(2)).rows == 16


def test_a_file_cut_in_two_ways_has_no_rows(zspec, expected, monkeypatch):
    """Its rows cannot be counted for a moment, as where a disk does not answer."""
    from zspec import sources

    with pytest.raises(Stopped):
        zspec(*command(), stop=8)
    count = sources.count
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(
            sources, "count", lambda source: 0 if "-a" in str(source) else count(source)
        )
        assert zspec(*command("--resume")).exit_code == 1
    made = catalog.read(Path("z.fits"))
    assert [file for file, _ in made.failures] == ["toy-a.fits"]
    assert "was cut in two ways" in made.failures[0][1]
    assert len(made.redshifts) == 38
    assert zspec(*command("--retry-failed")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_inputs_of_another_spelling_are_refused(zspec, expected):
    there = [str(path.absolute()) for path in sorted(Path().glob("toy-*.fits"))]
    words = ["predict", *there, "-o", "z.fits", "--chunk", "2"]
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    with pytest.raises(ConfigError, match=r"begun with an input named toy-a\.fits; name inputs as"):
        zspec(*words, "--resume")
    assert zspec(*command("--resume")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected
    with pytest.raises(ConfigError, match=r"begun with an input named toy-a\.fits; name inputs as"):
        zspec(*words, "--resume")
    assert zspec(*words, "--resume", "--overwrite").exit_code == 0
    assert catalog.read(Path("z.fits")).redshifts["FILE"][0] == there[0]


def test_other_options_start_anew_on_request_only(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    other = ["predict", *command()[1:-2], "--chunk", "4"]
    assert zspec(*other, "--resume", "--overwrite").exit_code == 0
    assert catalog.read(Path("z.fits")).header["CHUNK"] == 4
    assert not Path("z.parts").exists()
    with pytest.raises(ConfigError, match=r"z\.fits: CHUNK was 4 and is 2; give what it had"):
        zspec(*command("--resume"))
    assert zspec(*command("--resume", "--overwrite")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_an_unfinished_run_may_replace_a_catalogue_of_other_options(zspec, expected):
    zspec("predict", *command()[1:-2], "--chunk", "4")
    with pytest.raises(Stopped):
        zspec(*command(), stop=25)
    assert zspec(*command("--resume")).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_a_killed_second_try_keeps_what_was_finished(zspec, expected, estimator):
    good = Path("toy-b.fits").read_bytes()
    Path("toy-b.fits").write_bytes(good[:5000])
    assert zspec(*command()).exit_code == 1
    Path("toy-b.fits").write_bytes(good)
    with pytest.raises(Stopped):
        zspec(*command("--retry-failed"), stop=10)
    assert Path("z.parts").exists()
    estimator.calls.clear()
    assert zspec(*command("--resume")).exit_code == 0
    assert sum(estimator.calls) == 35 - 16
    assert Path("z.fits").read_bytes() == expected


def test_an_older_file_in_the_place_of_one_is_read(zspec, expected, toy_file):
    Path("z.fits").write_bytes(expected)
    older = toy_file("new.fits", range(101, 121))
    os.utime(older, (1e9, 1e9))
    older.replace("toy-a.fits")
    assert zspec(*command("--resume")).exit_code == 0
    assert catalog.read(Path("z.fits")).redshifts["TARGETID"][0] == 101


def test_what_a_run_at_work_made_meanwhile_is_left_alone(zspec, expected, monkeypatch):
    """The other one makes its folder after this one looked for it."""
    names = [str(path) for path in sorted(Path().glob("toy-*.fits"))]
    other = shards.Shards(Path("z.fits"), names, {"CHUNK": 2}, {})
    this = shards.Shards(Path("z.fits"), names, {"CHUNK": 2}, {})
    monkeypatch.setattr(this, "_load_output", other._make_folder)
    this.begin(resume=True, retry=False, overwrite=False)
    assert sorted(path.name for path in Path("z.parts").iterdir()) == ["lock", "manifest.json"]
    this.discard()
    assert Path("z.parts/manifest.json").exists()
    other.discard()


def test_a_folder_without_manifest_is_cleared(zspec, expected):
    Path("z.parts").mkdir()
    Path("z.parts/shard-000001.fits").write_bytes(b"half")
    assert zspec(*command()).exit_code == 0
    assert Path("z.fits").read_bytes() == expected
    assert not Path("z.parts").exists()


def test_units_of_two_states_of_a_file_are_not_merged(zspec, expected):
    with pytest.raises(Stopped):
        zspec(*command(), stop=12)
    first, second = sorted(Path("z.parts").glob("shard-*.fits"))
    with fits.open(second, mode="update") as hdus:
        hdus["UNITS"].data["STAMP"] = "7:7"
    with pytest.raises(InputError, match=r"toy-a\.fits: changed between two of these"):
        zspec("merge", first, second, "-o", "m.fits")


def test_a_link_is_written_where_it_points(zspec, expected):
    Path("far").mkdir()
    Path("z.fits").symlink_to(Path("far/real.fits").absolute())
    assert zspec(*command()).exit_code == 0
    assert Path("z.fits").is_symlink()
    assert Path("far/real.fits").read_bytes() == expected
    assert [path.name for path in Path("far").iterdir()] == ["real.fits"]


def test_units_in_another_order_make_the_same_catalogue(zspec, expected, estimator, monkeypatch):
    run = engine.Here.run

    def backwards(self, units, progress):
        return iter(list(run(self, list(units)[::-1], progress)))

    monkeypatch.setattr(engine.Here, "run", backwards)
    assert zspec(*command()).exit_code == 0
    assert Path("z.fits").read_bytes() == expected


def test_the_time_of_each_stage_is_told(zspec, night, estimator, monkeypatch):
    whole = type(estimator).predict

    def predict(self, chunk, want=frozenset()):
        return replace(whole(self, chunk, want), seconds={"network": 0.25})

    monkeypatch.setattr(type(estimator), "predict", predict)
    ran = zspec(*command("--json", "--log-json"))
    stages = json.loads(ran.stdout)["stages"]
    assert list(stages) == list(running.STAGES)
    assert stages["network"] == 0.25 * len(estimator.calls)
    units = [json.loads(line) for line in ran.stderr.splitlines()]
    units = [line for line in units if line["event"] == "unit"]
    assert sum(line["spectra"] for line in units) == 58
    assert units[0]["seconds"]["network"] == 0.25 * 8


def test_a_limit_of_memory_that_nothing_would_keep_to_is_refused(zspec, night):
    with pytest.raises(ConfigError, match="--max-memory limits --workers, --readers or --cluster"):
        zspec(*command("--max-memory", "3GB"))


@pytest.mark.parametrize("text", ["many", "-1GB", "0", "3 apples", ""])
def test_an_amount_of_memory_that_is_none(zspec, night, text):
    with pytest.raises(ZspecError, match="is no amount of memory"):
        zspec(*command("--max-memory", text))
