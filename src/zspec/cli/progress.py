"""What a run shows on stderr while it is at work, where that is a terminal."""

from __future__ import annotations

import time
from typing import Any


class progress_bar:
    """Files and spectra done, with rate and time left."""

    def __init__(self, files: int) -> None:
        from rich import progress

        from zspec.cli.terminal import interactive, stderr

        self._bar = progress.Progress(
            progress.TextColumn("{task.fields[files]}/{task.total:.0f} files"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[rows]} spectra, {task.fields[rate]:.1f}/s"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not interactive(),
        )
        self._task = self._bar.add_task("", total=files, files=0, rows=0, rate=0.0)
        self._rows = 0
        self._started = time.monotonic()

    def __enter__(self) -> progress_bar:
        self._bar.start()
        return self

    def __call__(self, report: Any) -> None:
        """Take a Report of the pipeline."""
        self._rows += report.rows
        rate = self._rows / max(time.monotonic() - self._started, 1e-3)
        self._bar.update(
            self._task, completed=report.done, files=int(report.done), rows=self._rows, rate=rate
        )

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
