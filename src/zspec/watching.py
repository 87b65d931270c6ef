"""Which files of a folder are there as a whole, as they land.

A file is whole once its size and time stayed the same for a while and its FITS structure reaches to
its end. File systems of clusters tell nobody of new files, and so the folder is looked at again and
again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zspec import plugins, sources
from zspec.errors import InputError
from zspec.fits import open_fits
from zspec.work import stamp

log = logging.getLogger("zspec")


def files_of(folder: Path, survey: str | None) -> Callable[[], list[Path]]:
    """What gives the files of a folder that fit a survey's patterns; None: any survey's."""
    surveys = [plugins.survey(survey)] if survey else list(plugins.installed().values())
    return lambda: sources.matching(folder, surveys)


@dataclass
class Landing:
    """What lands in a folder."""

    find: Callable[[], list[Path]]
    """Gives the files that are there now."""
    settle: float
    """Seconds for which a file must not change."""
    now: Callable[[], float] = time.monotonic
    _steady: dict[Path, tuple[str, float]] = field(default_factory=dict)
    """What each file looked like, and since when."""
    _settled: dict[Path, str] = field(default_factory=dict)
    """What it looked like when it was given, or found not to be whole."""

    def whole(self) -> list[Path]:
        """Files that are whole and were not given since they changed last, in order."""
        return [path for path in self.find() if self._is_ready(path)]

    def _is_ready(self, path: Path) -> bool:
        state, now = stamp(path), self.now()
        if not state or self._settled.get(path) == state:
            return False
        known, since = self._steady.get(path, ("", now))
        if known != state:
            self._steady[path] = state, now
            since = now
        if now - since < self.settle:
            return False
        self._settled[path] = state
        return _reaches_its_end(path)


def _reaches_its_end(path: Path) -> bool:
    """Whether a file is FITS to its end; said once where it is not."""
    try:
        with open_fits(path):
            return True
    except InputError as error:
        log.warning("%s; left until it changes", error)
        return False
