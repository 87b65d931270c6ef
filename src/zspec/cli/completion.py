"""What the shell completes: names of surveys, models, recipes and metrics.

``zspec --install-completion`` is typer's; the functions here give the values of options. They
import what they need when the shell asks.
"""

from __future__ import annotations

from collections.abc import Iterable


def surveys(incomplete: str) -> list[str]:
    """Names of the installed surveys."""
    from zspec import plugins

    return _begin(plugins.installed(), incomplete)


def models(incomplete: str) -> list[str]:
    """Names of the models that come with zspec."""
    from zspec import checkpoint

    return _begin(checkpoint.models(), incomplete)


def recipes(incomplete: str) -> list[str]:
    """Names of the recipes that come with zspec."""
    from zspec import training

    return _begin(training.shipped(), incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics, the last of a list with commas.

    >>> metrics("gf,nm")
    ['gf,nmad', 'gf,nmad_v']
    """
    from zspec.metrics import BY_NAME

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in _begin([*BY_NAME, "all"], last)]


def _begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
