"""A survey of a few numbers, whole and with one promise broken at a time.

``test_contract_itself.py`` runs the contract suites on these in a process of their own. The layout
is a primary image (1 + 2 n, pixel) of wavelengths in vacuum, then flux and ivar of each spectrum,
and a table with ids and the truth. There is no instrument, and https://example.org says no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zspec import HDU, Arm, InputError, Spectra, Survey, Truth, WaveGrid, open_fits, write_fits
from zspec.testing import SurveyContract

WAVE = np.arange(4000.0, 4200.0, 2.0)


class Fake(Survey):
    """The smallest survey that keeps every promise."""

    name = "fake"
    title = "A fake survey"
    url = "https://example.org"
    reference = "nobody 2026"
    arms = ("X",)
    grid = WaveGrid.linear(4000, 2, 100)

    @dataclass(frozen=True)
    class Options:
        """What a user can choose."""

        colour: str = "blue"
        """Does nothing."""

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """A table named FAKE."""
        return any(hdu.name == "FAKE" for hdu in hdus)

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """All rows at once."""
        with open_fits(path) as file:
            n = len(file.column("FAKE", "ID"))
            keep = np.array([r for r in range(n) if rows is None or r in rows], np.int64)
            if len(keep) == 0:
                return
            image = file.image(0)
            if image.shape[0] != 1 + 2 * n:
                raise InputError(f"{path}: an image of {1 + 2 * n} rows was expected")
            ids, label, z = (file.column("FAKE", c, keep) for c in ("ID", "CLASS", "Z"))
        arm = Arm("X", image[0], image[1 : n + 1][keep], image[n + 1 :][keep])
        yield Spectra((arm,), ids, keep.astype(np.int32), truth=Truth(label, z))

    def demo(self, n: int, seed: int) -> Spectra:
        """Noise around 1."""
        flux = 1 + 0.1 * np.random.default_rng(seed).standard_normal((n, len(WAVE)))
        arm = Arm("X", WAVE, flux, np.full_like(flux, 100.0))
        ids = np.arange(7, n + 7, dtype=np.int64)
        truth = Truth(np.full(n, "STAR"), np.linspace(0, 1e-4, n))
        return Spectra((arm,), ids, np.arange(n, dtype=np.int32), truth=truth)

    def write(self, path: Path, spectra: Spectra) -> None:
        """The image and the table."""
        arm, truth = spectra.arms[0], spectra.truth
        if truth is None:
            raise ValueError("a fake needs a truth")
        image = np.concatenate([arm.wave[None], arm.flux, arm.ivar])
        table = {"ID": spectra.ids, "CLASS": truth.spectype.astype("S6"), "Z": truth.z}
        write_fits(path, [("", image, {}), ("FAKE", table, {})])


class LosesRows(Fake):
    """Drops rows without data."""

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """Without blank rows."""
        for chunk in super().read(path, rows, options):
            yield from (one for one in chunk.split(1) if one.arms[0].usable.any())


class ForgetsRange(Fake):
    """Does not look at ``rows``."""

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """Always the whole file."""
        yield from super().read(path, None, options)


class TakesAll(Fake):
    """Recognises everything."""

    def sniff(self, hdus: Sequence[HDU]) -> bool:
        """Always."""
        return True


class Scales(Fake):
    """Reads another flux than was written."""

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """A hundredth of a per cent too bright."""
        for chunk in super().read(path, rows, options):
            arm = chunk.arms[0]
            brighter = Arm("X", arm.wave, arm.flux * 1.0001, arm.ivar)
            yield Spectra((brighter,), chunk.ids, chunk.rows, truth=chunk.truth)


class Raw(Fake):
    """Lets the errors of others through."""

    def read(self, path: Path, rows: range | None = None, options: Any = None) -> Iterator[Spectra]:
        """An OSError where the file is missing."""
        path.read_bytes()
        yield from super().read(path, rows, options)


class Undeclared(Fake):
    """An option without a docstring, and no title."""

    title = ""

    @dataclass(frozen=True)
    class Options:
        """What a user can choose."""

        colour: str = "blue"


class Unseeded(Fake):
    """The same demo whatever the seed."""

    def demo(self, n: int, seed: int) -> Spectra:
        """Always seed 1."""
        return super().demo(n, 1)


class TestFake(SurveyContract):
    """All pass."""

    survey = Fake


class TestLosesRows(SurveyContract):
    """See the survey."""

    survey = LosesRows


class TestForgetsRange(SurveyContract):
    """See the survey."""

    survey = ForgetsRange


class TestTakesAll(SurveyContract):
    """See the survey."""

    survey = TakesAll


class TestScales(SurveyContract):
    """See the survey."""

    survey = Scales


class TestRaw(SurveyContract):
    """See the survey."""

    survey = Raw


class TestUndeclared(SurveyContract):
    """See the survey."""

    survey = Undeclared


class TestUnseeded(SurveyContract):
    """See the survey."""

    survey = Unseeded
