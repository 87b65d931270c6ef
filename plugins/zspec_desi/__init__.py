"""DESI for zspec; the adapter's module is the guide to the data model."""

from __future__ import annotations

from collections.abc import Iterable

from zspec import Survey, hookimpl


@hookimpl
def zspec_surveys() -> Iterable[type[Survey]]:
    """DESI."""
    from zspec_desi.adapter import DESI

    return [DESI]
