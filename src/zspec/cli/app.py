"""All commands, and what is common to them. The bodies of commands are imported when they run."""

from __future__ import annotations

import inspect as introspection
from collections.abc import Callable
from typing import Annotated, Any

import typer

from zspec.cli.calibrate import calibrate
from zspec.cli.evaluate import evaluate
from zspec.cli.explain import explain
from zspec.cli.info import info
from zspec.cli.inspect import inspect
from zspec.cli.merge import merge
from zspec.cli.models import models
from zspec.cli.new_survey import new_survey
from zspec.cli.plot import plot
from zspec.cli.predict import predict
from zspec.cli.report import report
from zspec.cli.simulate import simulate
from zspec.cli.surveys import surveys
from zspec.cli.train import train

COMMANDS = (
    predict,
    merge,
    evaluate,
    report,
    plot,
    inspect,
    surveys,
    models,
    info,
    train,
    simulate,
    calibrate,
    explain,
    new_survey,
)
"""In the order of the help."""


def build() -> typer.Typer:
    """The application with our commands and those of installed plugins."""
    from importlib.metadata import entry_points

    app = typer.Typer(
        name="zspec",
        help="Spectra in, redshift catalogue out.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(common)
    for command in COMMANDS:
        app.command(help=told(command))(command)
    if entry_points(group="zspec.commands"):  # the only plugins that --help loads
        from zspec import plugins
        from zspec.cli.terminal import log_to_stderr

        log_to_stderr()
        plugins.load("zspec.commands").add_commands(app)
    return app


def told(command: Callable[..., Any]) -> str:
    """A command's help: its docstring, a paragraph a line, so that any width of terminal wraps it.

    Examples, lines that begin with ``zspec``, stay lines of their own.
    """
    parts = []
    for paragraph in (introspection.getdoc(command) or "").split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        examples = all(line.startswith("zspec ") for line in lines)
        parts.append(("\n" if examples else " ").join(lines))
    return "\n\n".join(parts)


def _version(wanted: bool) -> None:
    """Print the version and stop, where that is wanted."""
    if wanted:
        from zspec.cli.terminal import print_version

        print_version()
        raise typer.Exit


def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, on stderr.")] = False,
) -> None:
    """Spectra in, redshift catalogue out."""
    from zspec.cli.terminal import log_to_stderr, warn_of_namesake

    log_to_stderr(verbose)
    warn_of_namesake()
