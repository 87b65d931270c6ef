"""MNF layers: flows against autograd, KL against Monte Carlo and a numerical integral."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from zspec.slitless.flows import Coupling, RealNVP
from zspec.slitless.heads import HEADS, HeadSettings, gaussian, make_head, negative_log_likelihood
from zspec.slitless.mnf import MNFDense


def flow(size, steps, seed=0):
    """A flow in float64 that is far from the identity."""
    torch.manual_seed(seed)
    made = RealNVP(size, steps, hidden=8).double()
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return made


def layer(inputs=4, outputs=3, spread=-2.0, seed=0):
    """An MNF layer in float64 whose weights are broad and whose flows do something."""
    torch.manual_seed(seed)
    made = MNFDense(inputs, outputs, flows=2, hidden=6).double()
    for part in (made.forth, made.back):
        for p in part.parameters():
            torch.nn.init.normal_(p, std=0.5)
    for p in (made.log_var, made.bias_log_var, made.z_log_var):
        torch.nn.init.normal_(p, mean=spread, std=0.3)
    return made


@pytest.mark.parametrize(("size", "steps"), [(1, 2), (2, 2), (5, 3), (7, 8)])
def test_a_flow_has_an_inverse(size, steps):
    made, z = flow(size, steps), torch.randn(7, size, dtype=torch.float64)
    out, _ = made(z)
    assert not torch.allclose(out, z)
    torch.testing.assert_close(made.inverse(out), z, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("size", "steps"), [(1, 2), (2, 1), (5, 4)])
def test_log_determinant_is_that_of_autograd(size, steps):
    made, z = flow(size, steps), torch.randn(3, size, dtype=torch.float64)
    _, log_det = made(z)
    for row, found in zip(z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: made(v[None])[0][0], row)
        expected = torch.linalg.slogdet(jacobian)
        torch.testing.assert_close(found, expected.logabsdet)


def test_masks_alternate_and_every_element_moves():
    masks = [step.mask for step in RealNVP(5, 4, 3).steps]
    for before, after in pairwise(masks):
        torch.testing.assert_close(before, 1 - after)
    z = torch.randn(2, 5)
    assert bool((flow(5, 2)(z.double())[0] != z).all())


def test_fifty_couplings_as_they_start_keep_their_inverse():
    torch.manual_seed(0)
    made, z = RealNVP(6, 50, hidden=50).double(), torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(made.inverse(made(z)[0]), z)


def test_a_coupling_leaves_what_its_mask_covers():
    made, z = Coupling(6, 4, odd=True), torch.randn(3, 6)
    torch.testing.assert_close(made(z)[0][:, 1::2], z[:, 1::2])


def test_density_of_z_integrates_to_one():
    made = layer(inputs=1)
    with torch.no_grad():
        z, log_q = made.draw_z(200_000, torch.Generator().manual_seed(1))
    # E_q[uniform density over a box / q] is the share of the box where q has its mass: 1
    low, high = z.quantile(0.001), z.quantile(0.999)
    inside = ((z > low) & (z < high))[:, 0]
    share = (inside / (log_q.exp() * (high - low))).mean()
    assert abs(float(share) - 1) < 0.02


def test_kl_of_weights_given_z_is_the_closed_form():
    made = layer()
    z = torch.randn(1, 4, dtype=torch.float64)
    q = Normal(z[0][:, None] * made.mean, (0.5 * made.log_var).exp())
    expected = torch.distributions.kl_divergence(q, Normal(torch.zeros(()).double(), 1.0))
    found = made._gauss_kl((z[0][:, None] * made.mean) ** 2, made.log_var)
    torch.testing.assert_close(found, expected)


def test_kl_agrees_with_monte_carlo_over_weights():
    """E[ln q(W|z) + ln q(z) - ln p(W) - ln r(z|W)] with W drawn and r taken from W itself."""
    made, n = layer(), 20_000
    with torch.no_grad():
        z, log_q = made.draw_z(n)
        q = Normal(z[:, :, None] * made.mean, (0.5 * made.log_var).exp())
        w = q.sample()
        log_r = made.log_r(z, torch.einsum("i,nij->nj", made.r_c, w))
        terms = q.log_prob(w).sum((1, 2)) + log_q - log_r
        terms = terms - Normal(0.0, 1.0).log_prob(w).sum((1, 2))
        b = Normal(made.bias, (0.5 * made.bias_log_var).exp())
        biases = torch.distributions.kl_divergence(b, Normal(torch.zeros(()).double(), 1.0)).sum()
        found = made.kl(n)
    error = float(terms.std()) / math.sqrt(n)
    assert abs(float(found - biases - terms.mean())) < 6 * error
    assert float(terms.std()) > 0.1


def test_kl_is_an_upper_bound_of_the_true_one():
    """One weight: q(w) by integrating z out numerically; the bound may not lie below KL(q || p)."""
    made = layer(inputs=1, outputs=1)
    with torch.no_grad():
        z, _ = made.draw_z(4000)
        w = torch.linspace(-8, 8, 2001, dtype=torch.float64)
        sigma = (0.5 * made.log_var[0, 0]).exp()
        density = Normal(z * made.mean[0, 0], sigma).log_prob(w).exp().mean(0)
        inside = density > 1e-12
        p = Normal(0.0, 1.0).log_prob(w)
        integrand = torch.where(inside, density * (density.clamp_min(1e-300).log() - p), 0.0)
        true = torch.trapezoid(integrand, w)
        biases = made._gauss_kl(made.bias**2, made.bias_log_var).sum()
        bound = made.kl(20_000) - biases
    assert float(torch.trapezoid(density, w)) == pytest.approx(1, abs=1e-3)
    assert float(bound) > float(true) - 0.02


def test_forward_has_the_moments_of_drawn_weights():
    made, x = layer(), torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        rows = made(x.expand(40_000, 4))
        weights, bias = made.draw_weights(40_000, torch.Generator().manual_seed(2))
        drawn = torch.einsum("i,nij->nj", x[0], weights) + bias
    torch.testing.assert_close(rows.mean(0), drawn.mean(0), rtol=0.02, atol=0.02)
    torch.testing.assert_close(rows.std(0), drawn.std(0), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_passes_are_those_of_a_seed_and_of_a_row_alone(kind):
    head = make_head(6, HeadSettings(kind=kind, hidden=5))
    head.standardise(torch.randn(6), torch.rand(6) + 0.5)
    x = torch.randn(11, 6)

    def run(rows, seed=3):
        weights = head.draw(20, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return weights.run(head.normal(rows))

    whole = run(x)
    assert whole.shape == (1 if kind == "gaussian" else 20, 11, 2)
    torch.testing.assert_close(run(x), whole, rtol=0, atol=0)
    torch.testing.assert_close(run(x.flip(0)).flip(1), whole)
    torch.testing.assert_close(run(x[4:5])[:, 0], whole[:, 4])
    assert (kind == "gaussian") == torch.equal(run(x, seed=4), whole)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_training_passes_and_drawn_passes_agree_in_the_mean(kind):
    head = make_head(6, HeadSettings(kind=kind, hidden=5, dropout=0.3))
    x = torch.randn(1, 6)
    with torch.no_grad():
        trained = head(x.expand(20_000, 6)).mean(0)
        drawn = head.draw(20_000, torch.Generator().manual_seed(1)).run(head.normal(x)).mean((0, 1))
    torch.testing.assert_close(trained, drawn, rtol=0.05, atol=0.02)


def test_a_head_learns_a_noisy_line_and_its_noise():
    """y = x0 + 0.3 noise: mean, sigma and the KL's weight all come out."""
    torch.manual_seed(0)
    x, n = torch.randn(2000, 3), 2000
    y = x[:, 0] + 0.3 * torch.randn(n)
    head = make_head(3, HeadSettings(kind="mnf", hidden=16))
    steps = torch.optim.Adam(head.parameters(), 5e-3)
    for _ in range(200):
        steps.zero_grad()
        (negative_log_likelihood(*gaussian(head(x)), y) + 0.1 * head.penalty(n)).backward()
        steps.step()
    with torch.no_grad():
        mean, sigma = gaussian(head.draw(50, torch.Generator().manual_seed(0)).run(head.normal(x)))
    assert float((mean.mean(0) - x[:, 0]).std()) < 0.1
    assert float(sigma.mean()) == pytest.approx(0.3, abs=0.05)
    assert head.penalty(1).item() > 0
