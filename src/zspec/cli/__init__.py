"""The command line. Importing this imports no torch, no astropy and no numpy."""

from __future__ import annotations

import sys

from zspec.errors import ZspecError

INTERRUPTED = 130
"""What typer exits with at Ctrl-C, without a word."""


def main() -> None:
    """Run ``zspec``: a user's mistake is one line and exit 2, a bug keeps its traceback."""
    from zspec.cli.app import build

    try:
        build()()
    except ZspecError as error:
        from zspec.cli.terminal import clean

        print(f"zspec: error: {clean(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("zspec: interrupted", file=sys.stderr)  # noqa: T201
        raise
