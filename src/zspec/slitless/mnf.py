"""A dense layer whose weights are a distribution: multiplicative normalising flows.

Louizos & Welling 2017 (arXiv:1703.01961). q(W | z) is a Gaussian whose mean is multiplied by z, row
by row, and z itself comes from a flow, so that weights can be correlated and have several modes.
Two unusual points: a pass at prediction is one draw of W that all rows share, so that a row's
answer does not depend on its neighbours; and flows have a fixed inverse (see :mod:`.flows`).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from zspec.slitless.flows import RealNVP

LOG_VAR = -9.0
"""Start of the ln variance of weights and of z: nearly a plain network. Louizos & Welling's code
and the one that P2 used start there too."""
JITTER = 0.1
"""Standard deviation of the start of ln variances."""


class MNFDense(nn.Module):
    """``inputs`` to ``outputs``; the prior of every weight and bias is N(0, 1)."""

    def __init__(self, inputs: int, outputs: int, flows: int, hidden: int) -> None:
        """``flows`` couplings of ``hidden`` units, for q(z) and again for r(z | W)."""
        super().__init__()
        self.mean = nn.Parameter(torch.randn(inputs, outputs) / math.sqrt(inputs))
        self.log_var = nn.Parameter(LOG_VAR + JITTER * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.bias_log_var = nn.Parameter(LOG_VAR + JITTER * torch.randn(outputs))
        self.z_mean = nn.Parameter(1 + JITTER * torch.randn(inputs))
        self.z_log_var = nn.Parameter(LOG_VAR + JITTER * torch.randn(inputs))
        self.forth = RealNVP(inputs, flows, hidden)
        self.back = RealNVP(inputs, flows, hidden)
        self.r_c = nn.Parameter(torch.randn(inputs) / math.sqrt(inputs))
        self.r_mean = nn.Parameter(JITTER * torch.randn(inputs))
        self.r_log_var = nn.Parameter(JITTER * torch.randn(inputs))

    def draw_z(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """(n, inputs) of z_T, and (n,) ln q(z_T) = ln q(z_0) - sum of ln |determinant|."""
        noise = self._normal((n, len(self.z_mean)), generator)
        log_q = -0.5 * (noise**2 + self.z_log_var + math.log(2 * math.pi)).sum(-1)
        z, log_det = self.forth(self.z_mean + (0.5 * self.z_log_var).exp() * noise)
        return z, log_q - log_det

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs), a draw of the weights for each row (paper, algorithm 1)."""
        z, _ = self.draw_z(len(x))
        mean = (x * z) @ self.mean + self.bias
        var = x**2 @ self.log_var.exp() + self.bias_log_var.exp()
        return mean + var.sqrt() * torch.randn_like(mean)

    def draw_weights(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """``n`` draws of the weights (n, inputs, outputs) and biases (n, outputs)."""
        z, _ = self.draw_z(n, generator)
        noise = self._normal((n, *self.mean.shape), generator)
        weights = z[:, :, None] * self.mean + (0.5 * self.log_var).exp() * noise
        noise = self._normal((n, len(self.bias)), generator)
        return weights, self.bias + (0.5 * self.bias_log_var).exp() * noise

    def kl(self, n: int = 1) -> Tensor:
        """Bound of KL(q || prior) in nats, the mean of ``n`` draws of z and W (paper, eqs. 11-15).

        E[KL(q(W | z) || p(W)) + ln q(z) - ln r(z | W)] + KL of the biases.
        """
        z, log_q = self.draw_z(n)
        weights = self._gauss_kl((z[:, :, None] * self.mean) ** 2, self.log_var).sum((-1, -2))
        biases = self._gauss_kl(self.bias**2, self.bias_log_var).sum()
        return (weights + log_q - self.log_r(z, self._draw_projection(z))).mean() + biases

    def log_r(self, z: Tensor, projected: Tensor) -> Tensor:
        """(n,) ln r(z | W) of z (n, inputs), given c^T W (n, outputs) (paper, eqs. 7 and 8)."""
        activity = torch.tanh(projected).mean(-1, keepdim=True)
        mean, log_var = self.r_mean * activity, self.r_log_var * activity
        start, log_det = self.back(z)
        gauss = (start - mean) ** 2 * (-log_var).exp() + log_var + math.log(2 * math.pi)
        density: Tensor = log_det - 0.5 * gauss.sum(-1)
        return density

    def _draw_projection(self, z: Tensor) -> Tensor:
        """(n, outputs) draws of c^T W given z, without drawing W."""
        mean = (self.r_c * z) @ self.mean
        var = self.r_c**2 @ self.log_var.exp()
        return mean + var.sqrt() * torch.randn_like(mean)

    @staticmethod
    def _gauss_kl(mean_square: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mean, var) || N(0, 1)), element by element (Kingma & Welling 2014, appendix B)."""
        out: Tensor = 0.5 * (mean_square + log_var.exp() - log_var - 1)
        return out

    def _normal(self, shape: tuple[int, ...], generator: Generator | None) -> Tensor:
        """Standard normal numbers; those of a generator are drawn on its own device."""
        where = generator.device if generator is not None else self.mean.device
        drawn = torch.randn(shape, generator=generator, device=where, dtype=self.mean.dtype)
        return drawn.to(self.mean.device)
