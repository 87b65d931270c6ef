from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from zspec import PluginError, Survey, hookimpl
from zspec.plugins import Plugins


class Point(EntryPoint):
    """An entry point whose distribution we choose."""

    @property
    def dist(self):
        return types.SimpleNamespace(name=f"dist-{self.name}", version="1.0")


@pytest.fixture
def install(monkeypatch):
    """Make a module importable, and give its entry point."""

    def make(name, **members):
        module = types.ModuleType(f"fake_{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return Point(name, module.__name__, "zspec")

    return make


def offering(*names):
    story = dict.fromkeys(("title", "url", "reference", "arms", "grid"), "declared")
    kinds = [type(name, (Survey,), {"name": name, **story}) for name in names]
    return hookimpl(lambda: kinds, specname="zspec_surveys")


def test_surveys_are_found_with_their_distribution(install):
    offers = Plugins(
        [install("b", f=offering("beta")), install("a", f=offering("alpha"))]
    ).surveys()
    assert {name: dist for name, (_, dist) in offers.found.items()} == {
        "alpha": "dist-a 1.0",
        "beta": "dist-b 1.0",
    }
    assert offers.get("beta").name == "beta"


def test_a_broken_import_costs_itself_only(install, caplog):
    missing = Point("bad", "no_such_module_at_all", "zspec")
    plugins = Plugins([missing, install("good", f=offering("good"))])
    assert list(plugins.surveys().found) == ["good"]
    (failure,) = plugins.failures
    assert failure.distribution == "dist-bad 1.0"
    assert "No module named 'no_such_module_at_all'" in failure.cause
    assert len(caplog.records) == 1
    assert "dist-bad 1.0" in caplog.text


def test_a_misspelt_hook_costs_itself_only(install):
    def zspec_survey():
        return []

    wrong = install("bad", zspec_survey=hookimpl(zspec_survey))
    plugins = Plugins([wrong, install("good", f=offering("good"))])
    assert list(plugins.surveys().found) == ["good"]
    assert "zspec_survey" in plugins.failures[0].cause


def test_a_hook_that_raises_costs_itself_only(install):
    def zspec_surveys():
        raise RuntimeError("no telescope")

    plugins = Plugins(
        [install("bad", zspec_surveys=hookimpl(zspec_surveys)), install("ok", f=offering("ok"))]
    )
    assert list(plugins.surveys().found) == ["ok"]
    assert plugins.failures[0].cause == "RuntimeError: no telescope"


def test_strict_mode_raises(install, monkeypatch):
    monkeypatch.setenv("ZSPEC_STRICT_PLUGINS", "1")
    with pytest.raises(ModuleNotFoundError):
        Plugins([Point("bad", "no_such_module_at_all", "zspec")])


def test_a_name_that_two_plugins_offer_names_both(install):
    points = [install(n, f=offering(*names)) for n, names in [("a", "xy"), ("b", "x"), ("c", "x")]]
    offers = Plugins(points).surveys()
    assert list(offers.found) == ["y"]
    with pytest.raises(PluginError, match=r"dist-a 1.0 and dist-b 1.0 and dist-c 1.0; uninstall"):
        offers.get("x")


def test_names_are_plain(install):
    plugins = Plugins([install("a", f=offering("Not a name\x1b"))])
    assert not plugins.surveys().found
    assert "does not match" in plugins.failures[0].cause


def test_an_unknown_name_gets_the_nearest(install):
    offers = Plugins([install("a", f=offering("sdss", "desi"))]).surveys()
    with pytest.raises(PluginError, match="unknown survey 'sds'; did you mean 'sdss'"):
        offers.get("sds")


def test_the_same_distribution_twice_on_the_path_is_one(install):
    point = install("a", f=offering("x"))
    assert list(Plugins([point, point]).surveys().found) == ["x"]


def test_a_survey_without_declarations_is_a_failure(install):
    half = hookimpl(
        lambda: [type("half", (Survey,), {"name": "half", "title": "x"})], specname="zspec_surveys"
    )
    plugins = Plugins([install("a", f=half)])
    assert not plugins.surveys().found
    assert "'half' does not declare url, reference, arms, grid" in plugins.failures[0].cause


def test_a_command_plugin_cannot_replace_a_command(install):
    import typer

    def ours():
        """Ours."""

    def predict():
        """Theirs."""

    def zspec_commands(app):
        app.command("fresh")(ours)
        app.command()(predict)

    app = typer.Typer()
    app.command("predict")(ours)
    plugins = Plugins([install("bad", zspec_commands=hookimpl(zspec_commands))])
    plugins.add_commands(app)
    assert [c.name for c in app.registered_commands] == ["predict"]
    assert "command predict is there already" in plugins.failures[0].cause


def test_a_command_plugin_adds_commands(install):
    import typer

    app = typer.Typer()
    plugins = Plugins(
        [install("good", zspec_commands=hookimpl(lambda app: app.command("x")(print)))]
    )
    plugins.add_commands(app)
    assert [c.name for c in app.registered_commands] == ["x"]


def test_a_plugin_that_exits_costs_itself_only(install):
    def zspec_surveys():
        raise SystemExit(3)

    plugins = Plugins([install("bad", zspec_surveys=hookimpl(zspec_surveys))])
    assert not plugins.surveys().found
    assert plugins.failures[0].cause == "SystemExit: 3"
