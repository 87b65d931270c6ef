"""All that a plugin can extend.

A plugin is a module named by an entry point of group ``zspec`` (or ``zspec.commands``). It
writes any of these functions, decorated with ``zspec.hookimpl``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from zspec.estimator import Estimator
    from zspec.survey import Survey

hookspec = pluggy.HookspecMarker("zspec")


@hookspec
def zspec_surveys() -> Iterable[type[Survey]]:  # type: ignore[empty-body]
    """Surveys that this plugin reads."""


@hookspec
def zspec_estimators() -> Iterable[type[Estimator]]:  # type: ignore[empty-body]
    """Estimators that this plugin brings. Import torch inside, not at the top of the module."""


@hookspec
def zspec_commands(app: typer.Typer) -> None:
    """Add commands to ``zspec``. Only plugins of group ``zspec.commands`` are asked."""
