"""``zspec predict --watch``: the files of a night as they land, one catalogue for each."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zspec.cli.session import Session
from zspec.errors import ConfigError, InputError, ZspecError

if TYPE_CHECKING:
    from zspec.engine import Engine

EVERY = 1.0
"""Seconds from one look at the folder to the next."""


@dataclass
class Night:
    """What is done with every file, and what became of them."""

    session: Session
    engine: Engine
    output: Path | None
    """Folder of the catalogues; None: beside the files."""
    overwrite: bool
    as_json: bool
    written: int = 0
    failed: set[Path] = field(default_factory=set)
    """Files that could not be read when they were tried last."""

    def take(self, path: Path) -> None:
        """Write the catalogue of a file, unless it is there already.

        Raises ZspecError where the next file would fare no better.
        """
        from zspec.cli.terminal import note
        from zspec.workers import WorkerKilled

        try:
            summary = self._make(path)
        except (InputError, WorkerKilled) as error:
            self.failed.add(path)
            note(str(error))
            return
        self.failed.discard(path)
        if summary is not None:
            self.written += 1
            tell(path, summary, self.as_json)

    def _make(self, path: Path) -> dict[str, Any] | None:
        """The summary of a new catalogue. Raises InputError where this file has none."""
        from zspec import catalog
        from zspec.cli.predict import default_output

        place = default_output([path])
        place = place if self.output is None else self.output / place.name
        with self.session.shards(place, [path]) as shards:
            try:
                catalog.check_output(place, [str(path)], self.overwrite)
                # what was begun otherwise, as by an older zspec, is of no use any more
                shards.begin(resume=True, retry=True, overwrite=True)
            except ZspecError as error:
                raise InputError(str(error)) from None
            return None if shards.is_whole else self.session.carry_out(shards, [path], self.engine)


def follow(night: Night, folder: Path, settle: float, idle: float | None) -> int:
    """Take files as they land, until Ctrl-C, SIGTERM or ``idle`` seconds without one.

    Returns how many could not be read.
    """
    from zspec.cli.terminal import note
    from zspec.watching import Landing, files_of

    landing, last = Landing(files_of(folder, night.session.survey), settle), time.monotonic()
    with stoppable(), night.engine:
        while idle is None or time.monotonic() - last < idle:
            for path in landing.whole():
                night.take(path)
                last = time.monotonic()
            time.sleep(EVERY)
    failed = len(night.failed)
    note(f"stopped; {night.written} catalogues written, {failed} files could not be read")
    return failed


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is within, and that is no error."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(path: Path, summary: dict[str, Any], as_json: bool) -> None:
    """One line of a file, on stdout."""
    from zspec.cli.terminal import say

    if as_json:
        sys.stdout.write(json.dumps({"file": str(path), **summary}, allow_nan=False) + "\n")
    else:
        say(
            f"{path}: {summary['catalogue']}, {summary['spectra']} spectra, "
            f"{summary['zwarn_0']} with ZWARN 0, {summary['seconds']:.1f} s"
        )
    sys.stdout.flush()


def check(folder: Path, inputs: Sequence[str], output: Path | None) -> None:
    """Raise InputError or ConfigError where there is no folder to look into, or to write to."""
    if inputs:
        raise ConfigError("--watch takes the files of its folder: leave the others out")
    if not folder.is_dir():
        raise InputError(f"--watch {folder}: no such folder")
    if output is not None and not output.is_dir():
        raise ConfigError(f"-o {output}: with --watch, a folder that exists is expected")
