"""A chunk that the device has no memory for is halved, and the catalogue says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zspec import Spectra, ZspecError, api, catalog, checkpoint, pixels, prediction, tables
from zspec.cli.app import build
from zspec.sources import Source

ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.04 GB)"),
)


def small(estimator, most, error=ERRORS[0]):
    """The estimator on a device that holds so many rows at once."""
    whole = type(estimator).predict

    def predict(chunk, want=frozenset()):
        if len(chunk.spectra) > most:
            raise error
        return whole(estimator, chunk, want)

    estimator.predict = predict
    return estimator


def predicted(estimator, *paths, rows=8):
    inputs = [Source(path, "toy") for path in paths]
    return prediction.predict(inputs, estimator, prediction.Task(rows))


@pytest.mark.parametrize("error", ERRORS)
def test_halves_go_on_until_they_fit(toy_file, estimator, error):
    path = toy_file("toy-a.fits", range(1, 14))  # the toy reads 8 rows at once
    made = predicted(small(estimator, 3, error), path)
    assert estimator.calls == [2, 2, 2, 2, 3, 2]
    assert made.redshifts["TARGETID"].tolist() == list(range(1, 14))
    assert made.redshifts["ROW"].tolist() == list(range(13))
    assert made.header["HALVED"][0] == 3 + 1
    assert made.tables["FILES"]["HALVED"].tolist() == [4]


def test_rows_of_halves_are_those_of_smaller_chunks(toy_file, estimator):
    path = toy_file("toy-a.fits", range(1, 17))
    four = predicted(estimator, path, rows=4)
    eight = predicted(small(estimator, 4), path)
    assert (four.header["HALVED"][0], eight.header["HALVED"][0]) == (0, 2)
    for name in ("REDSHIFTS", "CANDIDATES", "CLASSPROB"):
        for column in four.tables[name].colnames:
            one, other = four.tables[name][column], eight.tables[name][column]
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), column


def test_a_device_without_room_for_one_spectrum_is_said(toy_file, estimator):
    path = toy_file("toy-a.fits", range(1, 5))
    with pytest.raises(ZspecError, match="the memory of cpu does not hold one spectrum") as caught:
        predicted(small(estimator, 0), path)
    assert "\n" not in str(caught.value)


def test_a_process_that_lacks_memory_is_no_reason_to_halve(toy, toy_file, estimator):
    def fail(chunk, want=frozenset()):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    estimator.predict = fail
    spectra = next(prediction.sources.read(Source(toy_file("toy-a.fits", [1, 2]), "toy"))[1])
    ready = pixels.prepare(spectra, pixels.Form.of(estimator), toy.grid)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        tables.predict_fitting(ready, "", estimator)


def test_spectra_in_memory_are_halved_too(toy_file, estimator):
    spectra = next(api.read(toy_file("toy-a.fits", range(1, 8)), "toy"))
    assert isinstance(spectra, Spectra)
    rows = api._in_memory(spectra, small(estimator, 4))
    assert rows["ROW"].tolist() == list(range(7))
    assert estimator.calls == [4, 3]


def test_shards_resuming_and_merging_keep_the_count(toy_file, estimator, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "load_estimator", lambda model, device: estimator)
    monkeypatch.setattr("zspec.work.SMALL", 0)
    monkeypatch.setattr("zspec.shards.KEEP_SECONDS", 0.0)
    monkeypatch.setattr("zspec.cli.session.command_line", lambda: "zspec predict")
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        toy_file(f"toy-{name}.fits", range(1, 36))
    words = ["predict", "toy-a.fits", "toy-b.fits", "--chunk", "2", "-o"]
    whole = type(estimator).predict

    def run(*more):
        ran = CliRunner().invoke(build(), [*words, *more])
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return ran.stderr

    def stopping(chunk, want=frozenset()):
        if len(estimator.calls) > 45:
            raise KeyboardInterrupt
        return predict(chunk, want)

    predict = small(estimator, 1).predict
    assert "chunks were halved 34 times" in run("whole.fits")
    estimator.calls.clear()
    estimator.predict = stopping
    run("z.fits")
    assert Path("z.parts").exists()
    estimator.predict = predict
    run("z.fits", "--resume")
    assert Path("z.fits").read_bytes() == Path("whole.fits").read_bytes()
    made = catalog.read(Path("z.fits"))
    assert made.tables["FILES"]["HALVED"].tolist() == [17, 17]  # the last row is alone
    assert made.header["HALVED"] == 34
    estimator.predict = lambda chunk, want=frozenset(): whole(estimator, chunk, want)
    Path("toy-b.fits").write_bytes(toy_file("new.fits", range(1, 36)).read_bytes())
    run("z.fits", "--resume")
    made = catalog.read(Path("z.fits"))
    assert made.tables["FILES"]["HALVED"].tolist() == [17, 0]
    words[1:3] = ["toy-a.fits"]
    run("a.fits")
    words[1:2] = ["toy-b.fits"]
    estimator.predict = predict
    run("b.fits")
    assert CliRunner().invoke(build(), ["merge", "a.fits", "b.fits", "-o", "m.fits"]).exit_code == 0
    assert catalog.read(Path("m.fits")).header["HALVED"] == 17
