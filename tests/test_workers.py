"""Several processes predict what one does, bit for bit and in the same order."""

from __future__ import annotations

import multiprocessing

import pytest
from killing import kill_first

from zspec import ZspecError, plugins, prediction, records, work, workers
from zspec.sources import Source
from zspec.workers import Loader

TASK = prediction.Task(chunk_rows=1)


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """Two units of one file, and one of another that is no FITS file."""
    folder = tmp_path_factory.mktemp("workers")
    desi = plugins.survey("desi")
    desi.write(folder / "coadd-a.fits", desi.demo(3, seed=1))
    (folder / "coadd-b.fits").write_text("hello")
    one, other = (Source(folder / f"coadd-{name}.fits", "desi") for name in "ab")
    return [work.Unit(one, range(2), 3), work.Unit(one, range(2, 3), 3), work.Unit(other)]


def test_two_workers_give_what_one_process_gives(units):
    loader = Loader("likelihood")
    with workers.Pool(loader, TASK, 2) as pool:
        there = list(pool.run(units, lambda report: None))
    there.sort(key=lambda result: units.index(result.unit))
    fitter = loader.load()
    for unit, result in zip(units, there, strict=True):
        here = records.record(prediction.predict_unit(unit, fitter, TASK))
        that = records.record(result)
        assert that.name == here.name == unit.name
        assert that.error == here.error
        assert {k: v.tobytes() for k, v in that.tables.items()} == {
            k: v.tobytes() for k, v in here.tables.items()
        }
    assert [result.rows for result in there] == [2, 1, 0]
    assert "coadd-b.fits" in there[-1].error
    assert there[0].seconds["likelihood"] > 0


def test_no_more_workers_than_fit_into_memory(units, caplog):
    small = workers.Pool(Loader("likelihood"), TASK, 2, limit=1)
    seen = set()
    with small:
        for _ in small.run(units[:2], lambda report: None):
            seen |= {child.pid for child in multiprocessing.active_children()}
    assert len(seen) == 1
    assert "above the limit" in caplog.text


def test_a_worker_that_is_killed_is_said_in_one_line(units):
    pool = workers.Pool(Loader("likelihood"), TASK, 1)
    with pool:
        with pytest.raises(ZspecError, match="nearby was killed") as caught:
            list(pool.run(kill_first(units), lambda report: None))
        again = list(pool.run(units[:1], lambda report: None))  # with new workers
        assert [one.rows for one in again] == [2]
    assert "\n" not in str(caught.value)
