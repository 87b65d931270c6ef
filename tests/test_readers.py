"""Processes that read ahead change nothing but the time, and are gone when the run is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from killing import kill_first
from typer.testing import CliRunner

from zspec import (
    ClassSpec,
    ConfigError,
    Estimator,
    InputError,
    Prediction,
    WaveGrid,
    ZspecError,
    catalog,
    checkpoint,
    plugins,
    prediction,
    readers,
    work,
)
from zspec.cli.app import build
from zspec.engine import Here
from zspec.records import record
from zspec.sources import Source

TASK = prediction.Task(chunk_rows=2)
ROWS = 35
"""Of the larger file: two units of 16 rows and one of 3."""


class Resampled(Estimator):
    """The mean of the flux on a grid as the redshift."""

    name = "resampled"
    title = "A mean"
    needs = frozenset({"grid"})
    classes = (ClassSpec("GALAXY", "GALAXY", "", (0.0, 1.0)),)
    grid = WaveGrid.log(3700, 9500)

    def predict(self, chunk, want=frozenset()):
        assert chunk.is_resampled  # before it came here
        z = np.tanh(chunk.batch.flux.mean(axis=1, dtype=np.float64))[:, None]
        n = len(z)
        return Prediction(self.classes, np.ones((n, 1), np.float32), z, z, np.zeros(n, np.int16))


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A file of three units, one that is no FITS file, and a small one."""
    folder = tmp_path_factory.mktemp("night")
    desi = plugins.survey("desi")
    desi.write(folder / "coadd-a.fits", desi.demo(ROWS, seed=1))
    (folder / "coadd-b.fits").write_text("hello")
    desi.write(folder / "coadd-c.fits", desi.demo(3, seed=2))
    return folder


@pytest.fixture(scope="module")
def units(night):
    inputs = [Source(path, "desi") for path in sorted(night.glob("coadd-*.fits"))]
    return list(work.plan(inputs, TASK.unit_rows))


def tables(result):
    made = record(result)
    return made.name, made.error, {k: v.tobytes() for k, v in made.tables.items()}


def nothing(report):
    """No progress."""


def run_of(engine, units):
    with engine:
        return list(engine.run(units, nothing))


def test_rows_are_those_without_readers_bit_for_bit_and_in_order(units):
    here = run_of(Here(Resampled(), TASK), units)
    there = run_of(readers.ReadAhead(Resampled(), TASK, 2), units)
    assert len(here) == len(units) == 5
    assert [tables(one) for one in there] == [tables(one) for one in here]
    assert "coadd-b.fits" in there[3].error
    assert {"read", "resample", "model", "tables"} <= set(there[0].seconds)
    assert multiprocessing.active_children() == []


def test_the_command_line_writes_the_same_bytes(night, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: Resampled())
    monkeypatch.setattr("zspec.cli.session.command_line", lambda: "zspec predict")
    for more in ([], ["--readers", "2", "--max-memory", "4GB"]):
        words = ["predict", str(night), "--survey", "desi", "--chunk", "2", *more]
        ran = CliRunner().invoke(build(), [*words, "-o", str(tmp_path / f"{len(more)}.fits")])
        assert ran.exit_code == 1  # one file is none
    whole = (tmp_path / "0.fits").read_bytes()
    assert (tmp_path / "4.fits").read_bytes() == whole
    assert len(catalog.read(tmp_path / "0.fits").redshifts) == ROWS + 3


def test_no_more_is_read_than_a_few_units_ahead(units):
    asked = []
    many = (asked.append(unit) or unit for unit in units * 4)
    with readers.ReadAhead(Resampled(), TASK, 1) as engine:
        for done, _ in enumerate(engine.run(many, nothing), start=1):
            assert len(asked) < done + readers.AHEAD
    assert len(asked) == 4 * len(units)


def test_a_limit_of_memory_says_how_far_ahead(units, caplog):
    asked = []
    many = (asked.append(unit) or unit for unit in units)
    with readers.ReadAhead(Resampled(), TASK, 2, limit=1) as engine:
        for done, _ in enumerate(engine.run(many, nothing), start=1):
            assert len(asked) < done + readers.AHEAD
            assert len(multiprocessing.active_children()) == 1
    assert "above the limit" in caplog.text


def test_a_reader_that_is_killed_is_said_in_one_line(units):
    with readers.ReadAhead(Resampled(), TASK, 1) as engine:
        with pytest.raises(ZspecError, match=r"was killed, or .* fewer --readers") as caught:
            list(engine.run(kill_first(units), nothing))
        again = list(engine.run(units[:1], nothing))  # with new readers
        assert [one.rows for one in again] == [16]
    assert "\n" not in str(caught.value)


def test_a_reader_that_is_killed_while_it_writes_is_said_too(units):
    with readers.ReadAhead(Resampled(), TASK, 1) as engine:
        results = engine.run(units, nothing)
        next(results)
        (child,) = multiprocessing.active_children()
        time.sleep(0.5)  # it has read the next, which no pipe holds whole
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ZspecError, match="was killed"):
            next(results)
    assert multiprocessing.active_children() == []


def test_a_stopped_run_leaves_no_reader(units):
    def stop(report):
        assert multiprocessing.active_children()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), readers.ReadAhead(Resampled(), TASK, 2) as engine:
        list(engine.run(units, stop))
    assert multiprocessing.active_children() == []


ORPHANS = """
import multiprocessing, os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_readers import *
if __name__ == "__main__":
    unit = work.Unit(Source(Path(sys.argv[2]), "desi"), range(16), ROWS)
    with readers.ReadAhead(Resampled(), TASK, 1) as engine:
        results = engine.run([unit] * 9, nothing)
        next(results)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_readers_end_with_a_run_that_is_killed(night, tmp_path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    words = [tmp_path / "orphans.py", Path(__file__).parent, night / "coadd-a.fits"]
    ran = subprocess.run([sys.executable, *map(str, words)], stdout=subprocess.PIPE, check=False)
    assert ran.returncode == -signal.SIGKILL
    (reader,) = map(int, ran.stdout.split())
    ends = time.monotonic() + 20
    while Path(f"/proc/{reader}").exists() and time.monotonic() < ends:
        time.sleep(0.1)
    assert not Path(f"/proc/{reader}").exists()


def test_a_unit_that_is_too_large_is_read_by_the_process_with_the_model(units, monkeypatch):
    monkeypatch.setattr(readers, "LARGE", 1)
    form = TASK.form(Resampled())
    decoded = readers.decode(units[0], form)
    assert decoded.chunks is None
    reader = SimpleNamespace(take=lambda: decoded)
    made = readers.ReadAhead(Resampled(), TASK, 1)._take(units[0], reader, nothing)
    assert tables(made) == tables(prediction.predict_unit(units[0], Resampled(), TASK))
    bad = readers.decode(units[3], form)
    assert bad.chunks == ()
    assert "coadd-b.fits" in bad.result.error


def test_a_wrong_option_stops_the_run(units):
    bad = work.Unit(Source(units[0].source.path, "desi", {"lsff": "none"}), range(16), ROWS)
    with (
        readers.ReadAhead(Resampled(), TASK, 1) as engine,
        pytest.raises(ConfigError, match="did you mean 'lsf'"),
    ):
        list(engine.run([bad, *units], nothing))


DECODING = """
import sys
from pathlib import Path
from zspec import prediction, readers, work
from zspec.sources import Source
unit = work.Unit(Source(Path(sys.argv[1]), "desi"))
print(len(readers.decode(unit, prediction.Form(64)).chunks), "torch" in sys.modules)
"""


def test_readers_do_not_import_torch(night):
    words = [sys.executable, "-c", DECODING, str(night / "coadd-c.fits")]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ran.stdout == "1 False\n"


@pytest.mark.parametrize("other", [["--workers", "2"], ["--cluster", "local:2"]])
def test_readers_serve_one_process(night, tmp_path, monkeypatch, other):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: Resampled())
    words = ["predict", str(night), "-o", str(tmp_path / "z.fits"), "--readers", "1", *other]
    ran = CliRunner().invoke(build(), words)
    assert isinstance(ran.exception, ConfigError)
    assert "two engines" in str(ran.exception)


def test_how_many_readers_a_device_gets(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert (readers.fitting("cpu"), readers.fitting("cuda")) == (0, readers.MOST)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert readers.fitting("cuda") == 1


def test_a_folder_without_spectra_starts_no_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: Resampled())
    with pytest.raises(InputError):
        raise CliRunner().invoke(build(), ["predict", str(tmp_path), "--readers", "2"]).exception
    assert multiprocessing.active_children() == []
