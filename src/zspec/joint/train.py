"""From a recipe to one checkpoint: network, bases, weights, calibration. ``zspec train zspec``.

Beside the checkpoint a folder ``NAME.training`` keeps what took long: the network's state, from
which a stopped training goes on, and the bases that were learned without each fold of the real
spectra.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zspec import checkpoint
from zspec.estimators.likelihood import Likelihood
from zspec.joint import cases, finetune, recipe
from zspec.joint.calibrating import learned
from zspec.joint.cases import JointCase, weighted
from zspec.joint.proposed import Proposer
from zspec.joint.recipe import JointRecipe
from zspec.joint.weights import Weights
from zspec.likelihood import labelled
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.train import all_bases, label
from zspec.likelihood.validate import FOLDS, blank, fold_of, known
from zspec.proposal import provenance
from zspec.proposal import recipe as network_recipe
from zspec.proposal import training as network
from zspec.training import find_recipe

if TYPE_CHECKING:
    from zspec.proposal.model import ProposalModel

log = logging.getLogger("zspec")


def train(given: Mapping[str, Any], shared: Path, out: Path) -> None:
    """Make all parts of a recipe from files below ``shared``, and write the checkpoint ``out``.

    Raises ConfigError for a recipe, and InputError for data, that make no sense.
    """
    asked = recipe.parse(given)
    if asked.init:
        return finetune.train(given, shared, out)
    table = network_recipe.parse(asked.proposal)
    kept = out.with_suffix(".training")
    model = network.train(table, shared, kept)
    finish(given, shared, kept, model, out)


def finish(
    given: Mapping[str, Any], shared: Path, kept: Path, model: ProposalModel, out: Path
) -> None:
    """Learn all that comes after the network, and write the checkpoint."""
    from zspec.estimators.joint import Joint

    asked = recipe.parse(given)
    likelihood = part(asked.likelihood.model, shared)
    lines = list(labelled.spectra(find_recipe(asked.likelihood.recipe), shared))
    fitters = folds(asked, shared, kept / "folds", lines, likelihood.calibration)
    every, blanks = validation(asked, likelihood, lines, fitters, model)
    calibration = learned(every, blanks, likelihood.calibration)
    figures = summary(every, blanks, calibration.weights)
    log.info("joint weights: %s; %s", calibration.weights, figures)
    meta = {"recipe": dict(given), "seed": table_seed(given), "surveys": list(asked.surveys)}
    Joint(likelihood, model, calibration, {**meta, "figures": figures}).save(out)


def table_seed(given: Mapping[str, Any]) -> int:
    """The network's seed, which is the checkpoint's."""
    return network_recipe.parse(given["proposal"]).seed


def part(model: str, shared: Path) -> Likelihood:
    """The likelihood of a shipped name, or of a file below the data folder."""
    below = shared / model
    return Likelihood.load(below if below.is_file() else checkpoint.find(model))


def folds(
    asked: JointRecipe,
    shared: Path,
    kept: Path,
    lines: Sequence[labelled.Line],
    calibration: Calibration,
) -> list[Likelihood]:
    """Likelihoods whose bases did not see each fold's objects, kept in a folder or found there."""
    own = find_recipe(asked.likelihood.recipe)
    real = [label(line, one) for line, one in lines if line["label_ok"] == "1"]
    kept.mkdir(parents=True, exist_ok=True)
    made = []
    for fold in range(FOLDS):
        path = kept / f"{fold}.safetensors"
        identity = provenance.identity(own, shared, fold, FOLDS)
        if not provenance.holds(path, identity):
            others = [one for one in real if fold_of(one.key) != fold]
            Likelihood(all_bases(own, shared, others), {"of": identity}).save(path)
            log.info("fold %d of %d: bases from %d real spectra", fold, FOLDS, len(others))
        made.append(Likelihood.load(path).calibrated_by(calibration))
    return made


def validation(
    asked: JointRecipe,
    likelihood: Likelihood,
    lines: Sequence[labelled.Line],
    fitters: Sequence[Likelihood],
    model: Proposer,
) -> tuple[list[JointCase], list[JointCase]]:
    """Labelled cases, real and mock, and those of real blank sky."""
    how = asked.validation
    known_lines = [known(line, one) for line, one in lines if line["label_ok"] == "1"]
    every = list(cases.real(known_lines, fitters, model, how.ladder))
    for survey in how.surveys:
        made = cases.mocks(survey, how.mocks, how.seed, likelihood, model)
        every += [case for case in made if case.known.spectype]
        log.info("validation: %d cases with %s", len(every), survey)
    sky = [blank(line, one) for line, one in lines if line["is_sky"] == "1"]
    blanks = [case for f in fitters for case in cases.real(sky, [f] * FOLDS, model, (1,))]
    return every, blanks


def summary(
    every: Sequence[JointCase], blanks: Sequence[JointCase], weights: Weights
) -> dict[str, Any]:
    """Figures on the validation set: how many cases of each group, and how many are right."""
    count: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for case in weighted(every, weights):
        order = case.ranked(1.0)
        name = f"{case.group} {case.step}" if case.step > 1 else case.group
        count[name] += 1
        hits[name] += case.good(order) and case.spectype(order) == case.known.spectype
    right = {name: round(hits[name] / count[name], 4) for name in count}
    return {"cases": dict(count), "right": right, "blanks": len(blanks) // FOLDS}
