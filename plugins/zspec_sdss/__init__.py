"""SDSS, BOSS, eBOSS and SDSS-V spectra for zspec; see :mod:`zspec_sdss.adapter`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zspec import hookimpl

if TYPE_CHECKING:
    from zspec import Survey


@hookimpl
def zspec_surveys() -> Iterable[type[Survey]]:
    """Offer SDSS."""
    from zspec_sdss.adapter import SDSS

    return [SDSS]
