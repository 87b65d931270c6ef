"""Find plugins, load them one by one, and report: a broken plugin costs itself only.

pluggy's own loader lets one plugin's ImportError stop the program, so entry points are loaded here,
each inside a try. ``ZSPEC_STRICT_PLUGINS=1`` raises instead, for those who write a plugin.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from zspec import hookspecs
from zspec.errors import PluginError, unknown
from zspec.survey import NAME, Survey

if TYPE_CHECKING:
    import typer

    from zspec.estimator import Estimator

hookimpl = pluggy.HookimplMarker("zspec")
"""Decorator for the functions of a plugin."""

log = logging.getLogger("zspec")

REQUIRED = {"survey": ("title", "url", "reference", "arms", "grid"), "estimator": ("title",)}
"""Class attributes that an offer must set."""

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A plugin that could not be used."""

    plugin: str
    """Name of the entry point."""
    distribution: str
    """Name and version of the distribution that brings it."""
    cause: str
    """The exception in one line."""


@dataclass
class Offers:
    """What all plugins offer of one kind, by name."""

    kind: str
    found: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """name: (offer, distribution)."""
    clashes: dict[str, list[str]] = field(default_factory=dict)
    """name: distributions that offer it, where there are several."""

    def add(self, name: str, offer: Any, distribution: str) -> None:
        """Add one; a name that is there already becomes a clash.

        Raises PluginError for a name that is not plain, and for a survey that lacks declarations.
        """
        missing = [a for a in REQUIRED.get(self.kind, ()) if not hasattr(offer, a)]
        if missing:
            raise PluginError(f"{self.kind} {name!r} does not declare {', '.join(missing)}")
        if not NAME.fullmatch(name.replace("-", "_")):
            raise PluginError(f"{self.kind} name {name!r} does not match {NAME.pattern}")
        if name in self.found or name in self.clashes:
            before = self.clashes.get(name) or [self.found.pop(name)[1]]
            self.clashes[name] = [*before, distribution]
            log.warning(
                "%s %s is offered by %s: none is used",
                self.kind,
                name,
                " and ".join(self.clashes[name]),
            )
        else:
            self.found[name] = (offer, distribution)

    def get(self, name: str) -> Any:
        """The offer of that name. Raises PluginError where it is unknown or offered twice."""
        if name in self.clashes:
            both = " and ".join(self.clashes[name])
            raise PluginError(f"{self.kind} {name!r} is offered by {both}; uninstall one of them")
        if name not in self.found:
            raise PluginError(unknown(self.kind, name, self.found))
        return self.found[name][0]


class Plugins:
    """The plugins of one group of entry points."""

    def __init__(self, found: Iterable[EntryPoint]) -> None:
        """Load each entry point, in the order of names."""
        self.manager = pluggy.PluginManager("zspec")
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self.distributions: dict[str, str] = {}
        for point in sorted(found, key=lambda p: (p.name, p.value)):
            self.distributions[_key(point)] = _distribution(point)
            self._guard(_key(point), partial(self._load, point))

    def _load(self, point: EntryPoint) -> None:
        name = _key(point)
        if self.manager.has_plugin(name):  # the same distribution, found twice on the path
            return
        plugin = point.load()
        self.manager.register(plugin, name=name)
        try:
            self.manager.check_pending()  # pluggy finds a misspelt hook only here
        except pluggy.PluginValidationError:
            self.manager.unregister(plugin)
            raise

    def _guard(self, name: str, call: Callable[[], T]) -> T | None:
        """Do something with a plugin; what it raises is said in one line and costs it only."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            if os.environ.get("ZSPEC_STRICT_PLUGINS") == "1":
                raise
            first = (str(error).strip().splitlines() or [""])[0]
            failure = Failure(name, self.distributions[name], f"{type(error).__name__}: {first}")
            self.failures.append(failure)
            log.warning("plugin %s (%s) left out: %s", name, failure.distribution, failure.cause)
            return None

    def _offers(self, kind: str, hook: str) -> Offers:
        offers = Offers(kind)
        for impl in getattr(self.manager.hook, hook).get_hookimpls():

            def collect(impl: Any = impl) -> None:
                for offer in list(impl.function()):
                    offers.add(offer.name, offer, self.distributions[impl.plugin_name])

            self._guard(impl.plugin_name, collect)
        return offers

    def surveys(self) -> Offers:
        """All surveys, as types."""
        return self._offers("survey", "zspec_surveys")

    def estimators(self) -> Offers:
        """All estimators, as types; this imports torch."""
        return self._offers("estimator", "zspec_estimators")

    def add_commands(self, app: typer.Typer) -> None:
        """Let each plugin add its commands; one that takes a name that is there adds none."""
        for impl in self.manager.hook.zspec_commands.get_hookimpls():
            before = list(app.registered_commands)
            self._guard(impl.plugin_name, partial(_add_commands, impl.function, app))
            if len(self.failures) and self.failures[-1].plugin == impl.plugin_name:
                app.registered_commands[:] = before


@lru_cache(maxsize=2)
def load(group: str = "zspec") -> Plugins:
    """The installed plugins of a group, loaded once."""
    return Plugins(entry_points(group=group))


@lru_cache(maxsize=1)
def surveys() -> Offers:
    """All installed surveys, loaded once."""
    return load().surveys()


@lru_cache(maxsize=1)
def estimators() -> Offers:
    """All installed estimators, loaded once."""
    return load().estimators()


def survey(name: str) -> Survey:
    """The survey of that name, in any case. Raises PluginError: unknown, or offered twice."""
    made: Survey = surveys().get(name.lower())()
    return made


def estimator(name: str) -> type[Estimator]:
    """The estimator of that name. Raises PluginError where it is unknown or offered twice."""
    found: type[Estimator] = estimators().get(name)
    return found


def installed() -> Mapping[str, Survey]:
    """All surveys that can be used, by name."""
    return {name: kind() for name, (kind, _) in sorted(surveys().found.items())}


def _add_commands(add: Callable[..., object], app: typer.Typer) -> None:
    """Add a plugin's commands. Raises PluginError where a name is there already."""
    before = len(app.registered_commands)
    add(app)
    names = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    taken = set(names[:before]) & set(names[before:])
    if taken:
        raise PluginError(f"command {', '.join(sorted(taken))} is there already")


def _key(point: EntryPoint) -> str:
    """Name of a plugin: two distributions may use the same entry point name."""
    return f"{point.name}={point.value}"


def _distribution(point: EntryPoint) -> str:
    """Name and version of the distribution that brings an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
