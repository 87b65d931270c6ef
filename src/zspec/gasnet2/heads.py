"""What the classifiers tell apart: all classes in one step, or spectypes first (P1, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zspec.gasnet2.recipe import Recipe

Head = tuple[tuple[int, ...], ...]
"""One classifier: each of its outputs stands for some of the model's classes."""


def heads(recipe: Recipe) -> tuple[Head, ...]:
    """One classifier, or one of spectypes and one within each spectype of several classes."""
    number = len(recipe.classes)
    if not recipe.train.two_step:
        return (tuple((i,) for i in range(number)),)
    kinds: dict[str, list[int]] = {}
    for i, entry in enumerate(recipe.classes):
        kinds.setdefault(entry.spectype, []).append(i)
    within = [tuple((i,) for i in group) for group in kinds.values() if len(group) > 1]
    return (tuple(tuple(group) for group in kinds.values()), *within)


def targets(head: Head, label: Tensor) -> Tensor:
    """(n,) output of the head that stands for each class of (n,) ``label``; -1 for none."""
    found = torch.full_like(label, -1)
    for output, group in enumerate(head):
        found[torch.isin(label, torch.tensor(group, device=label.device))] = output
    return found


def combine(every: Sequence[Head], logits: Sequence[Tensor], number: int) -> Tensor:
    """(n, number) probabilities: the product over the heads that know a class."""
    product = torch.ones(len(logits[0]), number, device=logits[0].device)
    for head, one in zip(every, logits, strict=True):
        chance = one.softmax(1)
        for output, group in enumerate(head):
            product[:, list(group)] *= chance[:, output : output + 1]
    return product
