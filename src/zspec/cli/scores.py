"""What ``evaluate`` prints of its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape

from zspec.cli import terminal
from zspec.metrics import say_threshold

GAP = 3
"""Blanks between columns."""
LISTED = 20
"""Objects of the list of disagreements that are printed; JSON has all."""

Results = Mapping[str, Mapping[str, Any]]


def show(document: dict[str, Any], as_json: bool) -> None:
    """Print a result on stdout."""
    if as_json:
        terminal.say_json(document)
        return
    several = "catalogues" in document
    _about(document)
    (_show_comparison if several else _show_one)(document, document["definitions"])
    for table in document["by"]:
        terminal.say("\nby " + ", ".join(table["by"]))
        for note in table["notes"]:
            terminal.say(f"  {note}")
        if several:
            _show_groups_compared(document, table["groups"])
        else:
            _show_groups(table["groups"])
    if several:
        _show_disagreements(document)


def number(value: float | None) -> str:
    """Four digits, or a dash.

    >>> number(0.00123456), number(None), number(0.9980)
    ('0.001235', '-', '0.998')
    """
    return "-" if value is None else f"{value:.4g}"


def interval(result: Mapping[str, Any]) -> str:
    """Low and high end, or a dash."""
    if result["lo"] is None:
        return "-"
    return f"{number(result['lo'])} to {number(result['hi'])}"


def _about(document: dict[str, Any]) -> None:
    """Which files, which columns, how many rows, and why others are left out."""
    for name in document.get("catalogues", [document.get("catalogue")]):
        terminal.say(f"catalogue  {name}")
    terminal.say(f"truth      {document['truth'] or 'what the catalogue carries'}")
    terminal.say("columns    " + ", ".join(f"{k} {v}" for k, v in document["columns"].items()))
    for note in document["notes"]:
        terminal.say(f"rows       {note}")
    terminal.say(
        f"rows       {document['rows']} evaluated, of {document['objects']} objects; without an "
        f"answer: {unanswered(document)}"
    )
    how = document["bootstrap"]
    terminal.say(
        f"intervals  {100 * how['level']:.4g} %, bootstrap over objects, {how['replicates']} "
        f"replicates, seed {how['seed']}"
    )


def unanswered(part: Mapping[str, Any]) -> str:
    """Rows without an answer, of each catalogue.

    >>> unanswered({"unanswered": [3, 0]})
    '3 of A, 0 of B'
    """
    numbers = part["unanswered"]
    if isinstance(numbers, int):
        return str(numbers)
    return ", ".join(f"{n} of {chr(ord('A') + k)}" for k, n in enumerate(numbers))


def _show_one(document: dict[str, Any], definitions: Mapping[str, str]) -> None:
    table = terminal.grid("metric", "#value", "#interval", "#rows")
    results = document["metrics"]
    for name, result in _computed(results):
        unit = result.get("unit", "")
        cells = [f"{number(result['value'])} {unit}".strip(), interval(result), result["n"]]
        terminal.row(table, name, *cells)
    terminal.stdout.print()
    terminal.stdout.print(table)
    _show_definitions(dict(_computed(results)), definitions)
    _show_matrix(results)
    _say_notes(_notes(results))


def _computed(results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, result) for name, result in results.items() if result["value"] is not None)


def _show_definitions(results: Results, definitions: Mapping[str, str]) -> None:
    """Each metric in a line, with its threshold in the place of ``thr``."""
    terminal.say("\nwhere d = (z_p - z_t) / (1 + z_t), and")
    for name, result in results.items():
        thr = say_threshold(result.get("thr"), result.get("thr_unit", ""))
        terminal.say(f"  {name:13}{definitions[name].replace('thr', thr)}")


def _say_notes(lines: list[str]) -> None:
    """Lines below an empty one."""
    if lines:
        terminal.stdout.print()
    for line in lines:
        terminal.say(line)


def _notes(results: Results, of: str = "") -> list[str]:
    """One line for each reason, with the metrics that it concerns."""
    reasons: dict[tuple[bool, str], list[str]] = {}
    for name, result in results.items():
        if result["value"] is None or result.get("note"):
            key = (result["value"] is None, result.get("note", "nothing to compute it of"))
            reasons.setdefault(key, []).append(name)
    return [
        f"{'not computed: ' if missing else ''}{', '.join(names)}{of}: {why}"
        for (missing, why), names in reasons.items()
    ]


def _show_matrix(results: Results) -> None:
    """The confusion matrix: true classes down, found ones across, as shares of the true."""
    matrix = results.get("confusion", {}).get("matrix")
    if not matrix:
        return
    heads, counts = [escape(terminal.clean(c)) for c in matrix["classes"]], matrix["counts"]
    if any(matrix["none"]):
        heads = [*heads, "none"]
        counts = [[*row, n] for row, n in zip(counts, matrix["none"], strict=True)]
    table = terminal.grid("true \\ found", *[f"#{head}" for head in heads], "#rows")
    for name, numbers in zip(matrix["classes"], counts, strict=True):
        total = sum(numbers)
        shares = [f"{n / total:.3f} ({n})" if total else "-" for n in numbers]
        terminal.row(table, name, *shares, total)
    terminal.stdout.print()
    terminal.stdout.print(table)


def _show_groups(groups: list[dict[str, Any]]) -> None:
    """Groups down, metrics across, as many at a time as there is room for."""
    if not groups:
        return
    label = {k: [str(g["label"][k]) for g in groups] for k in groups[0]["label"]}
    label["rows"] = [str(group["n"]) for group in groups]
    if any(group["unanswered"] for group in groups):
        label["no answer"] = [str(group["unanswered"]) for group in groups]
    columns = {
        name: [_cell(group["metrics"][name]) for group in groups]
        for name in groups[0]["metrics"]
        if any(group["metrics"][name]["value"] is not None for group in groups)
    }
    for part in _packed(columns, terminal.stdout.width - sum(map(_width, label.items()))):
        shown = label | {name: columns[name] for name in part}
        table = terminal.grid(*[f"#{name}" for name in shown])
        for cells in zip(*shown.values(), strict=True):
            terminal.row(table, *cells)
        terminal.stdout.print()
        terminal.stdout.print(table)
    _show_group_notes(groups)


def _packed(columns: Mapping[str, list[str]], room: int) -> Iterator[list[str]]:
    """Names of columns that fit side by side into ``room`` characters; at least one."""
    part: list[str] = []
    left = room
    for item in columns.items():
        if part and _width(item) > left:
            yield part
            part, left = [], room
        part.append(item[0])
        left -= _width(item)
    if part:
        yield part


def _width(column: tuple[str, list[str]]) -> int:
    """Characters of a column with the gap beside it."""
    name, cells = column
    return GAP + max(map(len, (name, *cells)))


def _cell(result: Mapping[str, Any]) -> str:
    """Value and interval; the number of rows where it is not that of the group."""
    if result["value"] is None:
        return "-"
    unit = f" {result['unit']}" if result.get("unit") else ""
    return f"{number(result['value'])}{unit} ({interval(result)})"


def _show_group_notes(groups: list[dict[str, Any]]) -> None:
    """Groups without rows."""
    empty = [" ".join(g["label"].values()) for g in groups if not g["n"]]
    if empty:
        terminal.say(f"no rows: {'; '.join(empty)}")


def _show_comparison(document: dict[str, Any], definitions: Mapping[str, str]) -> None:
    """Metrics down, catalogues and their differences to the first across."""
    letters = [chr(ord("A") + k) for k in range(len(document["catalogues"]))]
    for letter, name in zip(letters, document["catalogues"], strict=True):
        terminal.say(f"{letter}          {name}")
    terminal.stdout.print()
    terminal.stdout.print(_compared(document, letters))
    best = {name: r for results in document["metrics"] for name, r in _computed(results)}
    _show_definitions({name: best[name] for name in definitions if name in best}, definitions)
    pairs = zip(letters, document["metrics"], strict=True)
    _say_notes([line for letter, results in pairs for line in _notes(results, f" of {letter}")])


def _compared(part: Mapping[str, Any], letters: list[str]) -> Any:
    """A row per metric and catalogue; of differences, * where the interval leaves 0 out."""
    table = terminal.grid("metric", "of", "#value", "#interval", "#rows")
    for name in part["metrics"][0]:
        for letter, metrics in zip(letters, part["metrics"], strict=True):
            result = metrics[name]
            if result["value"] is not None:
                value = f"{number(result['value'])} {result.get('unit', '')}".strip()
                terminal.row(table, name, letter, value, interval(result), result["n"])
        for letter, differences in zip(letters[1:], part["differences"], strict=True):
            found = differences[name]
            if found["value"] is not None:
                sure = "*" if found["lo"] > 0 or found["hi"] < 0 else ""
                cells = (f"{found['value']:+.4g}", interval(found), found["n"])
                terminal.row(table, name, f"{letter} - A {sure}", *cells)
    return table


def _show_groups_compared(document: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    letters = [chr(ord("A") + k) for k in range(len(document["catalogues"]))]
    for group in groups:
        label = ", ".join(f"{k} {v}" for k, v in group["label"].items())
        without = f", without an answer: {unanswered(group)}" * any(group["unanswered"])
        terminal.say(f"\n{label}: {group['n']} rows{without}")
        if group["n"]:
            terminal.stdout.print(_compared(group, letters))


def _show_disagreements(document: dict[str, Any]) -> None:
    """The objects that are farthest apart."""
    rows = document["disagreements"]
    terminal.say(
        f"\n{len(rows)} of {document['rows']} objects differ in class or by over 1000 km/s"
        + (f"; the {LISTED} farthest apart (--json has all):" if len(rows) > LISTED else "")
    )
    letters = [chr(ord("A") + k) for k in range(len(document["catalogues"]))]
    heads = [f"{what} {x}" for x in letters for what in ("#z", "class")]
    table = terminal.grid("object", "#z true", "class true", *heads)
    for row in rows[:LISTED]:
        pairs = zip(row["z"], row["class"], strict=True)
        cells = [cell for z, label in pairs for cell in (_redshift(z), label)]
        terminal.row(table, row["id"], _redshift(row["z_true"]), row["class_true"], *cells)
    if rows:
        terminal.stdout.print(table)


def _redshift(z: float | None) -> str:
    return "-" if z is None else f"{z:.5f}"
