"""The promises of an estimator, as tests to inherit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from zspec.checkpoint import metadata
from zspec.errors import ConfigError
from zspec.estimator import NCANDIDATES, Chunk, Estimator, Prediction
from zspec.simulate.mocks import mock_spectra
from zspec.survey import Spectra
from zspec.testing import compare


class EstimatorContract:
    """What every estimator promises. Inherit, and write ``make``; ``spectra`` may be replaced."""

    tolerance: ClassVar[float] = 1e-5
    """How far z / (1 + z) may move where only the order of arithmetic changes."""

    def make(self) -> Estimator:
        """The estimator under test, ready to predict."""
        raise NotImplementedError(f"{type(self).__name__} must return its estimator from make()")

    def spectra(self) -> Spectra:
        """Spectra that the estimator can make sense of: mocks of two arms, two of each class."""
        waves = {"B": np.arange(3600.0, 6000.0, 1.0), "R": np.arange(5900.0, 9800.0, 1.5)}
        return mock_spectra({arm: (wave, 1.0) for arm, wave in waves.items()}, n=6, seed=3)

    @pytest.fixture
    def estimator(self) -> Estimator:
        """The estimator, made once per class."""
        made: Estimator | None = type(self).__dict__.get("_made")
        if made is None:
            made = self.make()
            type(self)._made = made  # type: ignore[attr-defined]
        return made

    @pytest.fixture
    def mocks(self) -> Spectra:
        """The spectra of ``spectra``."""
        return self.spectra()

    def test_declares_what_it_is(self, estimator: Estimator) -> None:
        """Attributes are there; labels differ; ``needs`` fits ``grid``."""
        assert estimator.name
        assert estimator.title
        assert estimator.needs <= {"arms", "grid"}
        assert "grid" not in estimator.needs or estimator.grid is not None
        assert estimator.classes
        labels = [spec.name for spec in estimator.classes]
        assert len(set(labels)) == len(labels)
        assert {spec.spectype for spec in estimator.classes} <= {"GALAXY", "QSO", "STAR"}

    def test_declares_its_columns(self, estimator: Estimator) -> None:
        """Extra columns have a name in upper case, a dtype and a sentence."""
        names = [column.name for column in estimator.extra]
        assert len(set(names)) == len(names)
        for column in estimator.extra:
            assert column.name == column.name.upper()
            assert column.sentence
            np.dtype(column.dtype)

    def test_predicts_every_row(self, estimator: Estimator, mocks: Spectra) -> None:
        """Shapes are as declared, and probabilities sum to 1."""
        said, shape = predict(estimator, mocks), (len(mocks), len(estimator.classes))
        assert said.classes == estimator.classes
        assert said.prob.shape == said.z.shape == said.sigma.shape == shape
        assert said.best.shape == (len(mocks),)
        assert np.all((said.best >= 0) & (said.best < shape[1]))
        np.testing.assert_allclose(said.prob.sum(axis=1), 1, atol=1e-5)
        assert np.all(said.prob >= 0)

    def test_redshifts_lie_in_their_range(self, estimator: Estimator, mocks: Spectra) -> None:
        """Redshifts lie in the range of its class, with sigma > 0; NaN where it has none."""
        said = predict(estimator, mocks)
        for number, spec in enumerate(estimator.classes):
            z, sigma = said.z[:, number], said.sigma[:, number]
            if spec.z_range is None:
                assert np.all(np.isnan(z))
                continue
            known = z[np.isfinite(z)]
            assert np.all((known >= spec.z_range[0]) & (known <= spec.z_range[1]))
            assert np.all(sigma[np.isfinite(sigma)] > 0)

    def test_a_row_without_data_costs_itself_only(
        self, estimator: Estimator, mocks: Spectra
    ) -> None:
        """A row with ivar 0 everywhere neither raises nor changes the others."""
        expected = predict(estimator, mocks)
        said = predict(estimator, compare.blank(mocks, row=1))
        total = said.prob[1].sum()
        assert np.isnan(total) or abs(total - 1) < 1e-5
        others = np.array([i for i in range(len(mocks)) if i != 1])
        compare.assert_same_prediction(_take(said, others), _take(expected, others), self.tolerance)

    def test_no_rows_at_all(self, estimator: Estimator, mocks: Spectra) -> None:
        """An empty chunk gives an empty prediction."""
        said = predict(estimator, mocks[:0])
        assert said.prob.shape == (0, len(estimator.classes))
        assert len(said.best) == 0

    def test_order_does_not_matter(self, estimator: Estimator, mocks: Spectra) -> None:
        """Rows in another order get the same answers."""
        order = np.arange(len(mocks))[::-1]
        expected = _take(predict(estimator, mocks), order)
        said = predict(estimator, compare.reorder(mocks, order))
        compare.assert_same_prediction(said, expected, self.tolerance)

    def test_size_of_chunks_does_not_matter(self, estimator: Estimator, mocks: Spectra) -> None:
        """A row alone gets the answer that it gets among others."""
        whole = predict(estimator, mocks)
        for row in range(len(mocks)):
            one, expected = predict(estimator, mocks[row : row + 1]), _take(whole, np.array([row]))
            compare.assert_same_prediction(one, expected, self.tolerance)

    def test_input_stays_as_it_was(self, estimator: Estimator, mocks: Spectra) -> None:
        """The spectra are not changed."""
        before = copy.deepcopy(mocks)
        predict(estimator, mocks)
        compare.assert_same_spectra([mocks], [before])

    def test_candidates_are_ranked(self, estimator: Estimator, mocks: Spectra) -> None:
        """Best first, by prob or else by chi2; unused slots last, as -1 and NaN."""
        found = predict(estimator, mocks).candidates
        if found is None:
            return
        assert found.label.shape == found.z.shape == (len(mocks), NCANDIDATES)
        used = found.label >= 0
        assert np.all(used[:, 0]), "every row with data has one candidate at least"
        assert np.all(used[:, :-1] >= used[:, 1:]), "unused slots come last"
        assert np.all(found.label < len(estimator.classes))
        assert np.all(np.isnan(found.z[~used]))
        better = np.where(np.isfinite(found.prob), -found.prob, found.chi2)
        step = np.diff(better, axis=1)
        assert np.all(step[np.isfinite(step)] >= -1e-6), "best first, by prob or else by chi2"

    def test_delivers_its_columns(self, estimator: Estimator, mocks: Spectra) -> None:
        """Every declared extra column is there, and no other, also for no rows."""
        for spectra in (mocks, mocks[:0]):
            said = predict(estimator, spectra)
            assert set(said.extra) == {column.name for column in estimator.extra}
            for column in estimator.extra:
                values = np.asarray(said.extra[column.name])
                assert values.shape[:1] == (len(spectra),)
                assert not column.by_class or values.shape == said.z.shape
                assert np.can_cast(values.dtype, column.dtype, "same_kind")

    def test_model_spectra_fit_the_arms(self, estimator: Estimator, mocks: Spectra) -> None:
        """Model spectra, where it has them, are finite and on the arms' pixels."""
        model = estimator.predict(Chunk(mocks, estimator.grid), frozenset({"model"})).model
        if model is None:  # an estimator may have none
            return
        assert [m.shape for m in model] == [arm.flux.shape for arm in mocks.arms]
        assert all(np.isfinite(m).all() for m in model)

    def test_loads_what_it_saved(
        self, estimator: Estimator, mocks: Spectra, tmp_path: Path
    ) -> None:
        """A saved and loaded estimator gives exactly the same answers."""
        estimator.save(tmp_path / "saved.safetensors")
        assert metadata(tmp_path / "saved.safetensors")["estimator"] == estimator.name
        loaded = type(estimator).load(tmp_path / "saved.safetensors")
        assert loaded.classes == estimator.classes
        assert loaded.grid == estimator.grid
        said, expected = predict(loaded, mocks), predict(estimator, mocks)
        for name in ("prob", "z", "sigma", "best"):
            np.testing.assert_array_equal(getattr(said, name), getattr(expected, name), name)

    def test_refuses_what_it_did_not_save(self, estimator: Estimator, tmp_path: Path) -> None:
        """Another's file and a missing one are a ConfigError of one line."""
        (tmp_path / "other.safetensors").write_bytes(b"no checkpoint at all")
        for name in ("other.safetensors", "missing.safetensors"):
            with pytest.raises(ConfigError) as caught:
                type(estimator).load(tmp_path / name)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)


def predict(estimator: Estimator, spectra: Spectra) -> Prediction:
    """What the estimator says of the spectra, all in one chunk."""
    return estimator.predict(Chunk(spectra, estimator.grid))


def _take(said: Prediction, rows: np.typing.NDArray[np.intp]) -> Prediction:
    """The answers that the contracts compare, for some rows."""
    return Prediction(
        said.classes, said.prob[rows], said.z[rows], said.sigma[rows], said.best[rows]
    )
