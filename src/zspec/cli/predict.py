"""``zspec predict``: from files to a redshift catalogue."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.catalog import Catalog
    from zspec.estimator import Estimator, Want


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
    overwrite: Annotated[
        bool, typer.Option(help="Replace an existing output of other inputs.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write class, redshift, uncertainty and flags of every spectrum to one FITS catalogue.

    Exit status: 0 if every file was read; 1 if some were not, and the catalogue holds the others; 2
    if nothing was written.

        zspec predict --survey desi coadd.fits
        zspec predict spectra/*.fits -o zcat.fits -S mask=or
        zspec predict coadd.fits --templates redrock-templates --z-range QSO=0.5,4
    """
    from zspec import catalog, checkpoint, plugins, sources
    from zspec import device as devices
    from zspec import prediction as pipeline
    from zspec.cli.summary import show, summarise
    from zspec.cli.terminal import note
    from zspec.survey import make_options

    files = sources.expand(inputs, survey)
    options = parse_options(option or [])
    if survey:
        make_options(plugins.survey(survey), options)  # a wrong option is said before any work
    path = output or default_output(files)
    names = [str(file) for file in files]
    catalog.check_output(path, names, overwrite)
    set_threads(threads)
    where = devices.resolve(device)
    limits = parse_ranges(z_range or [])
    named = model or checkpoint.default(None if templates else survey)
    estimator = load_estimator(named, templates, where)
    if conformal is not None:
        if not 0 < conformal < 1:
            raise ConfigError(f"--conformal {conformal:g}: expected a probability, as 0.9")
        estimator.level = conformal
    cards = pipeline.provenance(estimator, chunk, command_line(), names, options)

    def keep(partial: Catalog) -> None:
        kept = path.with_name(f"{path.name.removesuffix('.fits')}.partial.fits")
        partial.header.update(cards | {"PARTIAL": (True, "interrupted"), "NINPUTS": len(files)})
        catalog.write(partial, kept)
        note(f"kept what was finished: {kept}")

    started = time.monotonic()
    with progress_bar(len(files)) as advance:
        made = pipeline.predict(
            [sources.Source(file, survey, options) for file in files],
            estimator,
            chunk,
            advance,
            keep,
            wanted(zpdf, bound, conformal is not None, all_classes),
            limits,
        )
    made.header.update(cards)
    catalog.write(made, path)
    show(summarise(made, str(path), time.monotonic() - started), json)
    if made.failures:
        raise typer.Exit(1)


def load_estimator(model: str, templates: Path | None, device: str) -> Estimator:
    """The model, or the fit of a folder of templates. Raises ConfigError for both at once."""
    from zspec import checkpoint

    if templates is None:
        return checkpoint.load_estimator(model, device)
    if model != "likelihood":
        raise ConfigError(f"--templates are fitted by likelihood: they do not go with {model}")
    from zspec.estimators.likelihood import Likelihood

    return Likelihood.of_templates(templates, device)


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
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} files"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[rows]} spectra"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        )
        self._task = self._bar.add_task("", total=files, rows=0)
        self._seen: dict[str, int] = {}

    def __enter__(self) -> progress_bar:
        self._bar.start()
        return self

    def __call__(self, report: Any) -> None:
        """Take a Report of the pipeline."""
        self._seen[report.file] = report.rows
        rows = sum(self._seen.values())
        self._bar.update(self._task, completed=report.files_done, rows=rows)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
