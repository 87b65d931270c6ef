"""The promises of a survey, as tests to inherit."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from zspec.errors import ConfigError, InputError
from zspec.fits import open_fits, write_fits
from zspec.grid import WaveGrid
from zspec.plugins import installed
from zspec.survey import HDU, NAME, Spectra, Survey, hash_id, make_options, option_help
from zspec.testing import compare, data

MOST_ROWS = 512
"""Most spectra that ``read`` may yield at once."""

HEAVY = ("torch", "astropy", "fitsio", "scipy")
"""What a survey's module imports inside its functions only: listing surveys must cost nothing."""

NOTHING: tuple[tuple[HDU, ...], ...] = (
    (),
    (HDU("", "image", {}),),
    (HDU("", "image", {"NAXIS": 2, "NAXIS1": "broken"}, (), (7, 9)),),
    (HDU("", "image", {}), HDU("", "table", {}, (), (0,))),
    (HDU("", "image", {}), HDU("DATA", "table", {"TTYPE1": None}, ("A", "B"), (3,))),
)
"""HDUs of files that belong to no survey; a header may hold anything."""


class SurveyContract:
    """What every survey promises. Inherit, and set ``survey``."""

    survey: ClassVar[type[Survey]]
    """The survey under test."""
    files: ClassVar[tuple[str, ...]] = ()
    """Real files of the survey, or shell patterns, relative to the shared data folder."""
    foreign: ClassVar[tuple[str, ...]] = ()
    """Files of other surveys, likewise: ``sniff`` must be False for them."""
    demo_name: ClassVar[str] = "demo.fits"
    """What a file must be called where the name of a neighbour with the truth depends on it."""
    demo_rows: ClassVar[int] = 5
    """Spectra in a demo; 1 where a file of the survey holds one object."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each real file, and for each foreign one."""
        for argument, patterns in (("file", self.files), ("alien", self.foreign)):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, data.expand(patterns))

    @pytest.fixture
    def demo(self) -> Spectra:
        """Demo spectra of the survey."""
        return self.survey().demo(self.demo_rows, seed=1)

    @pytest.fixture
    def written(self, tmp_path: Path, demo: Spectra) -> Path:
        """A file with the demo spectra."""
        return self.write(tmp_path, demo)

    def write(self, folder: Path, spectra: Spectra) -> Path:
        """Write spectra as the survey does, into a new folder."""
        place = folder / f"written{len(list(folder.iterdir()))}"
        place.mkdir()
        self.survey().write(place / self.demo_name, spectra)
        return place / self.demo_name

    def test_declares_what_it_is(self) -> None:
        """Every attribute is there and makes sense."""
        survey = self.survey
        assert NAME.fullmatch(survey.name), f"name {survey.name!r} must match {NAME.pattern}"
        assert survey.title
        assert survey.reference
        assert survey.url.startswith(("http://", "https://"))
        assert survey.medium in ("vacuum", "air")
        assert survey.frame in ("barycentric", "heliocentric", "topocentric")
        assert set(survey.classes) <= {"GALAXY", "QSO", "STAR"}
        assert survey.classes
        assert set(survey.channels) <= {"flux", "error", "good"}
        assert all(isinstance(pattern, str) for pattern in survey.file_patterns)

    def test_declares_arms_and_grid(self) -> None:
        """Arms have different names; wavelengths increase within each arm of the grid."""
        arms, grid = self.survey.arms, self.survey.grid
        assert isinstance(arms, tuple)
        assert arms
        assert len(set(arms)) == len(arms)
        assert isinstance(grid, WaveGrid)
        assert len(grid) > 1
        for wave in grid.segments or (grid.wave,):  # native arms may overlap each other
            assert np.all(np.diff(wave) > 0)

    def test_its_module_is_a_guide(self) -> None:
        """The module's docstring says what is read, what is not, in which medium, with a link."""
        guide = sys.modules[self.survey.__module__].__doc__ or ""
        assert len(guide) > 200, "the module's docstring says what is read and what is not"
        assert "http" in guide, "the module's docstring links the official data model"
        assert "vacuum" in guide.lower() or "air" in guide.lower().split()

    def test_every_option_is_documented(self) -> None:
        """Options are a frozen dataclass with a default and a docstring for each field."""
        options = self.survey.Options
        assert options.__dataclass_params__.frozen  # type: ignore[attr-defined]
        help_texts = option_help(options) if dataclasses.fields(options) else {}
        for field in dataclasses.fields(options):
            assert field.default is not dataclasses.MISSING, f"{field.name} has no default"
            assert help_texts.get(field.name), f"{field.name} has no docstring below it"
        assert make_options(self.survey(), {}) == options()

    def test_an_unknown_option_is_named(self) -> None:
        """An option that does not exist is a ConfigError that names the nearest."""
        with pytest.raises(ConfigError, match="zzzz"):
            make_options(self.survey(), {"zzzz": "1"})
        for field in dataclasses.fields(self.survey.Options):
            with pytest.raises(ConfigError, match=f"did you mean '{field.name}'"):
                make_options(self.survey(), {f"{field.name}x": "1"})

    def test_importing_it_is_cheap(self) -> None:
        """Importing the module brings in none of ``HEAVY``."""
        code = (
            f"import sys; before = set(sys.modules); import {self.survey.__module__}; "
            f"print(*({set(HEAVY)!r} & (set(sys.modules) - before)))"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [], "import these inside the functions that use them"

    def test_recognises_its_own_files_only(self, written: Path) -> None:
        """``sniff`` knows a written demo, and no other installed survey claims it."""
        others = {n: s for n, s in installed().items() if not isinstance(s, self.survey)}
        assert self.sniffs(written)
        with open_fits(written) as file:
            claimed = [name for name, other in others.items() if other.sniff(file.hdus)]
        assert claimed == [], "another survey claims this one's files"

    @pytest.mark.parametrize("hdus", NOTHING)
    def test_does_not_recognise_nothing(self, hdus: Sequence[HDU]) -> None:
        """``sniff`` is False, and raises nothing, for files of no survey."""
        assert self.survey().sniff(hdus) is False

    def test_does_not_recognise_other_surveys(self, tmp_path: Path) -> None:
        """``sniff`` is False for demos of all other installed surveys."""
        for name, other in installed().items():
            if isinstance(other, self.survey):
                continue
            try:
                other.write(tmp_path / f"{name}.fits", other.demo(1, seed=1))
            except NotImplementedError:  # demos are no duty of a stranger's plugin
                continue
            assert not self.sniffs(tmp_path / f"{name}.fits"), f"claims a file of {name}"

    def test_does_not_recognise_foreign_files(self, alien: str) -> None:
        """``sniff`` is False for each file in ``foreign``."""
        assert not self.sniffs(data.shared(alien))

    def test_demo_tells_the_truth(self, demo: Spectra) -> None:
        """A demo has its rows, known classes, finite redshifts, and data in every arm."""
        assert len(demo) == self.demo_rows
        assert demo.truth is not None
        assert set(demo.truth.spectype.tolist()) <= set(self.survey.classes)
        assert np.all(np.isfinite(demo.truth.z))
        assert demo.rows.tolist() == list(range(self.demo_rows))
        assert {arm.name for arm in demo.arms} <= set(self.survey.arms)
        assert all(np.all(arm.usable.any(axis=1)) for arm in demo.arms)

    def test_demo_depends_on_its_seed(self, demo: Spectra) -> None:
        """The same seed gives the same spectra, another seed others."""
        same, other = (self.survey().demo(self.demo_rows, seed=seed) for seed in (1, 2))
        for arm, before, changed in zip(same.arms, demo.arms, other.arms, strict=True):
            np.testing.assert_array_equal(arm.flux, before.flux)
            assert not np.array_equal(changed.flux, before.flux)

    def test_reads_what_it_wrote(self, tmp_path: Path, demo: Spectra, written: Path) -> None:
        """Written spectra come back: pixels, truth and ids, twice over."""
        first = list(self.survey().read(written))
        compare.assert_same_spectra(first, [demo])
        hashed = [hash_id(written, int(row)) for row in demo.rows]
        assert _ids(first) in (demo.ids.tolist(), hashed)
        if len(first) == 1:
            again = list(self.survey().read(self.write(tmp_path, first[0])))
            compare.assert_same_spectra(again, first)
            assert _ids(again) == _ids(first)

    def test_types_and_order(self, written: Path) -> None:
        """Chunks are of the right types, small enough, and in the file's order."""
        _check_chunks(list(self.survey().read(written)), self.survey)

    def test_count_is_above_all_rows(self, written: Path) -> None:
        """``count`` is not known, or no row lies at it or beyond."""
        with open_fits(written) as file:
            count = self.survey().count(file.hdus)
        assert count is None or count >= self.demo_rows
        if count is not None:
            assert list(self.survey().read(written, rows=range(count, count + 9))) == []

    def test_rows_are_a_slice_of_the_whole(self, written: Path) -> None:
        """``rows`` gives what the whole file gives for these rows, and none beyond its end."""
        whole = compare.single(self.survey().read(written))
        for rows in (range(1), range(1, 3), range(0), range(self.demo_rows, self.demo_rows + 3)):
            some = list(self.survey().read(written, rows=rows))
            expected = [one for one in whole if int(one.rows[0]) in rows]
            compare.assert_same_spectra(some, expected)
            assert _ids(some) == _ids(expected)

    def test_a_bad_pixel_is_not_good(self, tmp_path: Path, demo: Spectra) -> None:
        """NaN in a file's flux or ivar costs that pixel and nothing else."""
        row, pixel = self.demo_rows - 1, 20
        spoilt = self.write(tmp_path, compare.spoil(demo, row, pixel))
        for arm in compare.single(self.survey().read(spoilt))[row].arms:
            assert not arm.usable[0, pixel : pixel + 2].any()
            assert arm.usable[0, pixel + 2 :].any()
            assert np.isfinite(arm.flux).all()
            assert np.isfinite(arm.ivar).all()

    def test_a_row_without_data_stays(self, tmp_path: Path, demo: Spectra) -> None:
        """A row whose ivar is 0 everywhere is a row, and costs no other."""
        blank = compare.blank(demo, row=0)
        read = compare.single(self.survey().read(self.write(tmp_path, blank)))
        assert len(read) == self.demo_rows
        assert all(np.all(arm.ivar == 0) for arm in read[0].arms)
        compare.assert_same_spectra(read[1:], [blank[1:]])

    @pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "other"])
    def test_a_damaged_file_is_one_line(self, written: Path, damage: str) -> None:
        """A missing, empty, cut or foreign file is an InputError of one line with its name."""
        path = written.with_name(f"damaged-{written.name}")
        _damage(written, path, damage)
        with pytest.raises(InputError) as caught:
            list(self.survey().read(path))
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_real_files(self, file: str) -> None:
        """Each file in ``files`` is recognised and read, and so are its first rows alone."""
        path = data.shared(file)
        assert self.sniffs(path)
        chunks = list(self.survey().read(path))
        _check_chunks(chunks, self.survey)
        assert any(arm.usable.any() for chunk in chunks for arm in chunk.arms), "no good pixel"
        whole = [one for one in compare.single(chunks) if int(one.rows[0]) < 2]
        compare.assert_same_spectra(self.survey().read(path, rows=range(2)), whole)

    def sniffs(self, path: Path) -> Any:
        """What ``sniff`` says of a file."""
        with open_fits(path) as file:
            return self.survey().sniff(file.hdus)


def _ids(chunks: Sequence[Spectra]) -> list[int]:
    return [int(i) for chunk in chunks for i in chunk.ids]


def _check_chunks(chunks: Sequence[Spectra], survey: type[Survey]) -> None:
    """Types, sizes and order of what ``read`` gave; Arm itself holds finite and increasing."""
    assert chunks, "read gave nothing"
    for chunk in chunks:
        assert isinstance(chunk, Spectra)
        assert 0 < len(chunk) <= MOST_ROWS
        assert chunk.ids.dtype == np.int64
        assert chunk.rows.dtype == np.int32
        assert {arm.name for arm in chunk.arms} <= set(survey.arms)
        assert all(arm.flux.dtype == arm.ivar.dtype == np.float32 for arm in chunk.arms)
    rows = np.concatenate([chunk.rows for chunk in chunks])
    assert np.all(np.diff(rows) > 0), "rows are unique and in the file's order"


def _damage(written: Path, path: Path, damage: str) -> None:
    """Make ``path`` a damaged copy of ``written``, or no file of the survey at all."""
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        whole = written.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("wavelength flux\n" * 500)
    elif damage == "other":
        write_fits(path, [("", np.zeros((3, 4), np.float32), {})])
