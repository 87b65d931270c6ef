"""The empty figures of the page, which its code fills: Bokeh's document, and Bokeh's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zspec.report.style import COLOURS

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

TOOLS = "xwheel_zoom,xpan,box_zoom,ywheel_zoom,reset,save"
FLUX, ERROR, RAW = "#262626", COLOURS[5], "#c4c4c4"


def library() -> str:
    """Script element with all of Bokeh's code that the figures need."""
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"]).render_js())


def figures() -> dict[str, Any]:
    """A document with figures ``spectrum`` and ``redshift``, as ``Bokeh.embed.embed_item`` reads.

    Their sources have the names ``raw``, ``flux``, ``error``, ``model``, ``lines``, ``labels``,
    ``zpdf``, ``candidates`` and ``here``.
    """
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.layouts import column

    made = column(_spectrum(), _redshift(), sizing_mode="stretch_both", name="figures")
    return dict(json_item(made, ID("figures")))


def _source(name: str, columns: str) -> Any:
    """Empty columns, whose names stand between blanks."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({column: [] for column in columns.split()}, name=name)


def _spectrum() -> Figure:
    """Flux over wavelength."""
    from bokeh.models import Range1d
    from bokeh.plotting import figure

    made = figure(
        name="spectrum",
        tools=TOOLS,
        active_scroll="xwheel_zoom",
        active_drag="box_zoom",
        sizing_mode="stretch_both",
        x_range=Range1d(start=3600, end=9800),
        y_range=Range1d(start=0, end=1),
        x_axis_label="wavelength [Å, vacuum, observed]",
        y_axis_label="flux [1e-17 erg/s/cm²/Å]",
    )
    made.line("x", "y", source=_source("raw", "x y"), color=RAW, line_width=0.6)
    made.line("x", "y", source=_source("error", "x y"), color=ERROR, line_width=0.8)
    made.line("x", "y", source=_source("flux", "x y"), color=FLUX, line_width=1)
    made.line("x", "y", source=_source("model", "x y"), color=COLOURS[1], line_width=1.6)
    _lines(made)
    made.toolbar.logo = None
    made.xgrid.visible = made.ygrid.visible = False
    return made


def _lines(made: Figure) -> None:
    """Vertical lines over the whole height, with names at their tops."""
    from bokeh.models import Text

    spans = _source("lines", "x color")
    made.vspan(x="x", color="color", source=spans, line_alpha=0.55, line_width=1)
    names = Text(
        x="x",
        y="y",
        text="name",
        angle=1.5708,
        text_color="color",
        text_align="right",
        text_baseline="middle",
        text_font_size="11px",
        background_fill_color="white",
        background_fill_alpha=0.75,
    )
    made.add_glyph(_source("labels", "x y name color"), names)


def _redshift() -> Figure:
    """Probability over redshift, in ln(1 + z), with what the slider says."""
    from bokeh.models import FixedTicker, Range1d
    from bokeh.plotting import figure

    made = figure(
        name="redshift",
        tools="tap",
        toolbar_location=None,
        height=110,
        sizing_mode="stretch_width",
        x_range=Range1d(start=0, end=2),
        y_range=Range1d(start=-5, end=0.3),
        y_axis_label="log p",
    )
    made.varea("x", "low", "y", source=_source("zpdf", "x low y"), color="#666666")
    made.scatter(
        "x",
        "y",
        source=_source("candidates", "x y"),
        marker="inverted_triangle",
        size=9,
        color=COLOURS[0],
    )
    made.vspan(x="x", source=_source("here", "x"), color=COLOURS[1], line_width=1.5)
    ticks = {0: "0", 0.2: "0.2", 0.5: "0.5", 1: "1", 1.5: "1.5", 2: "2", 3: "3", 4: "4", 5: "5"}
    made.xaxis.ticker = FixedTicker(ticks=[_u(z) for z in ticks])
    made.xaxis.major_label_overrides = {_u(z): text for z, text in ticks.items()}
    made.ygrid.visible = made.xgrid.visible = False
    return made


def _u(z: float) -> float:
    """ln(1 + z) as the slider's axis has it."""
    from math import log1p

    return round(log1p(z), 6)
