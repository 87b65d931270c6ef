"""A toy survey and a toy estimator: the frame is tested without any real adapter or weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from zspec import (
    Arm,
    Candidates,
    ClassSpec,
    Estimator,
    ExtraColumn,
    Prediction,
    Spectra,
    Survey,
    Truth,
    WaveGrid,
    ZWarn,
    open_fits,
    plugins,
    write_fits,
)

WAVE = np.arange(4000.0, 5000.0, 2.0)

FUZZ = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],  # seeds are not simpler when smaller
}
settings.register_profile("few", max_examples=12, **FUZZ)  # here: pytest asks for one by its name
settings.register_profile("fuzz", max_examples=1500, **FUZZ)  # before it has seen any test


class Toy(Survey):
    """One image of flux; ivar is 1; an optional table of labels."""

    name = "toy"
    title = "A toy"
    url = "https://example.org"
    reference = "none"
    arms = ("T",)
    grid = WaveGrid.linear(4000, 2, 500)
    file_patterns = ("toy-*.fits",)

    @dataclass(frozen=True)
    class Options:
        """Choices."""

        gain: float = 1.0
        """What flux is multiplied by."""
        bands: tuple[str, ...] = ("T",)
        """Bands."""
        strict: bool = False
        """A switch."""

    def sniff(self, hdus):
        return any(h.name == "TOY_FLUX" for h in hdus)

    def count(self, hdus):
        return next(h.shape[0] for h in hdus if h.name == "TOY_FLUX")

    def read(self, path, rows=None, options=None) -> Iterator[Spectra]:
        options = options or self.Options()
        with open_fits(path) as handle:
            flux = handle.image("TOY_FLUX") * options.gain
            ids = handle.column("TOY_IDS", "ID").astype(np.int64)
            labelled = handle.has("TOY_IDS", "Z")
            z = handle.column("TOY_IDS", "Z") if labelled else None
        wanted = rows or range(len(ids))
        end = min(wanted.stop, len(ids))
        for at in range(wanted.start, end, 8):
            part = slice(at, min(at + 8, end))
            n = len(ids[part])
            yield Spectra(
                arms=(Arm("T", WAVE, flux[part], np.where(flux[part] == 0, 0, 1)),),
                ids=ids[part],
                rows=np.arange(at, at + n, dtype=np.int32),
                table={
                    "RA": np.full(n, 10.0),
                    "DEC": np.full(n, -5.0),
                    "NAME": ids[part].astype("U"),
                },
                truth=None if z is None else Truth(np.full(n, "GALAXY"), z[part]),
                zwarn=np.where(ids[part] < 0, int(ZWarn.UNPLUGGED), 0),
            )


class ToyEstimator(Estimator):
    """z is the mean flux over 100; quasars are brighter than 50."""

    name = "toy-mean"
    title = "The mean"
    needs = frozenset({"arms"})
    extra = (ExtraColumn("TOY_MEAN", "f4", "mJy", "Mean of the flux."),)
    sha256 = "abc"

    def __init__(self):
        self.classes = (ClassSpec("GAL", "GALAXY", "X", (0, 1)), ClassSpec("QSO", "QSO"))
        self.calls = []

    def predict(self, chunk, want=frozenset()):
        flux = chunk.spectra.arms[0].flux.astype(float)
        self.calls.append(len(flux))
        n = len(flux)
        mean = flux.mean(1)
        empty = ~chunk.spectra.arms[0].usable.any(1)
        best = (mean > 50).astype(np.int16)
        z = np.stack([mean / 100, np.full(n, np.nan)], 1)
        prob = np.stack([1.0 - best, best], 1).astype(np.float32)
        prob[empty] = np.nan
        label = np.full((n, 5), -1, np.int16)
        label[~empty, 0] = best[~empty]
        values = np.where(label >= 0, np.arange(5.0), np.nan)
        return Prediction(
            classes=self.classes,
            prob=prob,
            z=z,
            sigma=z * 0.1,
            best=best,
            candidates=Candidates(label, values, values, values.astype(np.float32), values),
            extra={"TOY_MEAN": mean},
        )


@pytest.fixture
def toy(monkeypatch):
    """The toy survey, installed for one test."""
    monkeypatch.setitem(plugins.surveys().found, "toy", (Toy, "toy-dist 1.2"))
    return Toy()


@pytest.fixture
def estimator():
    return ToyEstimator()


def write_toy(path, ids, labelled=False, flux=None):
    ids = np.asarray(ids, np.int64)
    flux = np.abs(ids)[:, None] * np.ones(len(WAVE)) if flux is None else flux
    columns = {"ID": ids} | ({"Z": np.abs(ids) / 100.0} if labelled else {})
    hdus = [("", np.zeros(0), {}), ("TOY_FLUX", flux.astype("f4"), {}), ("TOY_IDS", columns, {})]
    write_fits(path, hdus)
    return path


@pytest.fixture
def toy_file(tmp_path, toy):
    """Writes toy files into the test's folder."""

    def write(name, ids, **more):
        return write_toy(tmp_path / name, ids, **more)

    return write
