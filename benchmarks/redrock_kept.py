"""Redrock's answers on mocks as one table among the results, so that nobody has to ask again.

Mocks follow from their seed, so that the answers hold wherever they are drawn; where the simulator
or its sources change, the table must go.
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


def lines(table: Path) -> list[dict[str, str]]:
    """Of a table; none where there is none."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def restore(table: Path, folders: Iterable[tuple[str, Path]]) -> None:
    """Write what a table has of redrock's answers into the folders that ask, one of each survey."""
    parts: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for line in lines(table):
        parts[line["survey"], line["part"]].append(line)
    known = dict(folders)
    for (survey, part), mine in parts.items():
        path = known.get(survey, Path()) / f"{part}.json"
        if survey in known and not path.exists():
            rows = [{name: kind(line[name]) for name, kind in COLUMNS.items()} for line in mine]
            told = {"version": mine[0]["version"], "seconds": float(mine[0]["seconds"])}
            path.write_text(json.dumps({**told, "rows": rows}), encoding="utf-8")


def keep(table: Path, folders: Iterable[tuple[str, Path]]) -> None:
    """Add all answers that are in the folders to a table; what it has of other parts stays."""
    parts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines(table):
        parts[line["survey"], line["part"]].append(line)
    for survey, folder in folders:
        for path in folder.glob("*.json"):
            told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            same = {"survey": survey, "part": path.stem, "version": told["version"]}
            same["seconds"] = f"{told['seconds']:.3f}"
            parts[survey, path.stem] = [{**row, **same} for row in told["rows"]]
    if parts:
        aside = table.with_suffix(".part")
        with aside.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
            writer.writeheader()
            for key in sorted(parts):
                writer.writerows(parts[key])
        aside.replace(table)
