"""The built-in estimators, offered through the same door as a plugin's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zspec.plugins import hookimpl

if TYPE_CHECKING:
    from zspec.estimator import Estimator


@hookimpl
def zspec_estimators() -> Iterable[type[Estimator]]:
    """Offer the built-in estimators; torch is imported here and not before."""
    from zspec.estimators.gasnet2 import GasNet2
    from zspec.estimators.joint import Joint
    from zspec.estimators.likelihood import Likelihood
    from zspec.estimators.slitless_bnn import SlitlessBNN

    return [GasNet2, Joint, Likelihood, SlitlessBNN]
