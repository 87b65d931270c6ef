"""Test suites that a plugin author inherits, and the folder of real data.

A whole test file of a survey is::

    class TestMine(SurveyContract):
        survey = Mine
        files = ("mine/*.fits",)

``pytest`` then runs every promise of :class:`zspec.Survey` on the demo spectra of ``Mine`` and on
the real files. :class:`EstimatorContract` does the same for estimators. The modules of this package
are for tests: they import pytest, which zspec itself does not need.
"""

from __future__ import annotations

import pytest

for _module in ("data", "compare", "survey", "estimator"):
    pytest.register_assert_rewrite(f"zspec.testing.{_module}")  # so that failures show values

from zspec.testing.data import shared  # noqa: E402 (rewriting must be asked for before the import)
from zspec.testing.estimator import EstimatorContract  # noqa: E402
from zspec.testing.survey import SurveyContract  # noqa: E402

__all__ = ["EstimatorContract", "SurveyContract", "shared"]
