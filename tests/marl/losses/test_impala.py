"""IMPALA's policy gradient against the gradient of each agent's own objective, and what the statistics say."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from marl.losses.impala import off_policy_stats, policy_gradient_loss
from marl.losses.ppo import log_prob, ppo_loss

T, B, A, N = 4, 3, 5, 6


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(T, B, A, N, generator=g, dtype=torch.float64)
    actions = torch.randint(N, (T, B, A), generator=g)
    advantages = torch.randn(T, B, A, generator=g, dtype=torch.float64)
    mask = torch.rand(T, B, A, generator=g) < 0.6
    return logits.requires_grad_(), actions, advantages, mask


def test_the_gradient_is_the_policy_gradient_of_those_who_are_there(data):
    logits, actions, advantages, mask = data
    (got,) = torch.autograd.grad(policy_gradient_loss(log_prob(logits, actions), advantages, mask), logits)
    # The gradient of log softmax by hand: one-hot(action) - probabilities.
    one_hot = torch.nn.functional.one_hot(actions, N)
    expected = -(one_hot - logits.softmax(-1)) * advantages[..., None] * mask[..., None] / mask.sum()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_on_policy_it_is_the_gradient_of_ppo_before_its_first_step(data):
    logits, actions, advantages, mask = data
    logp = log_prob(logits, actions)
    (got,) = torch.autograd.grad(policy_gradient_loss(logp, advantages, mask), logits, retain_graph=True)
    clipped, _ = ppo_loss(logp, logp.detach(), advantages, mask, clip_eps=0.2)
    (expected,) = torch.autograd.grad(clipped, logits)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_no_gradient_flows_through_the_advantages(data):
    logits, actions, advantages, mask = data
    advantages.requires_grad_()
    policy_gradient_loss(log_prob(logits, actions), advantages, mask).backward()
    assert advantages.grad is None


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30])
def test_garbage_of_the_absent_changes_nothing(data, garbage):
    logits, actions, advantages, mask = data
    logp = log_prob(logits, actions)
    behaviour = logp.detach() - 0.1
    clean = policy_gradient_loss(logp, advantages, mask)
    (expected,) = torch.autograd.grad(clean, logits, retain_graph=True)
    for absent in (logp, logp.masked_fill(~mask, garbage)):
        dirty = policy_gradient_loss(absent, advantages.masked_fill(~mask, garbage), mask)
        assert torch.equal(clean, dirty)
        assert torch.equal(torch.autograd.grad(dirty, logits, retain_graph=True)[0], expected)
    stats = off_policy_stats(logp, behaviour, mask, rho_clip=1.0)
    for name, value in off_policy_stats(logp.masked_fill(~mask, garbage), behaviour, mask, rho_clip=1.0).items():
        assert torch.equal(value, stats[name]), name


def test_nobody_there_is_a_loss_of_0(data):
    logits, actions, advantages, mask = data
    assert policy_gradient_loss(log_prob(logits, actions), advantages, torch.zeros_like(mask)) == 0


def test_the_kl_estimate_is_that_of_the_distributions():
    g = torch.Generator().manual_seed(1)
    behaviour, learner = torch.randn(2, N, generator=g, dtype=torch.float64)
    actions = Categorical(logits=behaviour).sample((100_000, 1))
    logp, old = (Categorical(logits=x).log_prob(actions) for x in (learner, behaviour))
    stats = off_policy_stats(logp, old, torch.ones_like(actions, dtype=torch.bool), rho_clip=1.3)
    expected = kl_divergence(Categorical(logits=behaviour), Categorical(logits=learner))
    assert float(stats["kl"]) == pytest.approx(float(expected), rel=0.05)
    ratio = learner.log_softmax(-1).exp() / behaviour.log_softmax(-1).exp()
    weight = (behaviour.softmax(-1) * ratio.clamp(max=1.3)).sum()
    assert float(stats["rho"]) == pytest.approx(float(weight), rel=0.02)
