"""What a killed run left beside a catalogue goes; what a live one writes stays."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from zspec import catalog, checkpoint, leftovers
from zspec.cli.app import build

KILLED = """
import os, signal, sys
from pathlib import Path
from zspec import leftovers

path = Path(sys.argv[1])
with leftovers.writing(leftovers.beside(path)) as out:
    out.write(b"half")
    out.flush()
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print("at work", flush=True)
    sys.stdin.read()
"""


def writer(path, what):
    """A process that writes beside ``path``, and is killed or waits."""
    words = [sys.executable, "-c", KILLED, str(path), what]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def left(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".part")]


def test_what_a_killed_process_left_goes_and_what_is_written_stays(tmp_path):
    path = tmp_path / "z.fits"
    with writer(path, "kill") as killed:
        assert killed.wait() == -signal.SIGKILL
    assert len(left(tmp_path)) == 1
    with writer(path, "wait") as alive:
        assert alive.stdout.readline() == b"at work\n"
        leftovers.sweep(path)
        assert [one.name for one in left(tmp_path)] == [f".part{alive.pid}.z.fits"]
        alive.communicate()
    assert left(tmp_path) == []


def test_another_process_of_the_same_number_waits(tmp_path):
    """On a shared disk two machines may have one: what the first writes stays whole."""
    path, done = tmp_path / "z.fits", []
    with writer(path, "wait") as first:
        assert first.stdout.readline() == b"at work\n"
        part = path.with_name(f".part{first.pid}.z.fits")

        def write():
            with leftovers.writing(part) as out:
                done.append(out.write(b"second"))

        second = threading.Thread(target=write)
        second.start()
        second.join(0.2)
        assert part.read_bytes() == b"half"
        assert not done
        first.communicate()
    second.join()
    assert done == [6]
    assert left(tmp_path) == []


def test_leftovers_of_other_catalogues_and_of_users_stay(tmp_path):
    names = [".part1.az.fits", ".part1.z.fits.gz", ".partx.z.fits", ".part1.z.fits.gz.gz", "z.fits"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    leftovers.sweep(tmp_path / "z.fits")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    leftovers.sweep(tmp_path / "z.fits.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [names[0], names[2], "z.fits"]
    )


def test_a_file_that_was_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    path, lock, swept = tmp_path / "new", leftovers.fcntl.flock, []

    def late(handle, kind):
        if not swept:
            swept.append(path.unlink())
        lock(handle, kind)

    monkeypatch.setattr(leftovers.fcntl, "flock", late)
    with leftovers.writing(path) as out:
        out.write(b"whole")
        out.flush()
        assert path.read_bytes() == b"whole"
    assert swept
    assert not path.exists()


def test_a_file_system_without_locks_keeps_leftovers_and_writes(tmp_path, monkeypatch):
    def refuse(handle, kind):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(leftovers.fcntl, "flock", refuse)
    (tmp_path / ".part1.z.fits").write_bytes(b"of whom?")
    leftovers.sweep(tmp_path / "z.fits")
    assert len(left(tmp_path)) == 1
    with leftovers.writing(tmp_path / "new") as out:
        os.replace(out.name, tmp_path / "done")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("name", ["z.fits", "z.fits.gz"])
def test_the_next_run_takes_away_what_a_killed_one_left(
    toy_file, estimator, monkeypatch, tmp_path, name
):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    path, words = tmp_path / name, ["predict", str(toy_file("toy-a.fits", [7, 8])), "-o"]
    for command in ([*words, str(path)], ["merge", str(tmp_path / "one.fits"), "-o", str(path)]):
        with writer(path, "kill") as killed:
            killed.wait()
        assert len(left(tmp_path)) == 1
        ran = CliRunner().invoke(build(), command)
        assert ran.exit_code == 0, ran.output
        assert left(tmp_path) == []
        assert len(catalog.read(path).redshifts) == 2
        packed = path.read_bytes()
        whole = gzip.decompress(packed) if name.endswith(".gz") else packed
        assert whole[:6] == b"SIMPLE"
        (tmp_path / "one.fits").write_bytes(whole)
        path.unlink()


FETCHING = """
import os, signal, sys, tempfile
from zspec import leftovers

tempfile.tempdir = sys.argv[1]
with leftovers.folder("zspec-x-") as folder:
    (folder / "half.fits").write_bytes(b"half")
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def user(place, what):
    """A process with a temporary folder in ``place``, which is killed or waits."""
    words = [sys.executable, "-c", FETCHING, str(place), what]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_temporary_folder_of_a_killed_run_goes_and_one_in_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "zspec-x-mine").write_text("a file of that name is no folder of ours")
    with user(tmp_path, "kill") as killed:
        assert killed.wait() == -signal.SIGKILL
    assert len(list(tmp_path.glob("zspec-x-*"))) == 2
    with user(tmp_path, "wait") as alive:
        name = alive.stdout.readline().decode().strip()
        with leftovers.folder("zspec-x-") as folder:
            there = {one.name for one in tmp_path.glob("zspec-x-*")}
            assert there == {"zspec-x-mine", name, folder.name}
            assert (tmp_path / name / "half.fits").read_bytes() == b"half"
        alive.communicate()
    assert [one.name for one in tmp_path.glob("zspec-x-*")] == ["zspec-x-mine"]
