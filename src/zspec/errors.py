"""Errors that a user can cause: one line that says what, where, what was expected and what to do.

    ZspecError
    ├── InputError     a file that cannot be read as what it was said to be
    ├── ConfigError    an option, a recipe or a checkpoint that makes no sense
    ├── PluginError    a plugin that cannot be loaded, or two that clash
    └── OutputError    a result that cannot be written

The command line prints these as one line and exits with 2. Anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZspecError(Exception):
    """Base of all errors that are the user's to mend."""


class InputError(ZspecError):
    """A file is missing, damaged, or not of the kind it was taken for."""


class ConfigError(ZspecError):
    """An option, a recipe or a checkpoint holds something that zspec does not know."""


class PluginError(ZspecError):
    """A plugin failed to load, or two plugins offer the same name."""


class OutputError(ZspecError):
    """A result could not be written, or would replace something that is not ours."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that ``name`` is no known ``kind``, with the nearest name or else all of them.

    >>> unknown("option", "msk", ["mask", "bands"])
    "unknown option 'msk'; did you mean 'mask'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"unknown {kind} {name!r}; did you mean {near[0]!r}?"
    return f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}"
