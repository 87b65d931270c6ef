"""What the network is to say of a spectrum whose class and redshift are known, and the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zspec.proposal.model import Bins

BLANK = -1
"""Label of a fibre with nothing on it."""
WIDTHS = (4e-4, 1.2e-3, 4e-4)
"""Sigma of ln(1 + z) that the truth is blurred by, for GALAXY, QSO and STAR: a third of a bin keeps
what is between two bins known; labels of quasars scatter by 5e-4 to 1e-3 (Lyke+2020, section 4.6),
and what a line profile says of them is no sharper."""


def shares(label: Tensor, ln_z: Tensor, bins: Bins) -> Tensor:
    """(n, bin) target of each spectrum over the bins of its own class; 0 where it is blank.

    label: (n,) number of the class or ``BLANK``; ln_z: (n,) true ln(1 + z). A redshift beyond what
    its class reaches counts as the nearest that it does.
    """
    device, kind = ln_z.device, label.clamp(min=0)
    ends = torch.from_numpy(bins.edges).to(device)
    inside = torch.from_numpy(bins.inside).to(device)
    sigma = torch.tensor(WIDTHS, dtype=torch.float64, device=device)[kind, None]
    low, high = (torch.from_numpy(end).to(device)[kind] for end in bins.reach)
    middle = ln_z.double().nan_to_num(0.0).clamp(low, high)[:, None]
    made = torch.erf((ends - middle) / (math.sqrt(2) * sigma)).diff(dim=1) * inside[kind]
    made = made / made.sum(1, keepdim=True)
    return torch.where((label == BLANK)[:, None], 0.0, made).float()


def loss(logits: Tensor, nothing: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """(n,) cross-entropy over all classes, all bins and nothing at all.

    logits (n, class, bin), -inf outside a class; nothing (n,); label (n,); target (n, bin).
    """
    total = torch.logsumexp(torch.cat([logits.flatten(1), nothing[:, None]], 1), 1)
    blank = label == BLANK
    own = logits[torch.arange(len(label), device=label.device), label.clamp(min=0)]
    inside = torch.where(target > 0, own, 0.0)  # 0 times -inf is nothing
    said = torch.where(blank, nothing, (target * inside).sum(1))
    return total - said
