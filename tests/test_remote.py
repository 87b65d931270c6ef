"""URLs as inputs: fetched one after the other, and one that does not answer is one bad file."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import zspec
from zspec import (
    ConfigError,
    InputError,
    ZspecError,
    catalog,
    checkpoint,
    inspection,
    remote,
    sources,
    work,
)
from zspec.cli.app import build
from zspec.errors import OutputError
from zspec.remote import Url
from zspec.sources import Source

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(toy_file):
    """Three toy files in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    memory.makedirs("/night", exist_ok=True)
    for name, ids in {"a": range(1, 21), "b": [30, 31], "c": [7, 7, -3]}.items():
        put(memory, toy_file(f"toy-{name}.fits", ids))
    yield memory
    memory.rm("/night", recursive=True)


def put(memory, path):
    memory.pipe_file(f"/night/{path.name}", path.read_bytes())


@pytest.fixture
def run(toy, estimator, monkeypatch, tmp_path):
    """Run a command line in an empty folder of its own; nothing that was fetched stays."""
    here, fetched = tmp_path / "here", tmp_path / "fetched"
    here.mkdir()
    fetched.mkdir()
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    monkeypatch.setattr(tempfile, "tempdir", str(fetched))
    monkeypatch.chdir(here)

    def invoke(*words):
        ran = CliRunner().invoke(build(), [*map(str, words)])
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert not list(fetched.iterdir())
        return ran

    return invoke


def test_rows_of_a_url_are_those_of_the_file(store, run, tmp_path):
    assert run("predict", "memory://night/toy-a.fits").exit_code == 0
    assert run("predict", tmp_path / "toy-a.fits").exit_code == 0
    away, here = (
        catalog.read(p) for p in (Path("toy-a.zspec.fits"), tmp_path / "toy-a.zspec.fits")
    )
    assert set(away.redshifts["FILE"]) == {"memory://night/toy-a.fits"}
    for column in set(here.redshifts.colnames) - {"FILE"}:
        one, other = here.redshifts[column], away.redshifts[column]
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), column


def test_a_star_stands_for_many_and_files_come_first(store, run, tmp_path):
    words = ["memory://night/toy-*.fits", tmp_path / "toy-b.fits", "memory://night/toy-c.fits"]
    assert run("predict", *words, "-o", "z.fits").exit_code == 0
    names = [str(name) for name in catalog.read(Path("z.fits")).tables["FILES"]["FILE"]]
    assert names[0] == str(tmp_path / "toy-b.fits")
    assert [name.rpartition("/")[2] for name in names[1:4]] == [f"toy-{x}.fits" for x in "abc"]
    assert all(name.startswith("memory://") for name in names[1:])
    with pytest.raises(InputError, match=r"memory://night/no-\*\.fits: no file fits it"):
        run("predict", "memory://night/no-*.fits", "-o", "z.fits")


def test_a_star_takes_no_folder_no_catalogue_and_no_chain(store, toy_file):
    memory = fsspec.filesystem("memory")
    memory.makedirs("/night/toy-d.fits", exist_ok=True)
    memory.pipe_file("/night/toy-a.zspec.fits", b"ours")
    found = sources.gather(["memory://night/toy-*.fits"], None)
    assert [one.name for one in found] == ["toy-a.fits", "toy-b.fits", "toy-c.fits"]
    with pytest.raises(ConfigError, match="name the files"):
        remote.find("simplecache::memory://night/toy-*.fits")


def test_an_input_is_not_overwritten_by_its_url(run, toy_file):
    path = toy_file("toy-b.fits", [1, 2])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="is an input"):
        run("predict", f"file://{path}", "-o", path, "--overwrite")
    assert path.read_bytes() == before


def test_a_change_shows_by_whatever_a_driver_tells(store, monkeypatch):
    memory = fsspec.filesystem("memory")
    for key in ("Last-Modified", "updated", "mtime"):
        said = [{"size": 2880, key: day} for day in ("Mon", "Tue")]
        with monkeypatch.context() as patched:
            patched.setattr(type(memory), "info", lambda self, path, said=said: said.pop())
            assert remote.stamp("memory://night/x") != remote.stamp("memory://night/x")


def test_a_url_of_the_local_file_system(run, toy_file):
    path = toy_file("toy-a.fits", [5])
    assert run("predict", f"file://{path}", "-o", "z.fits").exit_code == 0
    assert catalog.read(Path("z.fits")).redshifts["TARGETID"].tolist() == [5]


class Refused(Exception):
    """What a driver may raise, of no base that is known."""


def test_what_does_not_answer_is_one_bad_file_among_others(store, run, monkeypatch):
    store.pipe_file("/night/toy-b.fits", b"hello")
    get = type(store).get_file

    def refuse(self, path, local, **more):
        if path.endswith("toy-c.fits"):
            raise Refused("An error occurred (403)\nwith more to tell")
        get(self, path, local, **more)

    monkeypatch.setattr(type(store), "get_file", refuse)
    urls = [f"memory://night/toy-{x}.fits" for x in "abcd"]
    assert run("predict", *urls, "-o", "z.fits").exit_code == 1
    made = catalog.read(Path("z.fits"))
    assert made.tables["FILES"]["NROWS"].tolist() == [20, 0, 0, 0]
    errors = dict(made.failures)
    assert errors[urls[1]].startswith(f"{urls[1]}: is no FITS file")
    assert errors[urls[2]] == f"{urls[2]}: cannot be fetched (An error occurred (403))"
    assert errors[urls[3]] == f"{urls[3]}: no such file"
    assert not any("zspec-" in error or "\n" in error for error in errors.values())


def test_resuming_fetches_what_changed_only(store, run, toy_file, monkeypatch):
    urls = [f"memory://night/toy-{x}.fits" for x in "abc"]
    got, get = [], type(store).get_file

    def counting(self, path, local, **more):
        got.append(path.rpartition("/")[2])
        if got == ["toy-a.fits", "toy-b.fits", "toy-c.fits"]:
            raise KeyboardInterrupt
        get(self, path, local, **more)

    monkeypatch.setattr(type(store), "get_file", counting)
    monkeypatch.setattr("zspec.shards.KEEP_SECONDS", 0.0)
    monkeypatch.setattr("zspec.cli.session.command_line", lambda: "zspec predict")
    run("predict", *urls, "-o", "z.fits")
    assert Path("z.parts").exists()
    store.pipe_file("/night/toy-a.fits", toy_file("new.fits", [41, 42]).read_bytes())
    got.clear()
    assert run("predict", *urls, "-o", "z.fits", "--resume").exit_code == 0
    assert got == ["toy-a.fits", "toy-c.fits"]
    rows = catalog.read(Path("z.fits")).redshifts
    assert rows["TARGETID"].tolist() == [41, 42, 30, 31, 7, 7, -3]


def test_a_unit_of_a_url_is_the_file_and_keeps_its_name(store, monkeypatch):
    monkeypatch.setattr(work, "SMALL", 0)
    url = Url("memory://night/toy-a.fits")
    (unit,) = work.plan([Source(url)], 4)
    assert unit.rows is None
    assert unit.name == work.unit_name("memory://night/toy-a.fits", None)
    before = work.stamp(url)
    assert before
    assert work.stamp(url) == before
    store.pipe_file("/night/toy-a.fits", b"shorter")
    assert work.stamp(url) not in ("", before)
    store.rm("/night/toy-a.fits")
    assert work.stamp(url) == ""


def test_the_library_takes_urls(store, toy, estimator, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    url = "memory://night/toy-a.fits"
    assert [len(part) for part in zspec.read(url, "toy")] == [8, 8, 4]
    assert len(zspec.predict(url, "toy")) == 20


def test_without_fsspec_or_a_driver_it_is_said_in_one_line(store, run, monkeypatch):
    fsspec.register_implementation("nodriver", "no_such_module.Files", errtxt="Install nodriver")
    for url, said in {
        "nodriver://bucket/a.fits": "nodriver://bucket/a.fits: Install nodriver",
        "nowhere://bucket/a.fits": "nowhere://bucket/a.fits: fsspec does not take it",
    }.items():
        with pytest.raises(ConfigError, match=said):
            run("predict", url)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    said = r"URLs need fsspec; pip install 'zspec-redshift\[remote\]'"
    with pytest.raises(ZspecError, match=said):
        run("predict", "memory://night/toy-a.fits")


@pytest.mark.parametrize("text", ["s3://b/x.fits", "simplecache::s3://b/x", "https://a.b/c?d#e"])
def test_what_is_a_url(text):
    assert remote.is_url(text)
    assert not remote.is_url(Path(text))
    assert not remote.is_url(text.replace("//", "/"))


def test_where_a_url_is_does_not_depend_on_the_folder(tmp_path, monkeypatch):
    before = catalog.inputs_hash(["s3://b/x.fits"])
    monkeypatch.chdir(tmp_path)
    assert catalog.inputs_hash(["s3://b/x.fits"]) == before
    assert Url("https://a.b/c/x.fits?version=3#top").name == "x.fits"


def test_info_tells_what_urls_hold(store, run):
    done = run("info", "memory://night/toy-*.fits", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert [one["file"].rpartition("/")[2] for one in said] == [f"toy-{x}.fits" for x in "abc"]
    assert all(one["file"].startswith("memory://") for one in said)
    assert {one["kind"] for one in said} == {"spectra"}
    gone = run("info", "memory://night/toy-z.fits")
    assert gone.exit_code == 2
    assert gone.stderr == "zspec: error: memory://night/toy-z.fits: no such file\n"


def test_spectra_of_a_url_are_fetched_again_and_no_file_of_that_name_is_taken(store, run, toy_file):
    assert run("predict", "memory://night/toy-b.fits", "-o", "z.fits").exit_code == 0
    toy_file("other.fits", [1, 2]).rename("toy-b.fits")  # other spectra by that name
    targets = list(inspection.gather(Path("z.fits")))
    assert [int(one.arms[0].flux[0, 0]) for one in targets] == [30, 31]
    named = list(inspection.gather(Path("z.fits"), None, [Path("toy-b.fits")]))
    assert [int(one.arms[0].flux[0, 0]) for one in named] == [1, 2]


def test_a_long_download_is_no_error(monkeypatch):
    limits = SimpleNamespace(ClientTimeout=lambda **more: more)
    monkeypatch.setitem(sys.modules, "aiohttp", limits)
    for url in ("https://a.b/c.fits", "http://a.b/c.fits"):
        limit = remote._options(url)["client_kwargs"]["timeout"]
        assert limit == {"total": None, "sock_connect": 60.0, "sock_read": 60.0}
    assert remote._options("s3://b/c.fits") == {}
