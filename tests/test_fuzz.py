"""Damaged files of every survey: one line for each, never a traceback, a hang or a wrong redshift.

A few of them here; thousands with ``nox -s fuzz``.
"""

from __future__ import annotations

import contextlib
import signal
import warnings

import damaging
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from zspec import InputError, checkpoint, plugins, prediction, work
from zspec.cli.app import build
from zspec.sources import Source
from zspec.workers import Loader

SURVEYS = ("sdss", "desi", "4most", "csst")
SECONDS = 30
"""More than reading any of these files takes on a machine that is busy."""

if settings.get_current_profile_name() != "fuzz":
    settings.load_profile("few")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a small good file of each survey, and its name."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for name in SURVEYS:
        survey = plugins.survey(name)
        path = folder / survey.file_patterns[0].replace(".fits*", ".fits").replace(
            "*", "1"
        ).replace(".gz", "")
        survey.write(path, demo(name))
        found[name] = path.name, path.read_bytes()
    return found


def demo(name):
    """What a survey's file holds; SDSS's hold one spectrum each."""
    return plugins.survey(name).demo(1 if name == "sdss" else 3, seed=5)


class Hang(BaseException):
    """Reading took too long."""


@contextlib.contextmanager
def within(seconds):
    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def predicted(path, survey, estimator):
    with within(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning is one line for a user, and no mistake of ours
        unit = work.Unit(Source(path, survey))
        return prediction.predict_unit(unit, estimator, prediction.Task())


@pytest.mark.parametrize("survey", SURVEYS)
@given(
    kind=st.sampled_from([*damaging.BYTES, *damaging.PARTS]),
    seed=st.integers(0, 2**32 - 1),
    named=st.booleans(),
)
def test_a_damaged_file_gives_rows_or_one_line(
    whole, tmp_path_factory, estimator, survey, kind, seed, named
):
    name, data = whole[survey]
    path = tmp_path_factory.getbasetemp() / name
    damaging.damage(data, path, kind, seed)
    result = predicted(path, survey if named else None, estimator)
    assert ": bug:" not in result.error
    assert "\n" not in result.error
    if result.error:
        assert result.error.startswith(str(path))
        assert result.rows == 0
        return
    for part in result.parts:
        rows = part["REDSHIFTS"]
        assert np.isfinite(rows["Z"]).all()
        assert np.isfinite(rows["SNR"]).all()
        assert (rows["ZWARN"][rows["NPIXELS"] == 0] != 0).all()


@pytest.mark.parametrize("survey", [*SURVEYS, None])
@pytest.mark.parametrize("what", ["folder", "nothing", "empty", "text", "unreadable", "half"])
def test_no_catalogue_of_what_is_no_file_of_spectra(
    whole, tmp_path, estimator, monkeypatch, survey, what
):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    name, data = whole[survey or "desi"]
    path = tmp_path / name
    if what == "folder":
        path.mkdir()
    elif what != "nothing":
        part = {"empty": b"", "text": b"hello", "half": data[: len(data) // 2]}
        path.write_bytes(part.get(what, data))
    if what == "unreadable":
        monkeypatch.setattr("os.access", lambda place, mode: str(place) != str(path))
    words = ["predict", str(path), "-o", str(tmp_path / "z.fits"), "--model", "likelihood"]
    ran = CliRunner().invoke(build(), [*words, *(["--survey", survey] if survey else [])])
    assert isinstance(ran.exception, InputError)
    assert str(path) in str(ran.exception)
    assert "\n" not in str(ran.exception)
    assert [file.name for file in tmp_path.iterdir() if file != path] == []


@pytest.fixture(scope="module")
def fitted():
    return Loader("likelihood").load()


@pytest.fixture(scope="module")
def right(whole, fitted, tmp_path_factory):
    """Redshifts of the rows that are right where nothing is damaged, by survey and ROW."""
    folder, found = tmp_path_factory.mktemp("right"), {}
    for survey, (name, data) in whole.items():
        (folder / name).write_bytes(data)
        truth = demo(survey).truth.z
        rows = redshifts(folder / name, survey, fitted).items()
        found[survey] = {
            row: z for row, (z, _, off) in rows if abs(z - truth[row]) <= off * (1 + z)
        }
    return found


@pytest.mark.slow
@pytest.mark.parametrize("survey", SURVEYS)
@given(kind=st.sampled_from(damaging.DETECTABLE), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_damage_makes_no_wrong_redshift_without_a_flag(
    whole, right, tmp_path_factory, fitted, survey, kind, seed
):
    name, data = whole[survey]
    path = tmp_path_factory.getbasetemp() / name
    damaging.damage(data, path, kind, seed)
    for row, (z, zwarn, tolerance) in redshifts(path, survey, fitted).items():
        if zwarn == 0 and row in right[survey]:
            assert abs(z - right[survey][row]) <= tolerance * (1 + z)


def redshifts(path, survey, fitted):
    """ROW to redshift, ZWARN and what counts as the same redshift."""
    found = {}
    for part in predicted(path, survey, fitted).parts:
        columns = [part["REDSHIFTS"][name] for name in ("ROW", "Z", "ZWARN", "SPECTYPE")]
        for row, z, zwarn, kind in zip(*columns, strict=True):
            found[int(row)] = float(z), int(zwarn), 0.015 if kind == "QSO" else 0.0015
    return found
