"""``zspec predict``: from files to a redshift catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zspec.cli import completion
from zspec.cli.summary import show
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zspec.estimator import Want
    from zspec.remote import Place


def predict(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders of them, or URLs (extra remote).")
    ] = None,
    survey: Annotated[
        str | None,
        typer.Option(
            help="Adapter that reads them; left out, the one that recognises the file.",
            autocompletion=completion.surveys,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Catalogue to write (INPUT.zspec.fits where there is one input); with --watch, "
            "the folder of the catalogues.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model (see 'zspec models') or a .safetensors file; left out, the one "
            "made for --survey, else the default.",
            autocompletion=completion.models,
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
        bool, typer.Option("--bound", help="Add ZCRB, the Cramér-Rao bound of the fit.")
    ] = False,
    conformal: Annotated[
        float | None,
        typer.Option(help="Add ZLOW and ZHIGH, which hold the truth with this probability."),
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Redshifts of improbable classes too.")
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="zspec: fit only where its network sees a chance; no --zpdf."),
    ] = False,
    chunk: Annotated[int, typer.Option(min=1, help="Rows of an arithmetic chunk.")] = 64,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that read and predict, each with its threads.")
    ] = 1,
    readers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that read and resample ahead of the one with the model; left out, none "
            "for a CPU, and up to 4 for a GPU.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Dask workers: local:N, slurm, slurm:FILE.toml, tcp://HOST:PORT or a scheduler's "
            "JSON file."
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Memory for all processes, as 3GB: no more of them than fit into it."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="Folder whose files are predicted as they land, one catalogue each."),
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0, help="With --watch: seconds for which a file must not change.")
    ] = 5.0,
    idle: Annotated[
        float | None,
        typer.Option(min=0, help="With --watch: stop after so many seconds without a file."),
    ] = None,
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
        zspec predict night/ -o night.fits --workers 8 --resume
        zspec predict --watch night/ --survey desi
    """
    from zspec import sources
    from zspec.cli import session as sessions
    from zspec.cli import watch as watching
    from zspec.cli.terminal import log_as_json
    from zspec.workers import Loader

    if log_json:
        log_as_json()
    if watch is None:
        files = sources.gather(inputs or [], survey)
        path = checked_output(output, files, overwrite)
    else:
        watching.check(watch, inputs or [], output)
    want = wanted(zpdf, bound, conformal, all_classes, fast)
    name, where = named(model, survey, templates), placed(device, cluster)
    loader = Loader(name, templates, where, conformal, threads)
    given, limits = parse_options(option or []), parse_ranges(z_range or [])
    session = sessions.begin(survey, given, loader, want, limits, chunk, cluster is not None)
    engine = sessions.choose_engine(session, workers, readers, cluster, max_memory)
    if watch is not None:
        night = watching.Night(session, engine, output, overwrite, json)
        failed = watching.follow(night, watch, settle, idle)
    else:
        again = resume or retry_failed
        summary = session.make(path, files, engine, again, retry_failed, overwrite)
        show(summary, json)
        failed = len(summary["failures"])
    if failed:
        raise typer.Exit(1)


def named(model: str | None, survey: str | None, templates: Path | None) -> str:
    """The model that is asked for, or the survey's. Raises ConfigError beside ``templates``."""
    from zspec import checkpoint

    if model and templates:
        raise ConfigError(f"--model {model} does not go with --templates {templates}: give one")
    return model or checkpoint.default(None if templates else survey)


def placed(device: str, cluster: str | None) -> str:
    """The device of the arithmetic. Raises ConfigError where it is not there, or is not said."""
    from zspec.device import resolve

    if cluster is None:
        return resolve(device)
    if device == "auto":
        raise ConfigError(
            "--device auto: say cpu or cuda, which all workers of --cluster must have"
        )
    return device


def checked_output(output: Path | None, files: Sequence[Place], overwrite: bool) -> Path:
    """The catalogue to write; of a link, what it stands for. Raises OutputError and ConfigError."""
    from zspec import catalog

    path = output or default_output(files)
    path = path.resolve() if path.is_symlink() else path
    catalog.check_output(path, [str(file) for file in files], overwrite)
    return path


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


def wanted(
    zpdf: bool, bound: bool, level: float | None, classes: bool, fast: bool = False
) -> frozenset[Want]:
    """What is asked for beyond the usual tables.

    Raises ConfigError where ``level`` is no probability, and where two exclude each other.
    """
    if fast and zpdf:
        raise ConfigError("--zpdf needs every redshift, and --fast leaves most of them out")
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"--conformal {level:g}: expected a probability, as 0.9")
    want: set[Want] = set()
    if zpdf:
        want.add("zpdf")
    if bound:
        want.add("bound")
    if level is not None:
        want.add("interval")
    if classes:
        want.add("classes")
    if fast:
        want.add("fast")
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


def default_output(files: Sequence[Place]) -> Path:
    """``coadd.zspec.fits`` beside ``coadd.fits``, or here where that is a URL.

    Raises ConfigError for several inputs.
    """
    if len(files) > 1:
        raise ConfigError(f"{len(files)} files to read: name the catalogue with -o")
    name = files[0].name
    for ending in (".gz", ".fz", ".fits", ".fit"):
        name = name.removesuffix(ending)
    folder = files[0].parent if isinstance(files[0], Path) else Path()
    return folder / f"{name}.zspec.fits"


def set_threads(threads: int | None) -> None:
    """Set the number of threads, where one is asked for."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
