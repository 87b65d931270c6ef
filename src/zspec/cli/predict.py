"""``zspec predict``: from files to a redshift catalogue."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zspec.cli.summary import Tally, show
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.estimator import Estimator, Want
    from zspec.prediction import Task
    from zspec.shards import Shards
    from zspec.sources import Source
    from zspec.workers import Loader


def predict(
    inputs: Annotated[
        list[Path], typer.Argument(help="Files, or folders of them.", readable=False)
    ],
    survey: Annotated[
        str | None,
        typer.Option(help="Adapter that reads them; left out, the one that recognises the file."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Catalogue to write (INPUT.zspec.fits where there is one input)."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model (see 'zspec models') or a .safetensors file; left out, the one "
            "made for --survey, else likelihood."
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="Folder of rrtemplate-*.fits (redrock's) to fit instead of a model's."),
    ] = None,
    z_range: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=LOW,HIGH: redshifts to search, as QSO=0.5,4; may be repeated."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--survey-option", "-S", help="key=value; see 'zspec surveys -v'."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of the arithmetic; more gain little.")
    ] = 1,
    zpdf: Annotated[bool, typer.Option("--zpdf", help="Write p(z) too, as HDU ZPDF.")] = False,
    bound: Annotated[
        bool, typer.Option("--bound", help="Add ZCRB, the Cramér-Rao bound of ZERR.")
    ] = False,
    conformal: Annotated[
        float | None,
        typer.Option(help="Add ZLOW and ZHIGH, which hold the truth with this probability."),
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Redshifts of improbable classes too.")
    ] = False,
    chunk: Annotated[int, typer.Option(min=1, help="Rows of an arithmetic chunk.")] = 64,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that read and predict, each with its threads.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run of this was stopped.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="The same, and try again what could not be read.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(help="Replace an output of other inputs, and drop an unfinished run's work."),
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log each unit of work on stderr, as lines of JSON.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write class, redshift, uncertainty and flags of every spectrum to one FITS catalogue.

    Finished work is kept beside the output until that is whole: after any stop the same command
    with --resume goes on from there.

    Exit status: 0 if every file was read; 1 if some were not, and the catalogue holds the others; 2
    if nothing was written.

        zspec predict --survey desi coadd.fits
        zspec predict spectra/*.fits -o zcat.fits -S mask=or
        zspec predict coadd.fits --templates redrock-templates --z-range QSO=0.5,4
    """
    from zspec import catalog, checkpoint, plugins, sources
    from zspec import device as devices
    from zspec import prediction as pipeline
    from zspec.cli.terminal import log_as_json
    from zspec.shards import Shards
    from zspec.survey import make_options
    from zspec.workers import Loader

    if log_json:
        log_as_json()
    files = sources.expand(inputs, survey)
    options = parse_options(option or [])
    if survey:
        make_options(plugins.survey(survey), options)  # a wrong option is said before any work
    path = output or default_output(files)
    names = [str(file) for file in files]
    catalog.check_output(path, names, overwrite)
    if conformal is not None and not 0 < conformal < 1:
        raise ConfigError(f"--conformal {conformal:g}: expected a probability, as 0.9")
    named = model or checkpoint.default(None if templates else survey)
    loader = Loader(named, templates, devices.resolve(device), conformal, threads)
    want = wanted(zpdf, bound, conformal is not None, all_classes)
    task = pipeline.Task(chunk, want, parse_ranges(z_range or []))
    estimator = loader.load()
    task.check(estimator)
    cards = pipeline.provenance(estimator, task, command_line(), names, options)
    given = [sources.Source(file, survey, options) for file in files]
    with Shards(path, names, cards, catalog.declared(estimator.extra)) as shards:
        shards.begin(resume or retry_failed, retry_failed, overwrite)
        summary = carry_out(shards, given, loader, estimator, task, workers)
    show(summary, json)
    if summary["failures"]:
        raise typer.Exit(1)


def carry_out(
    shards: Shards,
    inputs: list[Source],
    loader: Loader,
    estimator: Estimator,
    task: Task,
    workers: int,
) -> dict[str, Any]:
    """Predict what is left, write the catalogue, and return its summary."""
    from zspec import running
    from zspec.cli.terminal import note

    tally, started = Tally(), time.monotonic()
    before = sum(one.rows for one in shards.done.values())
    if before:
        note(f"{before} spectra of an earlier run are kept")
    try:
        with progress_bar(len(inputs)) as advance:
            run = running.Run(shards, inputs, loader, task, workers)
            seconds = running.carry_out(run, estimator, advance, tally.add)
    except KeyboardInterrupt:
        if shards.folder.exists():
            note(f"finished work is kept in {shards.folder}; go on with --resume")
        raise
    return tally.summary(
        str(shards.output),
        calibrated=estimator.calibrated,
        failures=run.failures,
        seconds=time.monotonic() - started,
        stages=seconds,
        kept=before,
    )


def parse_ranges(given: list[str]) -> dict[str, tuple[float, float]]:
    """``CLASS=LOW,HIGH`` texts as limits. Raises ConfigError for any other text."""
    limits = {}
    for text in given:
        name, _, ends = text.partition("=")
        try:
            low, high = (float(end) for end in ends.split(","))
        except ValueError:
            raise ConfigError(f"--z-range {text}: expected CLASS=LOW,HIGH, as QSO=0.5,4") from None
        if not -1 < low < high:
            raise ConfigError(f"--z-range {text}: LOW must be above -1 and below HIGH")
        limits[name.strip()] = (low, high)
    return limits


def wanted(zpdf: bool, bound: bool, interval: bool, classes: bool) -> frozenset[Want]:
    """What is asked for beyond the usual tables."""
    want: set[Want] = set()
    if zpdf:
        want.add("zpdf")
    if bound:
        want.add("bound")
    if interval:
        want.add("interval")
    if classes:
        want.add("classes")
    return frozenset(want)


def parse_options(given: list[str]) -> dict[str, Any]:
    """``key=value`` texts as a mapping. Raises ConfigError for any other text."""
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"-S {text}: expected key=value")
        options[key.strip()] = value
    return options


def default_output(files: list[Path]) -> Path:
    """``coadd.zspec.fits`` beside ``coadd.fits``. Raises ConfigError for several inputs."""
    if len(files) > 1:
        raise ConfigError(f"{len(files)} files to read: name the catalogue with -o")
    name = files[0].name
    for ending in (".gz", ".fz", ".fits", ".fit"):
        name = name.removesuffix(ending)
    return files[0].with_name(f"{name}.zspec.fits")


def set_threads(threads: int | None) -> None:
    """Set the number of threads, where one is asked for."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def command_line() -> str:
    """What was typed; a long list of arguments is cut in its middle."""
    words = ["zspec", *sys.argv[1:]]
    if len(words) > 40:
        words = [*words[:20], f"... ({len(words) - 40} more)", *words[-20:]]
    return " ".join(words)


class progress_bar:
    """Files and spectra done, with rate and time left, on stderr where that is a terminal."""

    def __init__(self, files: int) -> None:
        from rich import progress

        from zspec.cli.terminal import stderr

        self._bar = progress.Progress(
            progress.TextColumn("{task.fields[files]}/{task.total:.0f} files"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[rows]} spectra, {task.fields[rate]:.1f}/s"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
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
