"""What goes to the terminal: results to stdout, progress and log to stderr.

Progress and notes keep quiet where stderr is no terminal; warnings do not. Text from files is
stripped of control characters, and never read as markup.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    r"""``text`` without control characters, so that no file can drive a terminal.

    >>> clean("a\x1b[31mb")
    'a[31mb'
    """
    return CONTROL.sub("", text)


def interactive() -> bool:
    """Whether someone watches stderr: a terminal, and not what only asks for its colours.

    rich takes FORCE_COLOR, which notebooks set, for a terminal, and would print each state of a
    progress bar there.
    """
    return sys.stderr.isatty()


class StderrHandler(logging.Handler):
    """Warnings always; anything less where stderr is a terminal, or where it was asked for."""

    def __init__(self, verbose: bool = False) -> None:
        """``verbose``: print everything."""
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if record.levelno < logging.WARNING and not (interactive() or self._verbose):
            return
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        stderr.print(Text(prefix + clean(self.format(record))))


def log_to_stderr(verbose: bool = False) -> None:
    """Send the library's log to stderr."""
    logger = logging.getLogger("zspec")
    logger.handlers[:] = [StderrHandler(verbose)]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class JsonHandler(logging.Handler):
    """Every record as one line of JSON, terminal or not."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": when,
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "message": clean(self.format(record)),
            **getattr(record, "facts", {}),
        }
        sys.stderr.write(json.dumps(line, allow_nan=False) + "\n")
        sys.stderr.flush()


def log_as_json() -> None:
    """Send all of the library's log to stderr as lines of JSON."""
    logger = logging.getLogger("zspec")
    logger.handlers[:] = [JsonHandler()]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def say(text: str) -> None:
    """One line of a result."""
    stdout.print(Text(clean(text)))


def note(text: str) -> None:
    """One line on stderr that must not be missed."""
    stderr.print(Text(clean(text)))


def say_json(value: Any) -> None:
    """A result for a script."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def grid(*columns: str, title: str | None = None) -> Table:
    """An empty table in the house's style; names that start with # are numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        right = column.startswith("#")
        table.add_column(column.lstrip("#"), justify="right" if right else "left", no_wrap=right)
    return table


def row(table: Table, *cells: object, style: str | None = None) -> None:
    """Add a row of plain text to a table."""
    table.add_row(*[Text(clean(str(cell))) for cell in cells], style=style)


def print_version() -> None:
    """The version of the distribution."""
    say(f"zspec {version('zspec-redshift')}")


def warn_of_namesake() -> None:
    """Say so where the unrelated package that is called zspec is installed over this one."""
    try:
        other = version("zspec")
    except PackageNotFoundError:
        return
    logging.getLogger("zspec").warning(
        "the unrelated package zspec %s is installed beside zspec-redshift and may replace its "
        "files; pip uninstall zspec, then install zspec-redshift again",
        other,
    )
