"""One self-contained page for looking at many spectra: data, style, code and plotting library.

The library is Bokeh (extra ``inspect``), whose code is put into the page, so that it needs no
network. Whatever comes from a file is JSON with ``<``, ``>`` and ``&`` escaped, or base64, and the
page's code puts it into text nodes only; should any of it be taken for a script all the same, the
page's policy lets none run but those that it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from zspec import lines
from zspec.errors import ConfigError, OutputError
from zspec.flags import names
from zspec.inspection import canvas
from zspec.inspection.encoding import densities, encode
from zspec.inspection.targets import Target, words

Z_ENDS = (math.log1p(-0.02), math.log1p(7.0))
"""ln(1 + z) at the ends of the redshift slider and of p(z)."""
CODE = ("data.js", "view.js", "page.js")
"""One module of the page, in this order."""
SHOWN = ("FILE", "SPECTYPE", "CLASS")
NUMBERS = ("ROW", "Z", "ZERR", "ZCONF", "SNR", "CHI2", "DELTACHI2", "Z_TRUE")


def require() -> None:
    """Raise ConfigError, with what to install, where Bokeh is missing."""
    try:
        import bokeh  # noqa: F401 (only whether it is there)
    except ImportError:
        reason = "the page needs bokeh; pip install 'zspec-redshift[inspect]'"
        raise ConfigError(reason) from None


def page(targets: Iterable[Target], title: str) -> str:
    """HTML of the page; ``targets`` are taken one by one."""
    known, blobs = [], []
    for number, target in enumerate(targets):
        known.append(describe(target))
        blob = {**encode(target), "zpdf": densities(target, Z_ENDS)}
        blobs.append(f'<script type="application/json" id="s{number}">{as_json(blob)}</script>')
    known_lines = [
        [line.name, line.wave, line.kind, list(line.spectypes), line.major] for line in lines.LINES
    ]
    every = sorted({name for one in known for name in one["flags"]})
    data = {"title": title, "targets": known, "lines": known_lines, "flags": every, "u": Z_ENDS}
    library, code = canvas.library(), "\n".join(map(_text, CODE))
    slots = {
        "title": escape(title),
        "style": _text("page.css"),
        "library": library,
        "scripts": " ".join(map(hashed, [*SCRIPT.findall(library), code])),
        "figures": as_json(canvas.figures()),
        "data": as_json(data),
        "blobs": "\n".join(blobs),
        "code": code,
    }
    # one pass, so that no data can hold the name of a slot
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: slots[slot[1]], _text("page.html"))


SCRIPT = re.compile("<script[^>]*>(.*?)</script>", re.S)


def hashed(code: str) -> str:
    """What the page's Content-Security-Policy calls a script, so that no other one runs in it."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def describe(target: Target) -> dict[str, Any]:
    """What the list and the words of a target need, as plain values; NaN is null."""
    row = target.row
    zwarn = int(row["ZWARN"])
    return {
        "id": str(target.id),  # a number of JavaScript holds 53 bits only
        **{name.lower(): str(row[name]) for name in SHOWN},
        **{name.lower(): finite(row.get(name)) for name in NUMBERS},
        "class_true": str(row.get("CLASS_TRUE", "")),
        "zwarn": zwarn,
        "flags": names(zwarn),
        "words": words(zwarn),
        "solutions": [
            {
                "spectype": one.spectype,
                "label": one.label,
                **{name: finite(getattr(one, name)) for name in ("z", "zerr", "prob", "chi2")},
            }
            for one in target.solutions
        ],
    }


def finite(value: Any) -> float | None:
    """A number, or None for NaN and for nothing."""
    return float(value) if value is not None and math.isfinite(value) else None


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    r"""JSON that is safe within a script element.

    >>> as_json(["</script>&"])
    '["\\u003c/script\\u003e\\u0026"]'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(name: str) -> str:
    """A file that comes with this package."""
    return (resources.files("zspec.inspection") / name).read_text(encoding="utf-8")


def write(text: str, path: Path) -> None:
    """Write the page beside its name and rename it. Raises OutputError."""
    beside = path.with_name(f".part{os.getpid()}.{path.name}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        beside.unlink(missing_ok=True)
