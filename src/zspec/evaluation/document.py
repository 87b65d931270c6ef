"""The result of an evaluation as plain values: what ``--json`` prints (docs/howto/evaluate.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from zspec.evaluation.compare import Row, compare, disagreements
from zspec.evaluation.groups import Group, Grouping
from zspec.evaluation.measure import Settings, as_json, evaluate, evaluate_groups, resample
from zspec.evaluation.sample import Sample


def document(
    name: str, sample: Sample, settings: Settings, groupings: Sequence[Grouping] = ()
) -> dict[str, Any]:
    """One catalogue: metrics of all rows and of every group."""
    drawn = resample(sample, settings)
    by = []
    for grouping in groupings:
        groups = [
            {**_group(group, sample), "metrics": as_json(results)}
            for group, results in evaluate_groups(sample, grouping, settings, drawn)
        ]
        by.append({"by": list(grouping.by), "notes": list(grouping.notes), "groups": groups})
    return {
        "catalogue": name,
        **_about(sample, settings),
        "metrics": as_json(evaluate(sample, settings, drawn)),
        "by": by,
    }


def comparison(
    names: Sequence[str],
    samples: Sequence[Sample],
    settings: Settings,
    groupings: Sequence[Grouping] = (),
) -> dict[str, Any]:
    """Several catalogues on the same objects, and where they disagree."""
    drawn = resample(samples[0], settings)
    by = []
    for grouping in groupings:
        groups = []
        for group in grouping.groups:
            parts = [sample[group.rows] for sample in samples]
            rows = compare(parts, settings, drawn[group.rows])
            groups.append({**_group(group, *samples), **_side_by_side(rows)})
        by.append({"by": list(grouping.by), "notes": list(grouping.notes), "groups": groups})
    return {
        "catalogues": list(names),
        **_about(samples[0], settings),
        "unanswered": [int(sample.unanswered.sum()) for sample in samples],
        "notes": [
            f"{name}: {note}" for name, s in zip(names, samples, strict=True) for note in s.notes
        ],
        **_side_by_side(compare(samples, settings, drawn)),
        "by": by,
        "disagreements": disagreements(samples),
    }


def _about(sample: Sample, settings: Settings) -> dict[str, Any]:
    """What was evaluated and how."""
    return {
        "columns": dict(sample.sources),
        "rows": len(sample),
        "objects": int(sample.objects.max(initial=-1)) + 1,
        "unanswered": int(sample.unanswered.sum()),
        "notes": list(sample.notes),
        "bootstrap": asdict(settings.bootstrap),
        "definitions": {metric.name: metric.sentence for metric in settings.metrics},
    }


def _group(group: Group, *samples: Sample) -> dict[str, Any]:
    """The label of a group, its bins and numbers of rows; an open end of a bin is null."""
    edges = {
        name: [value if abs(value) < float("inf") else None for value in pair]
        for name, pair in group.edges.items()
    }
    without = [int(sample.unanswered[group.rows].sum()) for sample in samples]
    return {
        "label": dict(group.label),
        "edges": edges,
        "n": len(group.rows),
        "unanswered": without[0] if len(samples) == 1 else without,
    }


def _side_by_side(rows: Sequence[Row]) -> dict[str, Any]:
    """Per catalogue its metrics; per later catalogue its difference to the first."""
    number = len(rows[0].results)
    return {
        "metrics": [
            as_json({row.metric.name: row.results[k] for row in rows}) for k in range(number)
        ],
        "differences": [
            {row.metric.name: asdict(row.differences[k]) for row in rows} for k in range(number - 1)
        ],
    }
