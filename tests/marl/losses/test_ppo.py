"""PPO's pieces against closed forms, NumPy and the policy gradient."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from marl.losses.ppo import entropy, log_prob, ppo_loss, value_loss

ROWS, A, N = 40, 3, 5
CLIP = 0.2


def numbers(seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(ROWS, A, N, generator=g, dtype=torch.float64)
    actions = torch.randint(N, (ROWS, A), generator=g)
    logp_old = log_prob(logits, actions) + 0.3 * torch.randn(ROWS, A, generator=g, dtype=torch.float64)
    advantages = torch.randn(ROWS, A, generator=g, dtype=torch.float64)
    mask = torch.rand(ROWS, A, generator=g) < 0.7
    return logits, actions, logp_old, advantages, mask


def test_log_prob_and_entropy_are_the_categoricals():
    logits, actions, *_ = numbers()
    torch.testing.assert_close(log_prob(logits, actions), Categorical(logits=logits).log_prob(actions))
    torch.testing.assert_close(entropy(logits), Categorical(logits=logits).entropy())
    assert log_prob(logits, actions.to(torch.int16)).shape == (ROWS, A)


def test_entropy_in_closed_form():
    assert float(entropy(torch.zeros(7))) == pytest.approx(np.log(7))
    assert float(entropy(torch.tensor([0.0, 200.0]))) == pytest.approx(0, abs=1e-6)
    p = 0.3
    binary = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert float(entropy(torch.tensor([np.log(p), np.log(1 - p)]))) == pytest.approx(binary)


def test_loss_and_statistics_are_the_slow_loop():
    logits, actions, logp_old, advantages, mask = numbers()
    logp = log_prob(logits, actions)
    loss, stats = ppo_loss(logp, logp_old, advantages, mask, clip_eps=CLIP)
    surrogates, kls, clipped, errors = [], [], [], []
    for i, a in mask.nonzero().tolist():
        ratio = float((logp[i, a] - logp_old[i, a]).exp())
        adv = float(advantages[i, a])
        surrogates.append(min(ratio * adv, float(np.clip(ratio, 1 - CLIP, 1 + CLIP)) * adv))
        kls.append(ratio - 1 - np.log(ratio))
        clipped.append(abs(ratio - 1) > CLIP)
        errors.append(abs(ratio - 1))
    assert 0.1 < np.mean(clipped) < 0.9
    assert float(loss) == pytest.approx(-np.mean(surrogates), abs=1e-12)
    assert float(stats["kl"]) == pytest.approx(np.mean(kls), abs=1e-12)
    assert float(stats["clip_fraction"]) == pytest.approx(np.mean(clipped), abs=1e-12)
    assert float(stats["ratio_error"]) == pytest.approx(max(errors), abs=1e-12)


def test_at_ratio_1_the_gradient_is_the_policy_gradient():
    logits, actions, _, advantages, mask = numbers()
    logits.requires_grad_()
    logp = log_prob(logits, actions)
    loss, _ = ppo_loss(logp, logp.detach(), advantages, mask, clip_eps=CLIP)
    (got,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(-(logp * advantages)[mask].mean(), logits)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ratio", "adv", "moves"), [(1.5, 1, 0), (1.5, -1, 1), (0.5, 1, 1), (0.5, -1, 0), (1.1, 1, 1)])
def test_beyond_the_clip_the_gradient_is_0_only_where_it_would_go_further(ratio, adv, moves):
    logp = torch.tensor([np.log(ratio)], requires_grad=True)
    loss, _ = ppo_loss(logp, torch.zeros(1), torch.tensor([float(adv)]), torch.tensor([True]), clip_eps=CLIP)
    loss.backward()
    assert float(logp.grad) == pytest.approx(-moves * ratio * adv)


def test_each_agent_has_a_ratio_of_its_own():
    logp = torch.log(torch.tensor([[2.0, 0.5]])).requires_grad_()  # a joint ratio would be 1 and never clipped
    loss, stats = ppo_loss(logp, torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, dtype=bool), clip_eps=CLIP)
    assert loss.item() == pytest.approx(-(1.2 + 0.5) / 2)
    assert float(stats["clip_fraction"]) == 1.0


def test_kl_is_never_negative():
    g = torch.Generator().manual_seed(0)
    everybody = torch.ones(1, 1, dtype=torch.bool)
    for size in (1e-8, 1e-6, 1e-3, 1.0, 5.0):
        for change in (size * torch.randn(200, generator=g)).tolist():
            _, stats = ppo_loss(torch.tensor([[change]]), torch.zeros(1, 1), torch.ones(1, 1), everybody, clip_eps=CLIP)
            assert float(stats["kl"]) >= 0


def test_value_loss_and_explained_variance_are_numpys():
    _, _, returns, values, mask = numbers()
    loss, stats = value_loss(values, returns, mask)
    v, r = values[mask].numpy(), returns[mask].numpy()
    assert float(loss) == pytest.approx(0.5 * np.mean((v - r) ** 2), abs=1e-12)
    assert float(stats["value_error"]) == pytest.approx(np.sqrt(np.mean((v - r) ** 2)), abs=1e-12)
    assert float(stats["explained_variance"]) == pytest.approx(1 - np.var(r - v) / np.var(r), abs=1e-12)
    _, perfect = value_loss(returns + 3, returns, mask)  # a constant error explains all that varies
    assert float(perfect["explained_variance"]) == pytest.approx(1)


@pytest.mark.parametrize("garbage", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_garbage_under_the_mask_changes_no_loss_statistic_or_gradient(garbage):
    logits, actions, logp_old, advantages, mask = numbers()
    logp = log_prob(logits, actions)

    def both(fill):
        a, b, c = (x.masked_fill(~mask, fill).requires_grad_() for x in (logp, logp_old, advantages))
        policy, policy_stats = ppo_loss(a, b.detach(), c.detach(), mask, clip_eps=CLIP)
        value, value_stats = value_loss(c, b.detach(), mask)
        grads = torch.autograd.grad(policy + value, [a, c])
        return [policy, value, *policy_stats.values(), *value_stats.values(), *grads]

    for clean, dirty in zip(both(0.0), both(garbage), strict=True):
        assert clean.isfinite().all()
        assert (clean == dirty).all()


def test_nobody_present_gives_zeros():
    nobody = torch.zeros(4, A, dtype=torch.bool)
    x = torch.ones(4, A, requires_grad=True)
    loss, stats = ppo_loss(x, torch.zeros(4, A), torch.ones(4, A), nobody, clip_eps=CLIP)
    value, value_stats = value_loss(x, torch.zeros(4, A), nobody)
    (loss + value).backward()
    assert loss.item() == value.item() == 0
    assert (x.grad == 0).all()
    assert all(v.isfinite() for v in (stats | value_stats).values())
