"""A joint estimator fitted to labelled spectra of a user's own: ``zspec train zspec --init``.

A hundred spectra teach little, so that little is learned: the eight weights of the joint posterior
under a prior about those that are there; a few steps of the network, on a mixture with mocks; and
how far from the network's training a spectrum may be. Bases, ZERR's factors and ZCONF stay as they
are. Each part of the objects is predicted by what the others taught, and of the three candidates
(as it was; other weights; another network too) the one of least loss on those predictions is
learned once more from all of them, and written. All three are logged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import InputError
from zspec.grid import WaveGrid
from zspec.joint import cases, fitting, recipe
from zspec.joint.calibrating import limit
from zspec.joint.calibration import JointCalibration
from zspec.joint.cases import JointCase, weighted
from zspec.joint.judging import judge
from zspec.joint.proposed import Proposer
from zspec.joint.recipe import TuneSettings
from zspec.likelihood import labelled
from zspec.likelihood.validate import FOLDS, Known, fold_of, known
from zspec.proposal import recipe as network_recipe
from zspec.proposal import samples, training
from zspec.proposal.model import ProposalModel

if TYPE_CHECKING:
    from zspec.estimators.joint import Joint

log = logging.getLogger("zspec")

FEWEST = 20
"""Objects with a label below which nothing can be learned and judged."""
SAME, WEIGHTS, NETWORK = "as it was", "weights", "network and weights"

Judged = list[tuple[JointCalibration, Sequence[JointCase]]]
"""Cases, and the calibration that has not seen them."""


@dataclass(frozen=True)
class Figures:
    """What a candidate makes of labelled spectra that it has not seen."""

    loss: float
    """Mean -ln of what the posterior gives to the truth, of all steps of the ladder."""
    spectra: int
    """Those at their own SNR, as the rest of this."""
    right: float
    """Share with the label's class."""
    good: float
    """Share with a good redshift."""
    clear: float
    """Share with ZWARN 0."""
    pure: float
    """Share of these with the right class and a good redshift; NaN where there are none."""
    faint: float
    """Share of those with noise added that have the right class and a good redshift."""

    def __str__(self) -> str:
        """In one line."""
        return (
            f"loss {self.loss:.3f}, class {self.right:.3f}, good redshift {self.good:.3f}, "
            f"ZWARN 0 {self.clear:.3f}, right of these {self.pure:.3f}; "
            f"right with noise added {self.faint:.3f}"
        )


def train(given: Mapping[str, Any], data: Path, out: Path) -> None:
    """Fine-tune the checkpoint ``init`` of a recipe to spectra below ``data``; write ``out``.

    Raises ConfigError for a recipe, and InputError for data, that make no sense.
    """
    asked = recipe.parse(given)
    start = started(asked.init)
    objects = read(asked.finetune, data)
    figures, chosen, made = best(start, objects, asked.finetune)
    told = {"from": start.sha256, "kept": chosen, "recipe": dict(given), "objects": len(objects)}
    meta = {
        **start.meta,
        "finetuned": told,
        "figures": start.meta.get("figures", {}) | by_name(figures),
    }
    type(start)(made.likelihood, made.proposal, made.calibration, meta).save(out)


def by_name(figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Each figure of all candidates, as a checkpoint stores them; those of no spectrum are not."""
    every = {name: dataclasses.asdict(one) for name, one in figures.items()}
    made: dict[str, Any] = {}
    for key in ("loss", "right", "good", "clear", "pure", "faint"):
        known_ = {name: one[key] for name, one in every.items() if math.isfinite(one[key])}
        made |= {f"finetuning_{key}": known_} if known_ else {}
    return made


def started(name: str) -> Joint:
    """The estimator to begin with. Raises ConfigError where it is no joint one."""
    from zspec.estimators.joint import Joint

    path = checkpoint.find(Joint.name if name == "default" else name)
    made = Joint.load(path)
    made.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return made


def read(settings: TuneSettings, data: Path) -> list[Known]:
    """The labelled spectra. Raises InputError where they are too few, or of no class of ours."""
    lines = list(labelled.spectra(settings.places(), data))
    found = [known(line, one) for line, one in lines if line["label_ok"] == "1"]
    found = [one for one in found if one.spectype in ProposalModel.classes]
    count = len({one.key for one in found})
    if count < FEWEST:
        text = f"{count} objects with class and redshift among {len(lines)} labelled spectra"
        raise InputError(f"{data}: {text}; fine-tuning needs {FEWEST}")
    return found


def best(
    start: Joint, objects: Sequence[Known], settings: TuneSettings
) -> tuple[dict[str, Figures], str, Joint]:
    """Figures of all candidates on unseen objects, the name of the best, and it, of all objects."""
    before = solved(start, objects, settings)
    candidates: dict[str, Judged] = {
        SAME: crossed(start, before, settings, taught=False),
        WEIGHTS: crossed(start, before, settings),
    }
    lessons = Lessons.of(start, settings) if settings.steps else None
    if lessons:
        candidates[NETWORK] = retrained(start, objects, lessons, settings)
    figures = {name: measured(found) for name, found in candidates.items()}
    for name, one in figures.items():
        log.info("fine-tuning, objects that were not seen: %s: %s", name, one)
    chosen = min(figures, key=lambda name: figures[name].loss)
    log.info("fine-tuning: kept is %s", chosen)
    tuned, cases_ = start, before
    if chosen == NETWORK and lessons:
        tuned = with_network(start, lessons.network(objects))
        cases_ = solved(tuned, objects, settings)
    calibration = start.calibration
    if chosen != SAME:
        calibration = reweighted(calibration, cases_, settings)
    calibration = reaching(calibration, candidates[chosen])
    log.info("fine-tuning: %s, distance below %g", calibration.weights, calibration.distance)
    return figures, chosen, type(start)(tuned.likelihood, tuned.proposal, calibration, start.meta)


def reaching(calibration: JointCalibration, held: Judged) -> JointCalibration:
    """The calibration with a limit of the network's distance that cases held out keep.

    It rises and never falls: a spectrum like those that the start knew is no stranger now.
    """
    own = [c for by, found in held for c in weighted(found, by.weights) if c.step == 1]
    far = limit(own)
    if not math.isfinite(far):
        return calibration
    return dataclasses.replace(calibration, distance=max(far, calibration.distance))


def solved(joint: Joint, objects: Sequence[Known], settings: TuneSettings) -> list[JointCase]:
    """Predictions of all objects at all steps of the ladder."""
    fitters = [joint.likelihood] * FOLDS
    return list(cases.real(objects, fitters, joint.proposal, settings.ladder))


def crossed(
    start: Joint, given: Sequence[JointCase], settings: TuneSettings, taught: bool = True
) -> Judged:
    """The cases part by part, by the weights that the other parts taught, or the start's."""
    made: Judged = []
    for part in range(settings.parts):
        mine, others = split(given, part, settings)
        if mine and others:
            by = reweighted(start.calibration, others, settings) if taught else start.calibration
            made.append((by, mine))
    return made


def retrained(
    start: Joint, objects: Sequence[Known], lessons: Lessons, settings: TuneSettings
) -> Judged:
    """Cases by the networks, and weights, that the other parts' objects taught."""
    made: Judged = []
    for part in range(settings.parts):
        known_ = [one for one in objects if fold_of(one.key, settings.parts) != part]
        if not known_ or len(known_) == len(objects):
            continue
        tuned = with_network(start, lessons.network(known_))
        mine, others = split(solved(tuned, objects, settings), part, settings)
        made.append((reweighted(start.calibration, others, settings), mine))
    return made


def split(
    given: Sequence[JointCase], part: int, settings: TuneSettings
) -> tuple[list[JointCase], list[JointCase]]:
    """The cases of a part, and the others."""
    inside = [fold_of(case.known.key, settings.parts) == part for case in given]
    pairs = list(zip(given, inside, strict=True))
    return [case for case, own in pairs if own], [case for case, own in pairs if not own]


def reweighted(
    calibration: JointCalibration, given: Sequence[JointCase], settings: TuneSettings
) -> JointCalibration:
    """The calibration with the weights that some cases make of its own."""
    weights, _ = fitting.refit(given, calibration.weights, settings.scatter)
    return dataclasses.replace(calibration, weights=weights)


def with_network(start: Joint, model: Proposer) -> Joint:
    """The estimator with another network."""
    return type(start)(start.likelihood, model, start.calibration, start.meta)


@dataclass(frozen=True)
class Lessons:
    """What a network learns from, beside a user's spectra."""

    model: ProposalModel
    """As it was."""
    table: network_recipe.Recipe
    mocks: samples.Samples
    share: float
    """Of the user's spectra."""

    @classmethod
    def of(cls, start: Joint, settings: TuneSettings) -> Lessons:
        """Mocks of the surveys that the network was made for, and the steps that are wanted."""
        assert isinstance(start.proposal, ProposalModel)
        table = network_recipe.parse(start.meta["recipe"]["proposal"])
        entries = [dataclasses.replace(one, train=settings.mocks) for one in table.data.survey]
        data = dataclasses.replace(table.data, survey=tuple(entries), sources="shipped")
        train = dataclasses.replace(table.train, steps=settings.steps, rate=settings.rate)
        table = dataclasses.replace(table, data=data, train=train)
        return cls(start.proposal, table, samples.simulate(table, "train", None), settings.share)

    def network(self, objects: Sequence[Known]) -> ProposalModel:
        """The network after its steps on the objects, each as often or once, among mocks."""
        number = len(self.table.data.survey)
        real = samples.join([sample(one, self.model.grid, number) for one in objects])
        wanted = round(self.share / (1 - self.share) * len(self.mocks))
        rows = torch.arange(max(wanted, len(real))) % len(real)  # more than wanted: each once
        often = samples.Samples(**{name: one[rows] for name, one in real.tensors().items()})
        return training.tune(self.model, samples.join([self.mocks, often]), self.table)


def sample(one: Known, grid: WaveGrid, number: int) -> samples.Samples:
    """One labelled spectrum as the network's training has it; ``number`` stands for its survey."""
    labels = (np.array([one.spectype]), np.array([one.z]), np.zeros(1))
    return samples.told(one.spectrum, *labels, grid, number, np.ones(1, bool))


def measured(found: Judged) -> Figures:
    """Figures of cases by calibrations that have not seen them."""
    rows = np.array([_judged(c, by) for by, each in found for c in weighted(each, by.weights)])
    own, right, good, clear = rows.T
    sure = own & clear
    losses = [fitting.loss(each, by.weights) for by, each in found]
    return Figures(
        loss=float(np.average(losses, weights=[len(each) for _, each in found])),
        spectra=int(own.sum()),
        right=_share(right[own]),
        good=_share(good[own]),
        clear=_share(clear[own]),
        pure=_share((right & good)[sure]),
        faint=_share((right & good)[~own]),
    )


def _share(those: NDArray[np.bool_]) -> float:
    """The share that is True; NaN of none."""
    return float(those.mean()) if len(those) else float("nan")


def _judged(case: JointCase, by: JointCalibration) -> tuple[bool, bool, bool, bool]:
    """Whether it has its own SNR, whether class and redshift are right, and whether ZWARN is 0."""
    order = case.ranked(1.0)
    bits = judge(case.pixels, case.found, case.proposed, case.bases, by).zwarn
    same = case.spectype(order) == case.known.spectype
    return case.step == 1, same, case.good(order), int(bits[0]) == 0
