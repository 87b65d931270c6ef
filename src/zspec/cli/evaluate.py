"""``zspec evaluate``: metrics of a catalogue, of several side by side, or of spectra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zspec.cli import completion, terminal
from zspec.cli.against import Against, spread
from zspec.cli.predict import parse_options, set_threads
from zspec.cli.progress import progress_bar
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.evaluation.frame import Frame
    from zspec.evaluation.groups import Grouping
    from zspec.evaluation.measure import Settings
    from zspec.evaluation.sample import Choice, Columns, Sample


@spread
def evaluate(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Catalogues, or spectra with --survey or --model; else the newest catalogue."
        ),
    ] = None,
    *,
    against: Against,
    metrics: Annotated[
        str,
        typer.Option(
            help="Names, as nmad,gf, or all; else a few.", autocompletion=completion.metrics
        ),
    ] = "",
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="class, snr, z, mag, robust or any column; A,B crosses; may be repeated."
        ),
    ] = None,
    bins: Annotated[
        list[str] | None, typer.Option(help="Edges, as snr=0,5,20 or snr=0:50:14 (14 bins).")
    ] = None,
    survey: Annotated[
        str | None,
        typer.Option(help="Predict first: adapter of spectra.", autocompletion=completion.surveys),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Predict first: model or .safetensors; else the default.",
            autocompletion=completion.models,
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--survey-option", "-S", help="key=value of the adapter.")
    ] = None,
    device: Annotated[str, typer.Option(help="To predict on: auto, cpu, cuda or mps.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to predict with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare redshifts and classes with the truth; each figure with its interval and definition.

    Exit status: 0; 1 if some files of spectra could not be read, and the others were evaluated.

        zspec evaluate
        zspec evaluate zcat.fits --truth truth.fits --metrics nmad,gf --by class,snr
        zspec evaluate a.fits b.fits --truth truth.fits --metrics all
        zspec evaluate spectra/*.fits --survey sdss --model likelihood
    """
    from zspec.cli.scores import show
    from zspec.evaluation import groups
    from zspec.metrics import choose

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    request = Request(
        against.settings(choose(names)),
        [[name.strip() for name in text.split(",")] for text in by or []],
        groups.parse_bins(bins or []),
    )
    columns, chosen = against.columns(), against.choice()
    complete = True
    if survey is None and model is None:
        frames = catalogues(inputs or [])
    else:
        set_threads(threads)
        frame, complete = predicted(inputs or [], survey, model, option or [], device)
        frames = [frame]
    show(document(frames, against.frame(), columns, chosen, request), json)
    if not complete:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Request:
    """What is asked of the samples."""

    settings: Settings
    by: list[list[str]]
    bins: dict[str, list[float]]

    def groupings(self, sample: Sample) -> list[Grouping]:
        """The groups of each ``--by``."""
        from zspec.evaluation.groups import group

        return [group(sample, names, self.bins) for names in self.by]


def document(
    frames: list[Frame],
    truth: Frame | None,
    columns: Columns,
    choice: Choice,
    request: Request,
) -> dict[str, Any]:
    """The result for one catalogue, or for several side by side."""
    from zspec.evaluation import document as make
    from zspec.evaluation.compare import align
    from zspec.evaluation.sample import assemble

    against = {"truth": truth.name if truth else None}
    if len(frames) == 1:
        sample = assemble(frames[0], truth, columns, choice)
        groupings = request.groupings(sample)
        return against | make.document(frames[0].name, sample, request.settings, groupings)
    samples = align(frames, truth, columns, choice)
    names = [frame.name for frame in frames]
    groupings = request.groupings(samples[0])
    return against | make.comparison(names, samples, request.settings, groupings)


def catalogues(paths: list[Path], folder: Path = Path()) -> list[Frame]:
    """The named catalogues, or the newest of a folder, which is said on stderr."""
    from zspec.evaluation.frame import open_frame
    from zspec.evaluation.inputs import newest

    if not paths:
        paths = [newest(folder)]
        aside(f"the newest catalogue here: {paths[0]}")
    return [open_frame(path) for path in paths]


def aside(text: str) -> None:
    """One line that is no result."""
    terminal.stderr.print(terminal.clean(text), markup=False)


def predicted(
    inputs: list[Path], survey: str | None, model: str | None, option: list[str], device: str
) -> tuple[Frame, bool]:
    """Predict spectra as ``zspec predict`` does, and keep the catalogue in memory.

    Also whether all files could be read.
    """
    from zspec import checkpoint, sources
    from zspec import device as devices
    from zspec import prediction as pipeline
    from zspec.evaluation.frame import from_table

    if not inputs:
        raise ConfigError("--survey and --model predict first: name files of spectra")
    files = sources.expand(inputs, survey)
    named = [sources.Source(file, survey, parse_options(option)) for file in files]
    name = model or checkpoint.default(survey)
    estimator = checkpoint.load_estimator(name, devices.resolve(device))
    with progress_bar(len(files)) as advance:
        made = pipeline.predict(named, estimator, progress=advance)
    for _, error in made.failures:
        aside(f"could not be read: {error}")
    frame = from_table(f"prediction of {name} for {len(files)} files", made.redshifts)
    return frame, not made.failures
