"""Masked RealNVP: a chain of invertible maps whose Jacobian is known.

Dinh, Sohl-Dickstein & Bengio 2016 (arXiv:1605.08803, eq. 9), in the gated form in which Louizos &
Welling 2017 (arXiv:1703.01961, eqs. 9 and 10) use it. Unusual: masks are fixed and alternate
(Louizos & Welling draw them anew at each pass), so that the map has one inverse and is the same
whenever it is used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Coupling(nn.Module):
    """One step: elements under the mask stay, the others become a mixture of themselves and mu.

    With h = tanh(f(m z)), mu = g(h), s = sigmoid(k(h)):
    z' = m z + (1 - m) (s z + (1 - s) mu), and ln |dz'/dz| = sum of (1 - m) ln s.
    """

    mask: Tensor

    def __init__(self, size: int, hidden: int, odd: bool) -> None:
        """``size`` elements; ``odd`` says which half stays."""
        super().__init__()
        self.register_buffer("mask", (torch.arange(size) % 2 == int(odd)).float())
        self.inner = nn.Linear(size, hidden)
        self.shift = nn.Linear(hidden, size)
        self.gate = nn.Linear(hidden, size)
        for layer in (self.shift, self.gate):  # starts near z' = z/2 + shift/2, without saturation
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.gate.bias, 2.0)  # s = 0.88: close to the identity

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(n, size) to the next (n, size), and (n,) ln |determinant|."""
        mu, gate = self._parts(z)
        free = 1 - self.mask
        log_s = functional.logsigmoid(gate)
        s = log_s.exp()
        return self.mask * z + free * (s * z + (1 - s) * mu), (free * log_s).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """What ``forward`` made of its input: (n, size) to (n, size)."""
        mu, gate = self._parts(z)  # depends on masked elements only, which forward leaves alone
        s = torch.sigmoid(gate)
        return self.mask * z + (1 - self.mask) * (z - (1 - s) * mu) / s

    def _parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.inner(self.mask * z))
        return self.shift(h), self.gate(h)


class RealNVP(nn.Module):
    """A chain of couplings; which half stays alternates."""

    def __init__(self, size: int, steps: int, hidden: int) -> None:
        """``steps`` couplings of vectors of ``size`` elements, ``hidden`` units in each."""
        super().__init__()
        self.steps = nn.ModuleList(Coupling(size, hidden, odd=bool(i % 2)) for i in range(steps))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(n, size) through the chain, and (n,) the sum of ln |determinant|."""
        total = z.new_zeros(z.shape[:-1])
        for step in self.steps:
            z, log_det = step(z)
            total = total + log_det
        return z, total

    def inverse(self, z: Tensor) -> Tensor:
        """Back through the chain: (n, size) to (n, size)."""
        for step in reversed(self.steps):
            assert isinstance(step, Coupling)
            z = step.inverse(z)
        return z
