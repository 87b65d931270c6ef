"""Write the generated pages: ``python docs/generate.py``. A test holds that they are up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zspec import catalog, flags, plugins
from zspec.cli.surveys import describe
from zspec.metrics import METRICS, say_threshold

NOTE = "<!-- written by docs/generate.py; do not edit -->\n\n"


def catalogue() -> str:
    """Every HDU and column of the catalogue, and every bit of ZWARN."""
    tables = {**catalog.HDUS}
    tables["REDSHIFTS"] = (*catalog.REDSHIFTS, *catalog.REQUESTED, *catalog.TRUTH)
    parts = [NOTE + "# The catalogue\n"]
    intro = (
        "One FITS file. The primary header names the versions of zspec, adapter and model, the "
        "SHA-256 of the checkpoint, the options and the command. Columns that an adapter passes "
        "through and those of an estimator follow the ones below; `Z_TRUE` and `CLASS_TRUE` are "
        "there only where an input has labels. HDU `ZPDF` (`zspec predict --zpdf`) and columns "
        "`ZCRB` (`--bound`), `ZLOW` and `ZHIGH` (`--conformal 0.9`) come on request.\n"
    )
    parts.append(intro)
    for name, columns in tables.items():
        parts.append(f"## HDU {name}\n")
        rows = [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.sentence} |" for c in columns]
        parts.append("| column | type | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows))
        parts.append("")
    parts.append("## ZWARN\n\n0 means good, and nothing else does.\n")
    rows = [
        f"| {f.value.bit_length() - 1} | `{f.name}` | {flags.SENTENCES[f]} |" for f in flags.ZWarn
    ]
    parts.append("| bit | name | meaning |\n|---|---|---|\n" + "\n".join(rows))
    parts.append("\nBits 16-19 are DESI's and 20-23 the user's; zspec sets neither.")
    return "\n".join(parts) + "\n"


def surveys() -> str:
    """Every adapter that comes with zspec: its declarations and its options."""
    parts = [NOTE + "# Surveys\n"]
    for survey in plugins.installed().values():
        if plugins.surveys().found[survey.name][1].startswith("zspec-redshift "):
            parts.append(_survey(describe(survey), type(survey).__doc__ or ""))
    return "\n".join(parts)


def _survey(facts: Mapping[str, Any], doc: str) -> str:
    """One adapter."""
    first, last = facts["wavelength"]
    lines = [
        f"## {facts['title']}\n",
        f"`--survey {facts['name']}`. {' '.join(doc.split())}\n",
        f"- data model: <{facts['url']}>",
        f"- paper: {facts['reference']}",
        f"- wavelengths: {facts['medium']}, {facts['frame']}; grid {first:.0f} to {last:.0f} Å",
        f"- arms: {', '.join(facts['arms'])}",
        f"- files in a folder: {', '.join(f'`{p}`' for p in facts['file_patterns'])}",
    ]
    lines += [
        f"- `-S {name}={_shown(option['default'])}`: {' '.join(option['help'].split())}"
        for name, option in facts["options"].items()
    ]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A default as one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def metrics() -> str:
    """Every metric: its equation, what it needs, its threshold and which way is better."""
    better = {"high": "higher", "low": "lower", "thr": "the threshold", "": ""}
    rows = []
    for m in METRICS:
        thr, sentence = say_threshold(m.thr, m.thr_unit), m.sentence.replace("|", "\\|")
        cells = (f"`{m.name}`", sentence, ", ".join(m.needs), thr, better.get(m.better, m.better))
        rows.append(f"| {' | '.join(cells)} |")
    head = "| metric | definition | needs | thr | better |\n|---|---|---|---|---|\n"
    where = "d = (z_p - z_t) / (1 + z_t); `--thr` changes a threshold, which is always printed.\n\n"
    return NOTE + "# Metrics\n\n" + where + head + "\n".join(rows) + "\n"


PAGES = {"catalogue.md": catalogue, "metrics.md": metrics, "surveys.md": surveys}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (Path(__file__).parent / page).write_text(text(), encoding="utf-8")
