"""One HTML page with its images inside. Every string that comes from a file is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from zspec.metrics import say_threshold

GENERATOR = '<meta name="generator" content="zspec">'
"""By which a page of ours is known."""

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #111; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr:nth-child(even) td { background: #f5f5f5; }
figure { margin: 0; break-inside: avoid; } figure img { max-width: 100%; }
figcaption, .small { color: #444; font-size: 0.9rem; }
"""


@dataclass(frozen=True)
class Picture:
    """A plot that was drawn."""

    name: str
    title: str
    caption: str
    png: bytes


def page(
    title: str,
    document: Mapping[str, Any],
    pictures: Sequence[Picture],
    left_out: Sequence[tuple[str, str]],
) -> str:
    """HTML of a report; ``left_out``: (title, reason) of each plot that could not be drawn."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(document),
        "<h2>Metrics</h2>",
        _metrics(document),
        *map(_figure, pictures),
    ]
    if left_out:
        items = "".join(f"<li>{escape(t)}: {escape(why)}</li>" for t, why in left_out)
        parts.append(f"<h2>Left out</h2><ul>{items}</ul>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{GENERATOR}<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title>"
        f"<style>{CSS}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _facts(document: Mapping[str, Any]) -> str:
    """What was evaluated: files, columns, rows, intervals."""
    how = document["bootstrap"]
    columns = ", ".join(f"{role} {name}" for role, name in document["columns"].items())
    rows = [
        ("catalogue", document["catalogue"]),
        ("truth", document["truth"] or "what the catalogue carries"),
        ("columns", columns),
        *(("rows", note) for note in document["notes"]),
        (
            "rows",
            f"{document['rows']} evaluated, of {document['objects']} objects; without an answer: "
            f"{document['unanswered']}",
        ),
        (
            "intervals",
            f"{100 * how['level']:.4g} %, bootstrap over objects, {how['replicates']} replicates, "
            f"seed {how['seed']}",
        ),
    ]
    cells = [f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in rows]
    return f"<table>{''.join(cells)}</table>"


def _metrics(document: Mapping[str, Any]) -> str:
    """Every metric with its interval and its definition."""
    head = (
        '<tr><th>metric</th><th class="number">value</th><th class="number">interval</th>'
        '<th class="number">rows</th><th>definition</th></tr>'
    )
    rows, missing = [], []
    for name, result in document["metrics"].items():
        if result["value"] is None:
            missing.append(f"{name} ({result.get('note', 'nothing to compute it of')})")
        else:
            rows.append(_metric(name, result, document["definitions"][name]))
    note = f'<p class="small">Not computed: {escape("; ".join(missing))}.</p>' if missing else ""
    where = '<p class="small">d = (z_p - z_t) / (1 + z_t).</p>'
    return f"<table>{head}{''.join(rows)}</table>{where}{note}"


def _metric(name: str, result: Mapping[str, Any], sentence: str) -> str:
    """One row of the table."""
    thr = say_threshold(result.get("thr"), result.get("thr_unit", ""))
    note = f" ({result['note']})" if result.get("note") else ""
    between = "" if result["lo"] is None else f"{result['lo']:.4g} to {result['hi']:.4g}"
    value = f"{result['value']:.4g} {result.get('unit', '')}".strip()
    numbers = "".join(
        f'<td class="number">{escape(text)}</td>' for text in (value, between, str(result["n"]))
    )
    text = escape(sentence.replace("thr", thr) + note)
    return f"<tr><td>{escape(name)}</td>{numbers}<td>{text}</td></tr>"


def _figure(picture: Picture) -> str:
    """A heading, an image that is inside of the page, and its caption."""
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f"<h2>{escape(picture.title)}</h2>\n<figure>"
        f'<img src="data:image/png;base64,{data}" alt="{escape(picture.title)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
