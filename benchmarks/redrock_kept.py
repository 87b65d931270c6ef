"""Redrock's answers on mocks as one table among the results, so that nobody has to ask again.

Mocks follow from their seed, so that the answers hold wherever they are drawn.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redrock_fit import COLUMNS

FIELDS = ("survey", "part", *COLUMNS, "seconds", "version")
"""Of a line: one spectrum; ``part`` is the file that asked for it and others."""


def restore(table: Path, folders: Iterable[tuple[str, Path]]) -> None:
    """Write what a table has of redrock's answers into the folders that ask, one of each survey."""
    if not table.exists():
        return
    parts: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with table.open(newline="", encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            parts[line["survey"], line["part"]].append(line)
    known = dict(folders)
    for (survey, part), lines in parts.items():
        path = known.get(survey, Path()) / f"{part}.json"
        if survey in known and not path.exists():
            rows = [{name: kind(line[name]) for name, kind in COLUMNS.items()} for line in lines]
            told = {"version": lines[0]["version"], "seconds": float(lines[0]["seconds"])}
            path.write_text(json.dumps({**told, "rows": rows}), encoding="utf-8")


def keep(table: Path, folders: Iterable[tuple[str, Path]]) -> None:
    """Write all answers that are in the folders."""
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
        writer.writeheader()
        for survey, folder in folders:
            for path in sorted(folder.glob("*.json")):
                told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                same = {"survey": survey, "part": path.stem, "version": told["version"]}
                same["seconds"] = f"{told['seconds']:.3f}"
                writer.writerows({**row, **same} for row in told["rows"])
