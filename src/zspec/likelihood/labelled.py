"""Labelled spectra of any survey: what bases are learned from.

A recipe names one of two:

- ``manifest``: a CSV table with the columns file (below its own folder), row, z and class, and
  where it has them object, z_err, subclass, label_ok (1: to be learned from) and is_sky;
- ``spectra``: files or folders below the data folder whose own headers, or whose neighbours, know
  class and redshift, as ``Spectra.truth``; ``survey`` and ``options`` say how they are read.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zspec import sources as files
from zspec.errors import ConfigError, InputError
from zspec.flags import ZWarn
from zspec.survey import Spectra

Line = tuple[dict[str, str], Spectra]
"""The label of one spectrum as a line of a manifest, and the spectrum."""

OPTIONAL: Mapping[str, str] = {"z_err": "0", "subclass": "", "label_ok": "1", "is_sky": "0"}
"""Columns that a manifest need not have, and what stands in. ``object``: file and row."""


def spectra(recipe: Mapping[str, Any], folder: Path) -> Iterator[Line]:
    """The labelled spectra of a recipe; paths are below ``folder``.

    Raises KeyError where it names none though it learns a basis, InputError where they cannot be
    read.
    """
    if "spectra" in recipe:
        if "manifest" in recipe:
            raise ConfigError("recipe: manifest and spectra exclude each other")
        yield from _known(recipe, folder)
    elif "manifest" in recipe or recipe.get("basis"):
        yield from listed(folder / recipe["manifest"])


def listed(manifest: Path) -> Iterator[Line]:
    """Each line of a manifest with its spectrum, read by the survey that recognises the file.

    Raises InputError where it is no manifest, or a file cannot be read.
    """
    wanted: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    try:
        with manifest.open(newline="", encoding="utf-8") as handle:
            for line in csv.DictReader(handle):
                own = {"object": f"{line['file']}:{line['row']}"}
                wanted[line["file"]][int(line["row"])] = {**OPTIONAL, **own, **line}
                float(line["z"] or "nan"), line["class"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{manifest}: is no manifest of labelled spectra ({error})") from None
    for name, lines in wanted.items():
        for one in _each(files.Source(manifest.parent / name)):
            row = int(one.rows[0])
            if row in lines:
                yield lines[row], one


def _known(recipe: Mapping[str, Any], folder: Path) -> Iterator[Line]:
    """Spectra whose files know what they are, and blank sky."""
    given = recipe["spectra"]
    paths = [folder / name for name in ([given] if isinstance(given, str) else given)]
    survey = recipe.get("survey")
    for path in files.expand(paths, survey):
        for one in _each(files.Source(path, survey, recipe.get("options", {}))):
            line = _line(path, one)
            if line["label_ok"] == "1" or line["is_sky"] == "1":
                yield line, one


def _each(source: files.Source) -> Iterator[Spectra]:
    """The spectra of a file one by one."""
    for chunk in files.read(source)[1]:
        for i in range(len(chunk)):
            yield chunk[i : i + 1]


def _line(path: Path, one: Spectra) -> dict[str, str]:
    """The label that a spectrum brings, as a line of a manifest. Ids name objects."""
    sky = one.zwarn is not None and bool(one.zwarn[0] & ZWarn.SKY)
    line = {**OPTIONAL, "file": path.name, "row": str(one.rows[0]), "object": str(one.ids[0])}
    line |= {"is_sky": str(int(sky)), "label_ok": "0", "z": "nan", "class": ""}
    if one.truth is not None and not sky:
        spectype, z = str(one.truth.spectype[0]), float(one.truth.z[0])
        whole = spectype if one.truth.label is None else str(one.truth.label[0])
        line |= {"class": spectype, "z": repr(z), "subclass": whole.removeprefix(spectype).strip()}
        line["label_ok"] = str(int(bool(spectype) and np.isfinite(z)))
    return line
