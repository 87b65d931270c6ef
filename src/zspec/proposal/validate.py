"""How good a proposal is on mock spectra that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zspec.proposal.model import TOGETHER, ProposalModel
from zspec.proposal.samples import Samples
from zspec.proposal.targets import BLANK, loss, shares

NEAR = 3
"""Bins between the truth and the highest bin that still count as near."""


@dataclass(frozen=True)
class Scores:
    """What is measured of some spectra."""

    count: int
    """Objects, blank fibres apart."""
    loss: float
    """Mean cross-entropy."""
    right: float
    """Share of objects whose most probable class is the true one."""
    near: float
    """Share of objects whose highest bin, of all classes, is within ``NEAR`` of the truth."""
    blank: float
    """Mean probability of nothing on blank fibres; NaN where there are none."""

    def __str__(self) -> str:
        """In one line."""
        return f"loss {self.loss:.3f}, class {self.right:.3f}, near {self.near:.3f}"


@dataclass(frozen=True)
class Validation(Scores):
    """Of all spectra, and of each survey's."""

    by_survey: Mapping[str, Scores]


@torch.no_grad()
def measure(model: ProposalModel, samples: Samples) -> Tensor:
    """(n, 4) loss, class right, near, and probability of nothing of each spectrum."""
    model.network.eval()
    parts = []
    for rows in torch.split(torch.arange(len(samples)), TOGETHER):
        flux, error = (v[rows].to(model.device).float() for v in (samples.flux, samples.error))
        label, ln_z = samples.label[rows], samples.ln_z[rows]
        logits, nothing, _ = (each.cpu() for each in model.logits(flux, error))
        target = shares(label, ln_z, model.bins)
        total = torch.logsumexp(logits.flatten(1), 1)
        kind = torch.logsumexp(logits, 2).argmax(1)
        mode = logits.amax(1).argmax(1)
        true = (ln_z.nan_to_num(0.0) - model.edges[0]) / model.bins.width - 0.5
        near = (mode - true).abs() <= NEAR + 0.5
        made = (loss(logits, nothing, label, target), kind == label, near)
        parts.append(torch.stack([*(m.float() for m in made), torch.sigmoid(nothing - total)], 1))
    return torch.cat(parts).cpu()


def validate(model: ProposalModel, samples: Samples, names: Sequence[str]) -> Validation:
    """Scores of all samples, and by the names of their surveys."""
    found = measure(model, samples)
    blank = samples.label == BLANK
    by_survey = {
        name: _scores(found[samples.survey == number], blank[samples.survey == number])
        for number, name in enumerate(names)
    }
    whole = _scores(found, blank)
    return Validation(**vars(whole), by_survey=by_survey)


def _scores(found: Tensor, blank: Tensor) -> Scores:
    """Means of (n, 4) measures; blank: (n,) whether there is nothing on the fibre."""
    objects = found[~blank].mean(0).tolist()
    empty = float(found[blank, 3].mean()) if blank.any() else float(np.nan)
    return Scores(int((~blank).sum()), float(found[:, 0].mean()), objects[1], objects[2], empty)
