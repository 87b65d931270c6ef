"""What all catalogues of one command have in common, and how each of them is made."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zspec.cli.progress import progress_bar
from zspec.cli.summary import Tally
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zspec.engine import Engine
    from zspec.estimator import Estimator, Want
    from zspec.prediction import Task
    from zspec.remote import Place
    from zspec.shards import Shards
    from zspec.workers import Loader


@dataclass(frozen=True)
class Session:
    """A model, what is asked of it, and of which survey's files."""

    survey: str | None
    options: Mapping[str, Any]
    loader: Loader
    estimator: Estimator
    task: Task
    command: str

    def shards(self, output: Path, files: Sequence[Place]) -> Shards:
        """Where the finished work of one catalogue is kept."""
        from zspec import catalog, prediction, shards

        names = [str(file) for file in files]
        cards = prediction.provenance(
            self.estimator, self.task, self.command, names, self.options, self.survey
        )
        cards["DEVICE"] = (self.loader.device, cards["DEVICE"][1])  # where workers are elsewhere
        return shards.Shards(output, names, cards, catalog.declared(self.estimator.extra))

    def make(
        self,
        output: Path,
        files: Sequence[Place],
        engine: Engine,
        resume: bool,
        retry: bool,
        overwrite: bool,
    ) -> dict[str, Any]:
        """Write the catalogue of some files, with what an earlier run left; returns its summary."""
        with self.shards(output, files) as shards:
            shards.begin(resume, retry, overwrite)
            with contextlib.ExitStack() as stack:
                if not shards.is_whole:
                    stack.enter_context(engine)
                return self.carry_out(shards, files, engine)

    def carry_out(self, shards: Shards, files: Sequence[Place], engine: Engine) -> dict[str, Any]:
        """Predict what is left, write the catalogue, and return its summary."""
        from zspec import running
        from zspec.cli.terminal import note
        from zspec.sources import Source

        tally, started = Tally(), time.monotonic()
        before = sum(one.rows for one in shards.done.values())
        if before:
            note(f"{before} spectra of an earlier run are kept")
        inputs = [Source(file, self.survey, self.options) for file in files]
        run = running.Run(shards, inputs, self.task, engine)
        try:
            with progress_bar(len(inputs)) as advance:
                seconds = running.carry_out(run, advance, tally.add)
        except KeyboardInterrupt:
            if shards.folder.exists():
                note(f"finished work is kept in {shards.folder}; go on with --resume")
            raise
        return tally.summary(
            str(shards.output),
            calibrated=self.estimator.calibrated,
            failures=run.failures,
            seconds=time.monotonic() - started,
            stages=seconds,
            kept=before,
        )


def begin(
    survey: str | None,
    options: Mapping[str, Any],
    loader: Loader,
    want: frozenset[Want],
    z_range: Mapping[str, tuple[float, float]],
    chunk: int,
    elsewhere: bool = False,
) -> Session:
    """Load the model, and check what is asked of it and of the survey before any work.

    ``elsewhere``: the device is one of other machines. Raises ConfigError and PluginError.
    """
    from zspec import plugins, prediction
    from zspec.survey import make_options

    if survey:
        reader = plugins.survey(survey)
        make_options(reader, options)
        survey = reader.name  # it may be spelt in any case
    estimator = (replace(loader, device="cpu") if elsewhere else loader).load()
    task = prediction.Task(chunk, want, z_range)
    task.check(estimator)
    return Session(survey, options, loader, estimator, task, command_line())


def command_line() -> str:
    """What was typed; a long list of arguments is cut in its middle."""
    words = ["zspec", *sys.argv[1:]]
    if len(words) > 40:
        words = [*words[:20], f"... ({len(words) - 40} more)", *words[-20:]]
    return " ".join(words)


def choose_engine(
    session: Session,
    workers: int,
    readers: int | None,
    cluster: str | None,
    max_memory: str | None,
) -> Engine:
    """What carries the work out; ``readers`` is None where the device decides.

    Raises ConfigError where two are asked for, and for a limit that nothing would keep to.
    """
    from zspec import memory
    from zspec.cluster import Cluster, Job
    from zspec.engine import Here
    from zspec.readers import ReadAhead, fitting
    from zspec.workers import Pool

    limit = None if max_memory is None else memory.parse(max_memory)
    _check_one(workers, readers, cluster)
    if cluster is not None:
        job = Job(session.loader, session.task, session.estimator.sha256)
        return Cluster(cluster, job, limit)
    if workers > 1:
        return Pool(session.loader, session.task, workers, limit)
    ahead = fitting(session.loader.device) if readers is None else readers
    if ahead:
        return ReadAhead(session.estimator, session.task, ahead, limit)
    if limit is not None:
        raise ConfigError(
            "--max-memory limits --workers, --readers or --cluster local:N: give one of them"
        )
    return Here(session.estimator, session.task)


def _check_one(workers: int, readers: int | None, cluster: str | None) -> None:
    """Raise ConfigError where two engines are asked for."""
    given = {
        "--workers": workers > 1,
        "--cluster": cluster is not None,
        "--readers": bool(readers),
    }
    first, *more = [option for option, is_given in given.items() if is_given] or [""]
    if more:
        raise ConfigError(f"{first} and {more[0]} are two engines: give one of them")
