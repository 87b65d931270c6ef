"""What trained GaSNet-II reach: on mocks that they were not trained on, and on real SDSS spectra.

    OMP_NUM_THREADS=1 python benchmarks/gasnet2_accuracy.py ../shared sdss=gasnet2-sdss \
        desi=gasnet2-desi 4most=gasnet2-4most --each 40 --bases DIR -o benchmarks/results/gasnet2.md

Each ``SURVEY=MODEL`` is judged on mocks of ``--each`` spectra a class, of sources of the part
"test", beside the likelihood on the same spectra and beside the paper's figures (Zhong et al. 2024,
from the predictions that its authors released). Every redshift counts twice: with the true class
given, as the paper does, and end to end, with the class that was found. The first model of SDSS is
also judged on the real spectra; there the likelihood is that of five folds, which did not see what
they judge (``--bases`` as in likelihood_sdss.py).
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import likelihood_sdss
import numpy as np
import torch
from numpy.typing import NDArray

from zspec import Chunk, Spectra, ZWarn, checkpoint
from zspec.estimator import Estimator, Prediction
from zspec.estimators.gasnet2 import GasNet2
from zspec.estimators.likelihood import Likelihood
from zspec.gasnet2.recipe import Recipe, parse
from zspec.likelihood.labelled import listed
from zspec.likelihood.train import label
from zspec.likelihood.validate import FOLDS, fold_of
from zspec.metrics.redshifts import log_bias
from zspec.simulate import stream
from zspec.simulate.sources.families import load, part_of
from zspec.training import find_recipe

SEED = 11
BLOCK = 64
LIMIT = {"GALAXY": 0.0015, "QSO": 0.015}
"""GF's threshold by true spectype; P1, Eq. 10."""
PAPER = {
    "GALAXY STARBURST": (0.942, 0.0008),
    "GALAXY STARFORMING": (0.913, 0.0012),
    "GALAXY AGN": (0.854, 0.0018),
    "GALAXY nan": (0.625, 0.0098),
    "QSO BROADLINE": (0.926, 0.0194),
    "QSO nan": (0.760, 0.1208),
}
"""GF and MAE from the predictions that P1's authors released, 3,000 a class, true class given."""
PAPER_ACCURACY = {"sdss": "0.924", "4most": "0.934", "desi": "0.96"}
"""P1, sections 4.2.1, 4.3.1 and 4.4."""
SNR = (0, 2, 5, 10, 20, 50)

Strings = NDArray[np.str_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What one estimator says of n spectra, (n,) each."""

    name: Strings
    """Class that was found."""
    spectype: Strings
    z: Floats
    """Redshift of that class."""
    given: Floats
    """Redshift of the true class; NaN where the model has none."""
    stable: NDArray[np.bool_]
    """Whether the flag UNSTABLE is not set."""


@dataclass(frozen=True)
class Rows:
    """n spectra with truth and answers; ``label`` is the fine class where there is one."""

    label: Strings
    spectype: Strings
    z: Floats
    snr: Floats
    answers: Mapping[str, Answers]

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        """Some of them."""
        answers = {k: _pick(a, keep) for k, a in self.answers.items()}
        return Rows(self.label[keep], self.spectype[keep], self.z[keep], self.snr[keep], answers)


def _pick(one: Answers, keep: NDArray[np.bool_]) -> Answers:
    return Answers(*(getattr(one, name)[keep] for name in one.__dataclass_fields__))


def judged(estimator: Estimator, one: Spectra, fits: Callable[[Any], NDArray[np.bool_]]) -> Answers:
    """Answers on some spectra; ``fits`` says of a ClassSpec for which of them (n,) it is true."""
    found = estimator.predict(Chunk(one, estimator.grid), frozenset({"classes"}))
    row = np.arange(len(one))
    specs = [found.classes[i] for i in found.best]
    z = still(found)
    true = np.stack([fits(spec) for spec in found.classes], axis=1)
    prob = np.where(true & np.isfinite(z), found.prob, -1)
    at = prob.argmax(1)
    bits = found.zwarn if found.zwarn is not None else np.zeros(len(one), np.int64)
    return Answers(
        name=np.array([spec.name for spec in specs]),
        spectype=np.array([spec.spectype for spec in specs]),
        z=z[row, found.best],
        given=np.where(prob[row, at] >= 0, z[row, at], np.nan),
        stable=(bits & int(ZWarn.UNSTABLE)) == 0,
    )


def still(found: Prediction) -> Floats:
    """(n, class) redshifts, 0 for a class that has none."""
    return np.where([spec.z_range is None for spec in found.classes], 0.0, found.z)


def gathered(parts: Sequence[tuple[Spectra, Strings, Mapping[str, Answers]]]) -> Rows:
    """Rows of several pieces, with their labels."""
    truth = [one.truth for one, _, _ in parts]
    assert all(t is not None for t in truth)  # mocks have one, and real ones get the manifest's
    names = parts[0][2]
    return Rows(
        label=np.concatenate([labels for _, labels, _ in parts]),
        spectype=np.concatenate([t.spectype for t in truth if t is not None]),
        z=np.concatenate([t.z for t in truth if t is not None]),
        snr=np.concatenate([snr(one) for one, _, _ in parts]),
        answers={
            name: Answers(
                *(
                    np.concatenate([getattr(answers[name], part) for _, _, answers in parts])
                    for part in Answers.__dataclass_fields__
                )
            )
            for name in names
        },
    )


def snr(one: Spectra) -> Floats:
    """(n,) median SNR per good native pixel, over all arms."""
    flux = np.concatenate([arm.flux for arm in one.arms], axis=1)
    ivar = np.concatenate([np.where(arm.usable, arm.ivar, 0) for arm in one.arms], axis=1)
    ratio = np.where(ivar > 0, flux * np.sqrt(ivar), np.nan)
    return np.asarray(np.nanmedian(ratio, axis=1), np.float64)


def mocks(survey: str, recipe: Recipe, each: int, estimators: Mapping[str, Estimator]) -> Rows:
    """``each`` mock spectra of each class of the recipe, of the part "test"."""
    have: Counter[int] = Counter()
    parts = []
    for one in stream(survey, SEED, BLOCK, split="test"):
        for i, number in enumerate(_classes(one, recipe)):
            single = one[i : i + 1]
            if number < 0 or have[number] >= each or not _seen(single):
                continue
            have[number] += 1
            name = recipe.classes[number].name
            parts.append((single, np.array([name]), _both(estimators, single, name)))
        if sum(have.values()) == each * len(recipe.classes):
            return gathered(parts)
    raise AssertionError  # the stream never ends


def _classes(one: Spectra, recipe: Recipe) -> list[int]:
    assert one.truth is not None
    labels = one.truth.label
    texts = [""] * len(one) if labels is None else labels.tolist()
    return recipe.classify(texts, one.truth.spectype.tolist())


def _seen(single: Spectra) -> bool:
    """Whether there are data where the networks look."""
    return any(
        bool(arm.usable[:, (arm.wave > 4000) & (arm.wave < 9000)].any()) for arm in single.arms
    )


def _both(estimators: Mapping[str, Estimator], one: Spectra, name: str) -> dict[str, Answers]:
    """Answers of each; the true class is the fine one of a network, else the spectype."""
    assert one.truth is not None
    kind = one.truth.spectype

    def fine(spec: Any) -> NDArray[np.bool_]:
        return np.full(len(one), spec.name == name)

    def coarse(spec: Any) -> NDArray[np.bool_]:
        return np.asarray(kind == spec.spectype)

    return {
        title: judged(estimator, one, fine if isinstance(estimator, GasNet2) and name else coarse)
        for title, estimator in estimators.items()
    }


# tables


def good(rows: Rows, z: Floats) -> str:
    """GF with its 68 % interval (Wilson), by the thresholds of the true spectype."""
    limit = np.array([LIMIT[kind] for kind in rows.spectype])
    near = log_bias(np.where(np.isfinite(z), z, -1), rows.z) < limit
    return fraction(near)


def fraction(hits: NDArray[np.bool_]) -> str:
    """Share and half of its 68 % interval (Wilson 1927)."""
    n = len(hits)
    if n == 0:
        return ""
    share = float(hits.mean())
    return f"{share:.3f} ± {np.sqrt(share * (1 - share) / n + 1 / (4 * n * n)) / (1 + 1 / n):.3f}"


def mae(rows: Rows, z: Floats) -> str:
    """Mean absolute error in z."""
    known = np.isfinite(z)
    return f"{np.abs(z - rows.z)[known].mean():.4f}" if known.any() else ""


def typical(rows: Rows, z: Floats) -> str:
    """Median of |z - z_true| / (1 + z_true)."""
    off = np.abs(z - rows.z) / (1 + rows.z)
    return f"{np.nanmedian(off):.5f}" if np.isfinite(off).any() else ""


def redshift_table(rows: Rows, network: str) -> list[str]:
    """GF by class: the paper's, the network's and the likelihood's."""
    lines = [
        "| class | n | P1: GF, MAE | GF, class given | GF, end to end | MAE, class given | robust "
        "| GF of these, given | likelihood: GF, given | end to end |",
        "|" + "---|" * 10,
    ]
    for name in dict.fromkeys(rows.label.tolist()):
        mine = rows.where(rows.label == name)
        if mine.spectype[0] == "STAR":
            continue
        net, fit = mine.answers[network], mine.answers["likelihood"]
        paper = ", ".join(f"{x:g}" for x in PAPER.get(name, ()))
        right = net.name == mine.label
        robust = mine.where(net.stable & right)
        cells = [
            name,
            str(len(mine.z)),
            paper,
            good(mine, net.given),
            good(mine, net.z),
            mae(mine, net.given),
            f"{net.stable[right].mean():.2f}" if right.any() else "",
            good(robust, robust.answers[network].given) if len(robust.z) else "",
            good(mine, fit.given),
            good(mine, fit.z),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def class_lines(rows: Rows, network: str, survey: str) -> list[str]:
    """Accuracy: all classes, spectypes, and by SNR."""
    net, fit = rows.answers[network], rows.answers["likelihood"]
    number = len(set(rows.label.tolist()))
    lines = [
        "| accuracy | gasnet2 | likelihood | P1 |",
        "|---|---|---|---|",
        f"| {number} classes | {fraction(net.name == rows.label)} | | {PAPER_ACCURACY[survey]} |",
        f"| spectype | {fraction(net.spectype == rows.spectype)} "
        f"| {fraction(fit.spectype == rows.spectype)} | {'0.99' if survey == 'sdss' else ''} |",
    ]
    for low, high in itertools.pairwise(SNR):
        inside = (rows.snr >= low) & (rows.snr < high)
        lines.append(
            f"| SNR {low} to {high}: {inside.sum()} "
            f"| {fraction((net.name == rows.label)[inside])} "
            f"| {fraction((fit.spectype == rows.spectype)[inside])} (spectype) | |"
        )
    return lines


def confusion(true: Strings, found: Strings, columns: Sequence[str]) -> list[str]:
    """Counts of each true label by the class that was found, those of one row by themselves."""
    count = Counter(zip(true.tolist(), found.tolist(), strict=True))
    lines = [f"| true \\ found | {' | '.join(columns)} |", "|" + "---|" * (1 + len(columns))]
    for name in dict.fromkeys(sorted(true.tolist())):
        cells = (str(count[name, column] or "") for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def survey_part(survey: str, model: str, each: int) -> list[str]:
    """The tables of one model on mocks."""
    network = checkpoint.load_estimator(model)
    assert isinstance(network, GasNet2)
    estimators = {model: network, "likelihood": checkpoint.load_estimator("likelihood")}
    rows = mocks(survey, parse(network.meta["recipe"]), each, estimators)
    names = [spec.name for spec in network.classes]
    lines = [f"## {survey}: {each} mocks a class", "", trained(network), ""]
    lines += [*class_lines(rows, model, survey), "", *redshift_table(rows, model), ""]
    return [*lines, *confusion(rows.label, rows.answers[model].name, names), ""]


def trained(network: GasNet2) -> str:
    """Which recipe a model is of, and its figures on its validation set."""
    recipe = parse(network.meta["recipe"])
    figures = network.meta["figures"]
    errors = ", ".join(f"{k} {v:.4f}" for k, v in figures["mae"].items())
    train = recipe.train
    return (
        f"Trained by width {recipe.network.width:g}, {train.members} members, "
        f"{figures['split']} {recipe.data.source} spectra, {train.epochs} epochs of the classifier "
        f"and {train.of_redshifts().epochs} of the redshifts, seed {recipe.seed}. Validation set: "
        f"accuracy {figures['accuracy']:.3f}; MAE {errors}."
    )


# real spectra


def real(shared: Path, model: str, kept: Path | None) -> list[str]:
    """The real SDSS spectra: spectypes, and what the finer classes become."""
    recipe = find_recipe("likelihood")
    data = [pair for pair in listed(shared / recipe["manifest"]) if pair[0]["label_ok"] == "1"]
    network, fitters = checkpoint.load_estimator(model), folds(recipe, shared, data, kept)
    parts = []
    for line, one in data:
        truth = label_of(line, one)
        estimators = {model: network, "likelihood": fitters[fold_of(line["object"])]}
        fine = np.array([f"{line['class']} {bare(line['subclass'])}"])
        parts.append((truth, fine, _both(estimators, truth, "")))
    rows = gathered(parts)
    names = [spec.name for spec in network.classes]
    outside = ~np.isin(rows.label, names)
    return [
        f"## Real SDSS: {len(rows.z)} spectra with label_ok",
        "",
        f"{outside.sum()} of them are in none of the {len(names)} classes.",
        "",
        *real_table(rows, model, unseen(data)),
        "",
        *confusion(rows.label, rows.answers[model].name, names),
        "",
    ]


def label_of(line: Mapping[str, str], one: Spectra) -> Spectra:
    """The spectrum with the manifest's label."""
    from dataclasses import replace

    from zspec import Truth

    return replace(one, truth=Truth(np.array([line["class"]]), np.array([float(line["z"])])))


def bare(subclass: str) -> str:
    """``F5 (30743)`` as ``F5``; ``nan`` for none."""
    return re.sub(r"\(.*", "", subclass).strip() or "nan"


def folds(
    recipe: Mapping[str, Any], shared: Path, data: Sequence[Any], kept: Path | None
) -> list[Estimator]:
    """Bases that were learned without each fold, with the shipped calibration."""
    labelled = [label(line, one) for line, one in data]
    shipped = checkpoint.load_estimator("likelihood")
    assert isinstance(shipped, Likelihood)
    raw = [likelihood_sdss.fitter(recipe, shared, labelled, k, kept) for k in range(FOLDS)]
    return [one.calibrated_by(shipped.calibration) for one in raw]


def unseen(data: Sequence[Any]) -> NDArray[np.bool_]:
    """(n,) quasars of objects whose spectra made no source that the networks were trained on."""
    family = load()["quasar"]
    used = {
        f"{z:.5f}"
        for z, sed in zip(family.facts["z"], family.seds, strict=True)
        if part_of(sed) != "test"
    }
    lines = [line for line, _ in data]
    met = {line["object"] for line in lines if f"{float(line['z']):.5f}" in used}
    return np.array([line["class"] == "QSO" and line["object"] not in met for line in lines])


def real_table(rows: Rows, model: str, new: NDArray[np.bool_]) -> list[str]:
    """Class and GF by spectype; of the quasars also those that no source was made of."""
    choices: Iterator[tuple[str, NDArray[np.bool_]]] = iter(
        [(kind, rows.spectype == kind) for kind in ("GALAXY", "QSO", "STAR")]
        + [("QSO, no source of the mocks", new)]
    )
    lines = [
        "| label | n | class: gasnet2 | likelihood | GF, class given: gasnet2 | likelihood "
        "| GF, end to end: gasnet2 | likelihood | error, class given: gasnet2 | likelihood |",
        "|" + "---|" * 10,
    ]
    for name, which in choices:
        mine = rows.where(which)
        net, fit = mine.answers[model], mine.answers["likelihood"]
        star = name == "STAR"
        redshifts = [net.given, fit.given, net.z, fit.z]
        cells = [
            name,
            str(len(mine.z)),
            fraction(net.spectype == mine.spectype),
            fraction(fit.spectype == mine.spectype),
            *("" if star else good(mine, z) for z in redshifts),
            *("" if star else typical(mine, z) for z in (net.given, fit.given)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


HEAD = """# What the trained GaSNet-II reach

Made by `{command}`. GF: share with |ln((1+z)/(1+z_true))| below 0.0015 (galaxies) or 0.015
(quasars), by the true class; not used for stars. "Class given": the redshift of the true class's
ensemble, as the paper has it; "end to end": that of the class that was found. Robust: share without
UNSTABLE where the class is right. P1: Zhong et al. 2024, full size, 14,000 real spectra a class,
3,000 to test; its 4MOST spectra are mocks, too. The likelihood has no finer classes; its true class
is the spectype. Error: median of |z - z_true| / (1 + z_true). ±: 68 %.

What mocks can and cannot show. The test mocks are of sources that were set apart, but of the same
simulator: the same instrument, noise and rule by which a label follows from the lines. They show
what a network of this size learns from so many spectra, and what noise does to it. They do not show
what wrong labels, unknown kinds of objects and the data's own faults do, and their labels are exact
where the survey's are not; so an accuracy on mocks is no rival of P1's on real spectra.
The real spectra below show that step, on a sample that is no survey. Sources of the mocks were
learned from some of these very spectra (galaxies, quasars; not stars): the last line of their table
is of quasars of which no source was made.
"""


def main() -> None:
    """Measure, print, and write a page where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the shared folder, which holds data/")
    parser.add_argument("models", nargs="+", metavar="SURVEY=MODEL")
    parser.add_argument("--each", type=int, default=200, help="mocks of each class")
    parser.add_argument("--bases", type=Path, help="folder of the folds' bases")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [text.partition("=")[::2] for text in given.models]
    words = " ".join(given.models)
    command = f"python benchmarks/gasnet2_accuracy.py ../shared {words} --each {given.each}"
    lines = [HEAD.format(command=command)]
    for survey, model in pairs:
        lines += survey_part(survey, model, given.each)
        if survey == "sdss":
            lines += real(given.shared, model, given.bases)
        print("\n".join(lines), flush=True)
    if given.output:
        given.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
