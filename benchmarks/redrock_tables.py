"""The tables of `redrock_mocks.py`: zspec, its parts and redrock on the same mocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paired
from answers import Answers, Bools, Truth, joined, off, right
from elsewhere import CLASSES
from numpy.typing import NDArray

from zspec.likelihood.basis import LIGHT

SETS = {
    "ours": "(a) our sources, part test",
    "redrock": "(b) redrock's templates",
    "unseen": "(c) stars and stacks that nobody learned from",
    "real": "(d) real objects, held out",
}
SNR = (0.0, 0.5, 1.0, 2.0, 5.0, np.inf)
FEWEST = 10
"""Rows of a bin below which there is no figure."""
FAINTER = 5.0
"""SNR below which methods are compared in sum."""
FIELDS = ("kind", "z", "snr", "name")
DRAWS = 2000
"""Of the bootstrap."""
NORMAL = 1.96
"""Standard deviations that 95 % lie within."""


@dataclass(frozen=True)
class Compared:
    """A set with the answers of all methods on the rows that all of them have."""

    answers: Answers
    bound: NDArray[np.float64]
    """(n,) Cramér-Rao, of sigma_z; NaN where it is not known."""

    def right(self, name: str) -> Bools:
        """(n,) class, and redshift within the velocity of the class."""
        t, said = self.answers.truth, self.answers.said[name]
        return np.asarray(right(t, said) & (said.kind == t.kind))

    def good(self, name: str) -> Bools:
        """(n,) GF: redshift within 0.0015, or 0.015 of a quasar's."""
        t, said = self.answers.truth, self.answers.said[name]
        limit = np.array([paired.GF[kind] for kind in t.kind])
        return np.asarray(np.abs(np.log1p(off(t, said))) < limit)

    def inside(self, low: float, high: float, kind: str = "") -> Bools:
        """(n,) SNR and class."""
        t = self.answers.truth
        mine = (t.snr >= low) & (t.snr < high)
        return np.asarray(mine & (t.kind == kind) if kind else mine)


def pooled(parts: Sequence[Compared]) -> Compared:
    """Several sets as one."""
    known = [one.answers.truth for one in parts]
    truth = Truth(*(np.concatenate([getattr(t, f) for t in known]) for f in FIELDS))
    said = {
        name: joined([one.answers.said[name] for one in parts]) for name in parts[0].answers.said
    }
    return Compared(Answers(truth, said), np.concatenate([one.bound for one in parts]))


def wilson(hits: Bools) -> str:
    """A share with its 95 % interval: Wilson (1927), JASA 22, 209."""
    n, p = len(hits), float(hits.mean())
    middle = (p + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * np.sqrt(p * (1 - p) / n + NORMAL**2 / (4 * n**2))
    return f"{p:.3f} ({max(middle - half, 0):.2f}–{min(middle + half, 1):.2f})"


def apart(ours: Bools, theirs: Bools) -> str:
    """The difference of two shares of the same rows, with its 95 % interval by bootstrap."""
    difference = ours.astype(float) - theirs
    rng = np.random.default_rng(1)
    drawn = difference[rng.integers(0, len(difference), (DRAWS, len(difference)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def bins() -> Iterator[tuple[str, float, float]]:
    """Name and ends of each bin of SNR."""
    for low, high in itertools.pairwise(SNR):
        yield (f"{low:g}–{high:g}" if np.isfinite(high) else f"> {low:g}"), low, high
    yield "all", SNR[0], SNR[-1]


def summary(sets: Sequence[tuple[str, str, Compared]]) -> Iterator[str]:
    """GF below an SNR of 5 by survey and set, both draws together; last, both surveys."""
    yield "## GF below SNR 5, both draws, all classes"
    yield ""
    yield "| set | SNR | n | zspec | redrock 0.21 | zspec less redrock | right: the same |"
    yield "|" + "---|" * 7
    surveys = list(dict.fromkeys(survey for survey, _, _ in sets))
    for those in (*([one] for one in surveys), *([surveys] if len(surveys) > 1 else [])):
        for kind, title in SETS.items():
            mine = [one for survey, k, one in sets if k == kind and survey in those]
            if mine:
                yield from _line_by_line(f"{' and '.join(those)} {title[:3]}", pooled(mine))
    yield ""


def _line_by_line(title: str, one: Compared) -> Iterator[str]:
    """The rows of a set in the summary."""
    ends = [end for end in SNR if end <= FAINTER]
    for low, high in (*itertools.pairwise(ends), (0.0, FAINTER)):
        rows = one.inside(low, high)
        if rows.sum() < FEWEST:
            continue
        good, right = (
            [getattr(one, what)(name)[rows] for name in ("zspec", "redrock 0.21")]
            for what in ("good", "right")
        )
        cells = [str(rows.sum()), *map(wilson, good), apart(*good), apart(*right)]
        yield f"| {title} | {low:g}–{high:g} | {' | '.join(cells)} |"


def shares(one: Compared, what: str, kinds: Sequence[str]) -> Iterator[str]:
    """A table of ``right`` or ``good`` by class and SNR."""
    names = list(one.answers.said)
    yield f"| class, SNR | n | {' | '.join(names)} | zspec less redrock |"
    yield "|" + "---|" * (len(names) + 3)
    for kind in kinds:
        for name, low, high in bins():
            rows = one.inside(low, high, kind)
            if rows.sum() >= FEWEST:
                hit = {each: getattr(one, what)(each)[rows] for each in names}
                cells = [wilson(hits) for hits in hit.values()]
                cells.append(apart(hit["zspec"], hit["redrock 0.21"]))
                yield f"| {kind or 'every'} {name} | {rows.sum()} | {' | '.join(cells)} |"
    yield ""


def trust(one: Compared) -> Iterator[str]:
    """ZWARN 0, how many of those are right, eff above SNR 5, and CPU time."""
    head = "| method | ZWARN 0 | right of these | wrong with ZWARN 0"
    yield f"{head} | eff GALAXY, QSO, STAR, SNR > 5 | ms CPU |"
    yield "|" + "---|" * 6
    for name, said in one.answers.said.items():
        sure, right = said.zwarn == 0, one.right(name)
        cells = [f"{sure.mean():.3f}", wilson(right[sure]) if sure.any() else ""]
        cells.append(str(int((sure & ~right).sum())))
        cells.append(", ".join(efficiency(one, name, kind) or "–" for kind in CLASSES))
        yield f"| {name} | {' | '.join(cells)} | {1000 * said.seconds:.0f} |"
    yield ""


def efficiency(one: Compared, name: str, kind: str) -> str:
    """The bound's variance over that of the redshifts; empty where over 2 % are catastrophic."""
    t, said = one.answers.truth, one.answers.said[name]
    rows = one.inside(5.0, np.inf, kind)
    hit = right(t, said)
    if rows.sum() < FEWEST or hit[rows].mean() < 0.98:
        return ""
    pull = ((said.z - t.z) / one.bound)[rows & hit & (said.kind == t.kind)]
    pull = pull[np.isfinite(pull)]
    if len(pull) < FEWEST:
        return ""
    return f"{(1.48 * np.median(np.abs(pull - np.median(pull)))) ** -2:.2f}"


def failures(one: Compared) -> Iterator[str]:
    """Wrong answers with ZWARN 0 of zspec and redrock, one by one."""
    t = one.answers.truth
    for name in ("zspec", "redrock 0.21"):
        said = one.answers.said[name]
        rows = np.flatnonzero((said.zwarn == 0) & ~one.right(name))
        told = [
            f"{t.name[i]} {t.kind[i]} {t.z[i]:.4f} at SNR {t.snr[i]:.1f} is {said.kind[i]} "
            f"{said.z[i]:.4f} ({LIGHT * np.log1p((said.z[i] - t.z[i]) / (1 + t.z[i])):+.0f} km/s)"
            for i in rows
        ]
        yield f"Wrong with ZWARN 0, {name}: {'; '.join(told) or 'none'}."
        yield ""


def report(title: str, number: int, one: Compared) -> list[str]:
    """All tables of a set of ``number`` mocks."""
    count = len(one.answers.truth.z)
    kinds = [k for k in CLASSES if (one.answers.truth.kind == k).any()]
    many = ", ".join(
        f"{len(set(one.answers.truth.name[one.answers.truth.kind == k]))} sources of {k}"
        for k in kinds
    )
    return [
        f"## {title}",
        "",
        f"{count} of {number} mocks, of {many}.",
        "",
        "GF, by SNR:",
        "",
        *shares(one, "good", ["", *kinds]),
        "Right in class and redshift:",
        "",
        *shares(one, "right", ["", *kinds]),
        *trust(one),
        *failures(one),
    ]
