"""Where the real spectra lie that tests may use.

``ZSPEC_SHARED`` names a folder with ``data`` in it; where that is set, missing data fail a test.
Otherwise a folder ``shared`` is looked for in the working folder and above it, beside the checkout;
where that is missing, tests that need it are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

VARIABLE = "ZSPEC_SHARED"


def find() -> Path | None:
    """The data folder, or None. Where ``ZSPEC_SHARED`` is set, nothing else is tried."""
    given = os.environ.get(VARIABLE)
    here = Path.cwd()
    places = [Path(given)] if given else [p / "shared" for p in (here, *here.parents)]
    return next((place / "data" for place in places if (place / "data").is_dir()), None)


def shared(relative: str = ".") -> Path:
    """A path in the data folder. Missing: fails where ``ZSPEC_SHARED`` is set, else skips."""
    folder = find()
    if folder is not None and (folder / relative).exists():
        return folder / relative
    given = os.environ.get(VARIABLE)
    if given:
        pytest.fail(f"{VARIABLE}={given}, but there is no data/{relative} in it")
    pytest.skip(f"no data: shared/data/{relative} was not found, and {VARIABLE} is not set")


def expand(patterns: Iterable[str]) -> list[str]:
    """Files of the data folder that match shell patterns; a pattern without any stays as it is.

    It stays so that a test says what it misses, rather than vanish.
    """
    folder = find()
    names: list[str] = []
    for pattern in patterns:
        found = sorted(folder.glob(pattern)) if folder else []
        names += [str(p.relative_to(folder)) for p in found if folder] or [pattern]
    return names
