"""What becomes of spectra that an estimator was not made for.

    python benchmarks/strange.py ../shared -o benchmarks/results/strange.md
    python benchmarks/strange.py ../shared --model zspec -o benchmarks/results/strange_zspec.md

Blends of two real SDSS spectra of equal median flux; classes that no basis and no mock is of; real
spectra of another survey (LAMOST, by the adapter of `examples/zspec-lamost`, which must be
installed); sky fibres, without what the adapter knows of them; analytic mocks on another survey's
pixels, emission lines without any continuum, and four kinds of garbage. A redshift is right within
1000 km/s (3000 for quasars) of that of any object in the spectrum; garbage and sky have none.

For `zspec` also how well each of four scores tells strange spectra from real good ones: the area
under the curve of detections against false alarms, 0.5 for none and 1 for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from ladder import RIGHT
from oddities import GOOD, Array, Sample, Truth, samples
from scipy.stats import rankdata

from zspec import checkpoint
from zspec.estimator import Chunk, Estimator
from zspec.estimators.joint import Joint
from zspec.flags import ZWarn
from zspec.joint import cases
from zspec.joint.cases import weighted
from zspec.joint.judging import judge
from zspec.likelihood.basis import LIGHT, STEP
from zspec.likelihood.validate import Known


@dataclass(frozen=True)
class Judged:
    """What became of one spectrum."""

    right: bool
    clear: bool
    """ZWARN 0."""
    strange: bool
    """OUT_OF_DISTRIBUTION."""
    scores: dict[str, float] = field(default_factory=dict)


def judged(estimator: Estimator, sample: Sample) -> Judged:
    """What an estimator makes of a spectrum."""
    if isinstance(estimator, Joint):
        return judged_twice(estimator, sample)
    found = estimator.predict(Chunk(sample[0]))
    assert found.zwarn is not None
    best, bits = int(found.best[0]), int(found.zwarn[0])
    right = is_right(found.classes[best].spectype, float(found.z[0, best]), sample[1])
    return Judged(right, bits == 0, bool(bits & ZWarn.OUT_OF_DISTRIBUTION))


def judged_twice(joint: Joint, sample: Sample) -> Judged:
    """The same of the joint estimator, and its scores."""
    label = Known("", "", float("nan"), 0.0, sample[0])
    made = cases.solved(sample[0], [label], joint.likelihood, joint.proposal, "strange")
    (case,) = weighted(made, joint.calibration.weights)
    said = judge(case.pixels, case.found, case.proposed, case.bases, joint.calibration)
    order, bits = said.ranked, int(said.zwarn[0])
    used = float((case.pixels.ivar > 0).sum())
    z = float(np.expm1(float(order.of(case.found.shift)) * STEP * np.log(10)))
    scores = {
        "reduced chi2": float(order.of(case.found.chi2)) / used,
        "unexplained": float(order.of(case.found.unexplained)),
        "distance": float(case.proposed.distance[0]),
        "entropy": float(case.proposed.entropy[0]),
    }
    right = is_right(case.spectype(order), z, sample[1])
    return Judged(right, bits == 0, bool(bits & ZWarn.OUT_OF_DISTRIBUTION), scores)


def is_right(kind: str, z: float, truth: Truth) -> bool:
    """Whether an answer is that of any object in the spectrum."""
    return any(
        kind == spectype and abs(np.log1p(z) - np.log1p(true)) * LIGHT < RIGHT[spectype]
        for spectype, true in truth
    )


def area(strange: Array, usual: Array) -> float:
    """Share of pairs in which the strange one has the higher score; ties count half."""
    rank = rankdata(np.concatenate([strange, usual]))[: len(strange)]
    return float((rank.sum() - len(strange) * (len(strange) + 1) / 2) / len(strange) / len(usual))


def counts(rows: dict[str, list[Judged]]) -> Iterator[str]:
    """The table of what became of them."""
    yield "| kind | n | right | ZWARN 0 | wrong with ZWARN 0 | OUT_OF_DISTRIBUTION |"
    yield "|---|---|---|---|---|---|"
    for name, each in rows.items():
        right, clear, strange = np.array([(one.right, one.clear, one.strange) for one in each]).T
        cells = (len(each), right.sum(), clear.sum(), (clear & ~right).sum(), strange.sum())
        yield f"| {name} | " + " | ".join(map(str, cells)) + " |"
    yield ""


def areas(rows: dict[str, list[Judged]], limit: float) -> Iterator[str]:
    """The table of scores, and the rates of false alarms."""
    usual = [one for one in rows[GOOD] if one.right]
    names = list(usual[0].scores)
    yield f"Of {len(usual)} real SDSS spectra whose answer is right,"
    alarms = [one.strange for one in usual]
    far = [one.scores["distance"] > limit for one in usual]
    yield f"{sum(alarms)} have OUT_OF_DISTRIBUTION ({np.mean(alarms):.3f}), {sum(far)} for their"
    yield f"distance alone or among others (limit {limit:g}). Area under the curve by score:"
    yield ""
    yield f"| kind | n | {' | '.join(names)} |"
    yield "|" + "---|" * (len(names) + 2)
    for kind, each in rows.items():
        if kind != GOOD:
            cells = [f"{area(of(each, name), of(usual, name)):.2f}" for name in names]
            yield f"| {kind} | {len(each)} | {' | '.join(cells)} |"
    yield ""
    ends = [f"{name} {np.quantile(of(usual, name), 0.99):.2f}" for name in names]
    yield f"What 1 % of these real spectra exceed: {', '.join(ends)}."
    yield ""


def of(each: Sequence[Judged], name: str) -> Array:
    """(n,) a score; what is unknown is as high as can be."""
    values: Array = np.array([one.scores[name] for one in each], np.float64)
    return np.where(np.isfinite(values), values, 1e9)


def report(shared: Path, model: str) -> str:
    """The tables as markdown."""
    estimator = checkpoint.load_estimator(model)
    rows: dict[str, list[Judged]] = {}
    for name, sample in samples(shared):
        rows.setdefault(name, []).append(judged(estimator, sample))
    command = "python benchmarks/strange.py ../shared"
    own = estimator.name if model != "likelihood" else model
    out = [
        f"# Spectra that `{own}` was not made for",
        "",
        f"`{command}`" if own == "likelihood" else f"`{command} --model {own}`",
        "",
        "The shipped bases were learned from the real SDSS spectra, and limits from predictions by",
        "bases that were not; sky fibres are those that limits were learned from.",
        "",
        *counts(rows),
    ]
    if isinstance(estimator, Joint):
        out += areas(rows, estimator.calibration.distance)
    return "\n".join(out)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("--model", default="likelihood", help="shipped name or checkpoint")
    parser.add_argument("-o", "--out", type=Path, help="markdown file; else to stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = report(args.shared, args.model)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
