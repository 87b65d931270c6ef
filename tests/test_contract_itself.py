from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from zspec.testing import data

HERE = Path(__file__).parent

BROKEN = {
    "TestLosesRows": {"test_a_row_without_data_stays"},
    "TestForgetsRange": {"test_rows_are_a_slice_of_the_whole"},
    "TestTakesAll": {"test_does_not_recognise_nothing"},
    "TestScales": {"test_reads_what_it_wrote", "test_a_row_without_data_stays"},
    "TestRaw": {"test_a_damaged_file_is_one_line"},
    "TestUndeclared": {"test_declares_what_it_is", "test_every_option_is_documented"},
    "TestUnseeded": {"test_demo_depends_on_its_seed"},
    "TestNeighbours": {
        "test_a_row_without_data_costs_itself_only",
        "test_size_of_chunks_does_not_matter",
    },
    "TestUnnormalised": {"test_predicts_every_row"},
    "TestForgetful": {"test_delivers_its_columns", "test_loads_what_it_saved"},
    "TestNarrow": {"test_delivers_its_columns"},
}
"""Contract on a survey with a broken promise: the tests that must fail, and no others."""

FAST = "TestFake or not (cheap or other_surveys)"
"""The tests that start processes, or simulate all other surveys, run on whole fakes only."""

Outcome = dict[str, dict[str, bool]]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Class: test (without parameters): whether it passed."""
    report = tmp_path_factory.mktemp("contract") / "report.xml"
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        FAST,
        "--import-mode=prepend",
        f"--junitxml={report}",
    ]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, *options]
    done = subprocess.run(
        [*command, f"--rootdir={HERE}", *map(str, HERE.glob("contract_fakes*.py"))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # some failed, as they must
    found: Outcome = {}
    for case in ElementTree.parse(report).iter("testcase"):
        tests = found.setdefault(case.attrib["classname"].rsplit(".", 1)[-1], {})
        name = case.attrib["name"].split("[")[0]
        passed = case.find("failure") is None and case.find("error") is None
        tests[name] = tests.get(name, True) and passed
    return found


@pytest.mark.parametrize(("name", "least"), [("TestFake", 18), ("TestFakeEstimator", 13)])
def test_what_keeps_its_promises_passes(outcome: Outcome, name: str, least: int) -> None:
    assert len(outcome[name]) >= least
    assert [test for test, passed in outcome[name].items() if not passed] == []


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_promise_fails(outcome: Outcome, name: str) -> None:
    failed = {test for test, passed in outcome[name].items() if not passed}
    assert failed == BROKEN[name]


def test_missing_data_skip_or_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(data.VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="nothing"):
        data.shared("nothing")
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="nothing"):
        data.shared("nothing")


def test_patterns_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data" / "x").mkdir(parents=True)
    for name in ("b.fits", "a.fits"):
        (tmp_path / "data" / "x" / name).touch()
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    assert data.expand(["x/*.fits", "y/*.fits"]) == ["x/a.fits", "x/b.fits", "y/*.fits"]
