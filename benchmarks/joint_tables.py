"""The tables of `joint.py`: markdown of several methods on the same spectra."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import paired
from answers import Answers, Said, Truth, off, right
from numpy.typing import NDArray

from zspec.flags import names
from zspec.likelihood.basis import LIGHT

CLASSES = ("GALAXY", "QSO", "STAR")
SNR = (0.0, 1.0, 2.0, 5.0, np.inf)
FEWEST = 20
"""Rows, and those of a class, below which there is no figure."""


def figures(truth: Truth, said: Said) -> list[str]:
    """Cells of one method on rows with an object."""
    n = len(truth.z)
    if n < FEWEST:
        return [str(n), *[""] * 10]
    shift = np.abs(np.log1p(off(truth, said)))
    hit, sure = right(truth, said), said.zwarn == 0
    good = []
    for kind in CLASSES:
        mine = truth.kind == kind
        few = mine.sum() < FEWEST
        good.append("" if few else f"{(shift[mine] < paired.GF[kind]).mean():.3f}")
    d = off(truth, said)
    pull = ((said.z - truth.z) / said.sigma)[hit & np.isfinite(said.sigma)]
    return [
        str(n),
        f"{(said.kind == truth.kind).mean():.3f}",
        *good,
        f"{LIGHT * 1.48 * np.median(np.abs(d - np.median(d))):.0f}",
        f"{1 - hit.mean():.3f}",
        f"{1.48 * np.median(np.abs(pull - np.median(pull))):.2f}",
        f"{sure.mean():.3f}",
        f"{hit[sure].mean():.4f}" if sure.any() else "",
        "" if np.isnan(said.seconds) else f"{1000 * said.seconds:.0f}",
    ]


HEAD = (
    "| method | n | class | GF GALAXY | GF QSO | GF STAR | NMAD km/s | catastrophic | pull "
    "| ZWARN 0 | right of these | ms CPU |"
)


def table(answers: Answers) -> list[str]:
    """Markdown of all methods on the rows with an object."""
    there = answers.some(answers.truth.kind != "")
    rows = [f"| {' | '.join([k, *figures(there.truth, s)])} |" for k, s in there.said.items()]
    return [HEAD, "|" + "---|" * 12, *rows, ""]


def blanks(answers: Answers, what: str) -> list[str]:
    """How many fibres without an object pass."""
    sky = answers.some(answers.truth.kind == "")
    if not len(sky.truth.z):
        return []
    said = ", ".join(f"{name} {(one.zwarn == 0).sum()}" for name, one in sky.said.items())
    return [f"{what} with ZWARN 0, of {len(sky.truth.z)}: {said}.", ""]


def by_snr(answers: Answers) -> Iterator[str]:
    """Right and ZWARN 0 of each method in bins of SNR."""
    there = answers.some(answers.truth.kind != "")
    known = list(there.said)
    yield f"| class, SNR | n | {' | '.join(f'{k}: right' for k in known)} |"
    yield "|" + "---|" * (len(known) + 2)
    for kind, (low, high) in itertools.product(CLASSES, itertools.pairwise(SNR)):
        t = there.truth
        one = there.some((t.kind == kind) & (t.snr >= low) & (t.snr < high))
        n = len(one.truth.z)
        if n >= FEWEST:
            cells = [
                f"{(right(one.truth, s) & (s.kind == kind)).mean():.3f}" for s in one.said.values()
            ]
            name = f"{kind} {low:g}–{high:g}" if np.isfinite(high) else f"{kind} > {low:g}"
            yield f"| {name} | {n} | {' | '.join(cells)} |"
    yield ""


def failures(answers: Answers) -> list[str]:
    """Real rows where zspec or the likelihood fails in class or redshift, side by side."""
    t, said = answers.truth, answers.said
    wrong = np.zeros(len(t.z), bool)
    for name in ("zspec", "likelihood"):
        wrong |= ~right(t, said[name]) | (said[name].kind != t.kind)
    rows = []
    for i in np.flatnonzero(wrong & (t.kind != "")):
        cells = [t.name[i], t.kind[i], f"{t.z[i]:.4f}", f"{t.snr[i]:.1f}"]
        for one in said.values():
            flag = " ".join(names(int(one.zwarn[i]))) if one.zwarn[i] > 1 else ""
            cells.append(f"{one.kind[i]} {one.z[i]:.4f} {flag}".strip())
        rows.append(f"| {' | '.join(cells)} |")
    head = f"| file, row | label | z | SNR | {' | '.join(said)} |"
    return [head, "|" + "---|" * (len(said) + 4), *rows, ""]


def bits(answers: Answers) -> str:
    """How often MODELS_DISAGREE and OUT_OF_DISTRIBUTION are set on rows with an object."""
    zwarn = answers.said["zspec"].zwarn[answers.truth.kind != ""]
    every = [name for value in zwarn.tolist() for name in names(value)]
    counted = {name: every.count(name) for name in sorted(set(every))}
    return "zspec's bits: " + ", ".join(f"{k} {v}" for k, v in counted.items()) + "."


def paired_table(answers: Answers, keys: NDArray[np.str_]) -> list[str]:
    """Zspec and redrock, with intervals of their differences by bootstrap over objects."""
    t, a, b = answers.truth, answers.said["zspec"], answers.said["redrock 0.21"]
    known = paired.Labels(t.kind, t.z, keys, t.kind == "")
    ours, theirs = (paired.Answers(s.kind, s.z, s.zwarn) for s in (a, b))
    lines = paired.table(known, ours, theirs, "0.21")
    return [lines[0].replace("likelihood", "zspec"), *lines[1:], ""]


def on_real(answers: Answers) -> Iterator[str]:
    """All tables of real spectra."""
    keys = np.array([name.split()[0] for name in answers.truth.name])
    yield from ["## Real SDSS spectra, cross-validated", "", *table(answers)]
    yield from blanks(answers, "Sky fibres")
    yield from [bits(answers), "", *paired_table(answers, keys), *failures(answers)]


def on_desi(answers: Answers) -> Iterator[str]:
    """All tables of real DESI spectra."""
    yield "## Real DESI spectra"
    yield ""
    yield "Labels: one is redrock's own, seven are of DESI's catalogue of quasars, of which redrock"
    yield "is a part, and the others are by eye, to 0.0005 to 0.02 in z."
    yield ""
    yield from [*table(answers), bits(answers), "", *failures(answers)]


def on_mocks(survey: str, answers: Answers) -> Iterator[str]:
    """All tables of mocks of a survey."""
    yield from [f"## Mocks: {survey}", "", *table(answers), *blanks(answers, "Blank fibres")]
    yield from by_snr(answers)
