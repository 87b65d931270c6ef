"""``zspec simulate``: mock spectra of a survey, and their truth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zspec.cli import completion
from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.survey import Survey


def simulate(
    survey: Annotated[
        str,
        typer.Option(
            help="Whose telescope, files and population.", autocompletion=completion.surveys
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all files.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Spectra to make.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same one gives the same spectra.")] = 1,
    population: Annotated[
        Path | None, typer.Option(help="TOML file of classes, redshifts and magnitudes.")
    ] = None,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="All classes alike, uniform in redshift and magnitude."),
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the instrument, as artefacts.blank=0.1; repeatable."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Sources to draw from: train, valid or test (default all).")
    ] = None,
    per_file: Annotated[
        int | None, typer.Option(min=1, help="Spectra in a file (default: the survey's own).")
    ] = None,
    image: Annotated[
        bool, typer.Option("--image", help="Write two-dimensional images, where there are any.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or mps; other numbers on each kind.")
    ] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the arithmetic.")] = 1,
) -> None:
    """Write mock spectra in the survey's own layout, and truth.fits beside them.

    What is written is read by 'zspec predict' and judged by 'zspec evaluate --truth'. Spectrum i
    depends on the seed and i alone.

        zspec simulate --survey desi -n 2000 --seed 7 -o mocks
        zspec simulate --survey sdss -n 500 -o bad --set artefacts.blank=0.2
    """
    from zspec import device as devices
    from zspec import plugins
    from zspec.cli.predict import set_threads
    from zspec.cli.session import command_line
    from zspec.cli.terminal import say
    from zspec.simulate.files import write_mocks
    from zspec.simulate.simulator import simulator

    set_threads(threads)
    settings = parse_settings(setting or [])
    if image:
        settings |= ask_images(plugins.survey(survey))
    source = simulator(
        plugins.survey(survey),
        seed,
        population=population,
        settings=settings,
        flat=flat,
        split=split,
        device=devices.resolve(device),
    )
    started = time.monotonic()
    cards = provenance(survey, seed, settings, command_line())
    with progress(number) as advance:
        written = write_mocks(source, number, output, per_file, cards, advance, image)
    seconds = time.monotonic() - started
    say(f"spectra  {number} of {survey}, seed {seed}, in {len(written) - 1} files in {output}")
    say(f"truth    {written[-1]}")
    say(f"rate     {number / seconds:.0f} spectra/s")


def ask_images(survey: Survey) -> dict[str, str]:
    """The setting of an instrument with images. Raises ConfigError for any other survey's."""
    from zspec.simulate.instrument import kind_of

    if survey.simulation is not None and kind_of(survey.simulation / "instrument.toml") == "fibre":
        raise ConfigError(f"--image: survey {survey.name} has fibres; slitless surveys have images")
    return {"images": "true"}


def parse_settings(given: list[str]) -> dict[str, str]:
    """``key=value`` texts as a mapping. Raises ConfigError for any other text."""
    settings = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text}: expected key=value")
        settings[key.strip()] = value.strip()
    return settings


def provenance(survey: str, seed: int, settings: dict[str, str], command: str) -> dict[str, object]:
    """Header cards that say how to make the same again."""
    from importlib.metadata import version

    cards: dict[str, object] = {
        "ORIGIN": "zspec simulate",
        "ZSPECVER": version("zspec-redshift"),
        "TORCHVER": version("torch"),
        "SURVEY": survey,
        "SEED": seed,
        "COMMAND": command,
    }
    return cards | {f"SET{i}": f"{k}={v}" for i, (k, v) in enumerate(settings.items())}


class progress:
    """Spectra done, with rate and time left, on stderr where that is a terminal."""

    def __init__(self, total: int) -> None:
        from rich import progress as bars

        from zspec.cli.terminal import interactive, stderr

        self._bar = bars.Progress(
            bars.TextColumn("{task.completed:.0f}/{task.total:.0f} spectra"),
            bars.BarColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not interactive(),
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> progress:
        self._bar.start()
        return self

    def __call__(self, rows: int) -> None:
        """Count some more."""
        self._bar.advance(self._task, rows)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
