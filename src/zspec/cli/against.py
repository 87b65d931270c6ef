"""How a catalogue is held against the truth: what ``zspec evaluate`` and ``report`` share."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from zspec.errors import ConfigError

if TYPE_CHECKING:
    from zspec.evaluation.frame import Frame
    from zspec.evaluation.measure import Settings
    from zspec.evaluation.sample import Choice, Columns


Truth = Annotated[
    Path | None,
    typer.Option(help="File with the truth, of any common shape; else what the catalogue carries."),
]
Match = Annotated[
    str | None,
    typer.Option(
        help="Columns to match on, as A,B=C; or row; else an id: FILE, ROW; TARGETID; fibre."
    ),
]
TruthAll = Annotated[
    bool,
    typer.Option("--truth-all", help="Also truths that their own pipeline's ZWARN doubts."),
]
Zerr = Annotated[str | None, typer.Option(help="Column of its 1 sigma.")]
Ztrue = Annotated[str | None, typer.Option(help="Column of the true redshift.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against:
    """The truth, the columns, which rows count, and how intervals are found."""

    truth: Truth = None
    thr: Annotated[
        list[str] | None,
        typer.Option("--thr", help="METRIC=NUMBER or METRIC:CLASS=NUMBER; may be repeated."),
    ] = None
    truth_all: TruthAll = False
    match: Match = None
    z: Annotated[str | None, typer.Option("--z", help="Column of the redshift.")] = None
    zerr: Zerr = None
    ztrue: Ztrue = None
    class_: Annotated[str | None, typer.Option("--class", help="Column of the class.")] = None
    class_true: Annotated[str | None, typer.Option(help="Column of the true class.")] = None
    snr: Annotated[str | None, typer.Option(help="Column of the signal-to-noise ratio.")] = None
    mag: Annotated[str | None, typer.Option(help="Column of the magnitude.")] = None
    object_: Annotated[
        str | None,
        typer.Option("--object", help="Rows with equal values are one object of the bootstrap."),
    ] = None
    good: Annotated[bool, typer.Option("--good", help="Only rows with ZWARN 0.")] = False
    coarse: Annotated[
        Path | None, typer.Option(help='TOML whose table "coarse" lists the classes that are one.')
    ] = None
    robust: Annotated[
        str | None,
        typer.Option(help="Limit of sigma, or CLASS=LIMIT,...; above it a redshift is unstable."),
    ] = None
    given_class: Annotated[
        bool,
        typer.Option(
            "--given-class",
            help="Redshifts of the true class, from HDU CLASSPROB (--z, --zerr too); no classes.",
        ),
    ] = False
    interval: Annotated[
        float, typer.Option(min=1, max=99.9, help="Per cent of the bootstrap intervals.")
    ] = 68.0
    replicates: Annotated[int, typer.Option(min=50, help="Replicates of the bootstrap.")] = 1000
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0

    def columns(self) -> Columns:
        """What the user calls the columns."""
        from zspec.evaluation.sample import Columns

        return Columns(
            z=self.z,
            sigma=self.zerr,
            z_true=self.ztrue,
            label=self.class_,
            label_true=self.class_true,
            snr=self.snr,
            mag=self.mag,
            object=self.object_,
        )

    def choice(self) -> Choice:
        """Which rows count, and as what. Raises ConfigError."""
        from zspec.evaluation.inputs import parse_robust, read_coarse
        from zspec.evaluation.sample import Choice

        if self.good and self.given_class:
            raise ConfigError("--good goes by the chosen class; leave it out with --given-class")
        coarser, robust = read_coarse(self.coarse) if self.coarse else {}, parse_robust(self.robust)
        return Choice(self.match, self.good, coarser, robust, self.truth_all, self.given_class)

    def settings(self, metrics: list[Any]) -> Settings:
        """What is computed of them, and how intervals are found. Raises ConfigError."""
        from zspec.evaluation.measure import Bootstrap, Settings
        from zspec.metrics import parse_thresholds

        bootstrap = Bootstrap(self.replicates, self.interval / 100, self.seed)
        return Settings(metrics, parse_thresholds(self.thr or []), bootstrap)

    def frame(self) -> Frame | None:
        """The truth's table, if one is named."""
        return truth_frame(self.truth)


def truth_frame(path: Path | None) -> Frame | None:
    """The truth's table, if one is named."""
    from zspec.evaluation.frame import open_frame

    return open_frame(path) if path else None


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for every field of :class:`Against` in place of ``against``.

    The command line and the reference are made of a function's signature, which is put together
    here: no option is written down twice.
    """
    shared, shown = _parameters(Against), _parameters(command)
    at = [one.name for one in shown].index("against")
    shown[at : at + 1] = shared

    def run(**given: Any) -> None:
        against = Against(**{one.name: given.pop(one.name) for one in shared})
        command(**given, against=against)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {one.name: one.annotation for one in shown}
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return run


def _parameters(source: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters by keyword, with what their annotations mean."""
    hints = get_type_hints(source, include_extras=True)
    return [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name])
        for one in inspect.signature(source).parameters.values()
    ]
