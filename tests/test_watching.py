"""Files are predicted as they land: whole ones only, each once, one catalogue a file."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zspec import ConfigError, InputError, catalog, checkpoint
from zspec.cli import watch
from zspec.cli.app import build
from zspec.watching import Landing


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def landing(tmp_path):
    clock = Clock()
    made = Landing(lambda: sorted(tmp_path.glob("*.fits")), 5.0, clock)

    def after(seconds):
        clock.seconds += seconds
        return [path.name for path in made.whole()]

    return after


def test_a_file_is_given_once_it_stays_the_same(landing, toy_file, tmp_path):
    assert landing(0) == []
    toy_file("toy-a.fits", [1, 2])
    assert landing(10) == []
    assert landing(4) == []
    assert landing(1) == ["toy-a.fits"]
    assert landing(10) == []
    toy_file("toy-b.fits", [3])
    path = tmp_path / "toy-b.fits"
    assert landing(1) == []
    os.utime(path, ns=(1, 1))  # it is written again
    assert landing(4.5) == []
    assert landing(4.5) == []
    assert landing(0.5) == ["toy-b.fits"]
    os.utime(path, ns=(2, 2))
    assert [landing(1), landing(5)] == [[], ["toy-b.fits"]]


@pytest.mark.parametrize("part", [0, 100, 2879, 5000, 8000, -1])
def test_half_a_file_is_left_alone(landing, toy_file, tmp_path, caplog, part):
    whole = toy_file("toy-a.fits", range(40)).read_bytes()
    (tmp_path / "toy-a.fits").write_bytes(whole[:part] if part >= 0 else whole[:-2881])
    assert [landing(0), landing(9), landing(9)] == [[], [], []]
    assert caplog.text.count("left until it changes") == 1
    (tmp_path / "toy-a.fits").write_bytes(whole)
    assert [landing(0), landing(9)] == [[], ["toy-a.fits"]]


@pytest.fixture
def zspec(toy, estimator, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    monkeypatch.setattr(watch, "EVERY", 0.01)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return CliRunner().invoke(build(), ["predict", *map(str, words)])

    return run


NIGHT = ["--watch", ".", "--settle", "0.05"]


def test_one_catalogue_a_file_and_none_twice(zspec, toy_file, estimator):
    toy_file("toy-a.fits", [1, 2])
    Path("toy-b.fits").write_bytes(Path("toy-a.fits").read_bytes()[:3000])
    Path("other.txt").write_text("nothing")
    ran = zspec(*NIGHT, "--idle", "0.5", "--json")
    assert ran.exit_code == 0
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(line["file"], line["spectra"]) for line in lines] == [("toy-a.fits", 2)]
    assert "toy-b.fits" in ran.stderr
    assert catalog.read(Path("toy-a.zspec.fits")).redshifts["TARGETID"].tolist() == [1, 2]
    assert sorted(path.name for path in Path().glob("*zspec*")) == ["toy-a.zspec.fits"]
    estimator.calls.clear()
    toy_file("toy-c.fits", [7])
    again = zspec(*NIGHT, "--idle", "0.5")  # started again: only what is new
    assert estimator.calls == [1]
    assert "toy-c.fits: toy-c.zspec.fits, 1 spectra" in again.stdout
    assert "toy-a.fits" not in again.stdout


# the signal may land within pathlib's own listing of the folder, closed by the collector then
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_lands_meanwhile_and_ctrl_c(zspec, toy_file):
    def night():
        time.sleep(0.3)
        toy_file("toy-a.fits", [1])
        until(Path("toy-a.zspec.fits").exists)
        toy_file("new.fits", [2, 3]).replace("toy-a.fits")  # a better one
        until(lambda: len(catalog.read(Path("toy-a.zspec.fits")).redshifts) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    hand = threading.Thread(target=night)
    hand.start()
    ran = zspec(*NIGHT)
    hand.join()
    assert ran.exit_code == 0
    assert len(ran.stdout.splitlines()) == 2
    assert not list(Path().glob("*.parts"))


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)


def test_a_file_that_cannot_be_read_costs_itself_only(zspec, toy_file, toy, monkeypatch):
    read = type(toy).read

    def picky(self, path, rows=None, options=None):
        if path.name == "toy-a.fits":
            raise InputError(f"{path}: torn")
        return read(self, path, rows, options)

    monkeypatch.setattr(type(toy), "read", picky)
    toy_file("toy-a.fits", [1])
    toy_file("toy-b.fits", [2])
    Path("out").mkdir()
    ran = zspec(*NIGHT, "--idle", "0.5", "-o", "out")
    assert ran.exit_code == 1
    assert "toy-a.fits: torn" in ran.stderr
    assert [path.name for path in Path("out").iterdir()] == ["toy-b.zspec.fits"]


def test_a_killed_worker_and_a_sick_disk_cost_their_file_only(zspec, toy_file, toy, monkeypatch):
    from zspec import engine, headers, workers

    run, locate = engine.Here.run, headers.locate

    def killed(self, units, progress):
        for unit in units:
            if unit.file == "toy-a.fits":
                raise workers.WorkerKilled("toy-a.fits: a worker was killed")
            yield from run(self, [unit], progress)

    def stale(path):
        if path.name == "toy-b.fits":
            raise OSError(116, "Stale file handle")
        return locate(path)

    monkeypatch.setattr(engine.Here, "run", killed)
    monkeypatch.setattr(headers, "locate", stale)
    for name in "abc":
        toy_file(f"toy-{name}.fits", [1])
    ran = zspec(*NIGHT, "--idle", "0.5")
    assert ran.exit_code == 1
    assert "toy-a.fits: a worker was killed" in ran.stderr
    assert "toy-b.fits: cannot be read (Stale file handle)" in ran.stderr
    assert [path.name for path in Path().glob("*.zspec.fits")] == ["toy-c.zspec.fits"]


def test_what_an_older_run_left_is_done_anew(zspec, toy_file):
    toy_file("toy-a.fits", [1])
    Path("toy-a.zspec.parts").mkdir()
    Path("toy-a.zspec.parts/manifest.json").write_text('{"format": 1, "cards": {"ZSPECVER": "0"}}')
    assert zspec(*NIGHT, "--idle", "0.5").exit_code == 0
    assert [path.name for path in Path().glob("*.zspec.*")] == ["toy-a.zspec.fits"]


def test_another_file_of_that_name_is_not_replaced(zspec, toy_file):
    toy_file("toy-a.fits", [1])
    Path("toy-a.zspec.fits").write_text("mine")
    ran = zspec(*NIGHT, "--idle", "0.5")
    assert ran.exit_code == 1
    assert "exists and is not of these inputs" in ran.stderr
    assert Path("toy-a.zspec.fits").read_text() == "mine"


def test_mistakes(zspec, toy_file):
    toy_file("toy-a.fits", [1])
    for words, kind, said in [
        (["--watch", "nowhere"], InputError, "no such folder"),
        (["--watch", ".", "toy-a.fits"], ConfigError, "leave the others out"),
        (["--watch", ".", "-o", "z.fits"], ConfigError, "a folder that exists is expected"),
        ([], InputError, "no input"),
    ]:
        ran = zspec(*words)
        assert isinstance(ran.exception, kind), words
        assert said in str(ran.exception)
