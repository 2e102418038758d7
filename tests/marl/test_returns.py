"""Advantages and V-trace against their definitions, summed slowly, and V-trace against RLlib's."""

import pytest
import torch

from marl.batch import advantages_of
from marl.returns import gae, lambda_returns, standardise, vtrace

T, B, A = 9, 5, 3
GAMMA, LAMBDA = 0.9, 0.7


def rollout(seed=0):
    """Random numbers with ends of both kinds at random steps; the next value is unrelated where one ended."""
    g = torch.Generator().manual_seed(seed)
    rewards, values, next_values = torch.randn(3, T, B, A, generator=g, dtype=torch.float64)
    terminated = torch.rand(T, B, generator=g) < 0.2
    truncated = (torch.rand(T, B, generator=g) < 0.2) & ~terminated
    truncated[-1] |= ~terminated[-1]
    ended = terminated | truncated
    next_values[:-1] = torch.where(ended[:-1, :, None], next_values[:-1], values[1:])
    assert terminated.any()
    assert truncated[:-1].any()
    return rewards, values, next_values, terminated, ended


def td_error(data, t, b, a):
    rewards, values, next_values, terminated, _ = data
    future = 0.0 if terminated[t, b] else float(next_values[t, b, a])
    return float(rewards[t, b, a]) + GAMMA * future - float(values[t, b, a])


@pytest.mark.parametrize("lambda_", [0.0, LAMBDA, 1.0])
def test_gae_is_the_discounted_sum_of_td_errors_up_to_the_end(lambda_):
    data = rollout()
    got = gae(*data, gamma=GAMMA, lambda_=lambda_)
    ended = data[-1]
    for b in range(B):
        for a in range(A):
            for t in range(T):
                expected, factor = 0.0, 1.0
                for later in range(t, T):
                    expected += factor * td_error(data, later, b, a)
                    factor *= GAMMA * lambda_
                    if ended[later, b]:
                        break
                assert float(got[t, b, a]) == pytest.approx(expected, abs=1e-12)


def test_lambda_0_is_the_td_error():
    data = rollout()
    got = gae(*data, gamma=GAMMA, lambda_=0.0)
    for t, b, a in [(0, 0, 0), (4, 3, 2), (T - 1, 1, 1)]:
        assert float(got[t, b, a]) == pytest.approx(td_error(data, t, b, a), abs=1e-12)


def test_lambda_1_is_the_discounted_return_minus_the_value():
    rewards, values, next_values, terminated, ended = data = rollout()
    got = gae(*data, gamma=GAMMA, lambda_=1.0)
    for b in range(B):
        for t in range(T):
            end = next(s for s in range(t, T) if ended[s, b])
            total = sum(GAMMA ** (s - t) * rewards[s, b] for s in range(t, end + 1))
            if not terminated[end, b]:  # a time limit: the future goes on where the episode stopped
                total = total + GAMMA ** (end - t + 1) * next_values[end, b]
            torch.testing.assert_close(got[t, b], total - values[t, b], rtol=0, atol=1e-12)


def test_the_value_after_a_termination_does_not_matter_and_after_a_truncation_it_does():
    rewards, values, next_values, terminated, ended = rollout()
    clean = gae(rewards, values, next_values, terminated, ended, gamma=GAMMA, lambda_=LAMBDA)
    wild = next_values.masked_fill(terminated[..., None], torch.nan)
    assert (gae(rewards, values, wild, terminated, ended, gamma=GAMMA, lambda_=LAMBDA) == clean).all()
    limit = ended & ~terminated
    moved = gae(rewards, values, next_values + limit[..., None], terminated, ended, gamma=GAMMA, lambda_=LAMBDA)
    torch.testing.assert_close((moved - clean)[limit], torch.full_like(clean[limit], GAMMA))


def test_agents_do_not_mix():
    rewards, values, next_values, terminated, ended = rollout()
    whole = gae(rewards, values, next_values, terminated, ended, gamma=GAMMA, lambda_=LAMBDA)
    for a in range(A):
        part = [x[..., a : a + 1] for x in (rewards, values, next_values)]
        assert (gae(*part, terminated, ended, gamma=GAMMA, lambda_=LAMBDA) == whole[..., a : a + 1]).all()


def test_chunks_of_unequal_length_are_as_if_alone():
    g = torch.Generator().manual_seed(3)
    lengths, terminated = [1, 7, 3, 7, 2], [True, False, True, True, False]
    rewards = [torch.randn(n, A, generator=g, dtype=torch.float64) for n in lengths]
    values = [torch.randn(n + 1, A, generator=g, dtype=torch.float64) for n in lengths]
    got = advantages_of(rewards, values, terminated, gamma=GAMMA, lambda_=LAMBDA)
    for r, v, over, adv in zip(rewards, values, terminated, got, strict=True):
        assert adv.shape == r.shape
        expected, last = torch.zeros_like(r), torch.zeros(A, dtype=torch.float64)
        for t in reversed(range(len(r))):
            future = 0 if over and t == len(r) - 1 else v[t + 1]
            last = r[t] + GAMMA * future - v[t] + GAMMA * LAMBDA * last
            expected[t] = last
        torch.testing.assert_close(adv, expected, rtol=0, atol=1e-12)


def test_the_value_after_a_terminated_chunk_may_be_anything():
    rewards, values = [torch.ones(2, A), torch.ones(5, A)], [torch.ones(3, A), torch.ones(6, A)]
    clean = advantages_of(rewards, values, [True, False], gamma=GAMMA, lambda_=LAMBDA)
    values[0][-1] = torch.nan
    dirty = advantages_of(rewards, values, [True, False], gamma=GAMMA, lambda_=LAMBDA)
    assert all((a == b).all() for a, b in zip(clean, dirty, strict=True))


def test_standardise_counts_only_the_present():
    g = torch.Generator().manual_seed(4)
    x, mask = torch.randn(50, A, generator=g, dtype=torch.float64) * 3 + 2, torch.rand(50, A, generator=g) < 0.6
    got = standardise(x.masked_fill(~mask, torch.nan), mask)
    there = x[mask]
    torch.testing.assert_close(got[mask], (there - there.mean()) / there.std(unbiased=False), rtol=0, atol=1e-12)
    assert (got[~mask] == 0).all()
    there = (there - there.mean()) / 10
    torch.testing.assert_close(standardise(x, mask, std_min=10.0)[mask], there, rtol=0, atol=1e-12)
    scaled = x[mask] / x[mask].std(unbiased=False)
    torch.testing.assert_close(standardise(x, mask, centre=False)[mask], scaled, rtol=0, atol=1e-12)
    torch.testing.assert_close(standardise(x, mask, std_min=0.1), standardise(x, mask), rtol=0, atol=0)


@pytest.mark.parametrize("mask", [torch.zeros(4, A, dtype=torch.bool), torch.ones(4, A, dtype=torch.bool)])
def test_standardise_of_nothing_or_of_equal_numbers_is_0(mask):
    assert (standardise(torch.full((4, A), 5.0), mask) == 0).all()


def log_probs(seed=1, spread=0.8):
    """Of the learner and of the policy that acted: ratios on both sides of any clip."""
    g = torch.Generator().manual_seed(seed)
    behaviour = -3 * torch.rand(T, B, A, generator=g, dtype=torch.float64)
    return behaviour + spread * torch.randn(T, B, A, generator=g, dtype=torch.float64), behaviour


def slow_targets(logp, behaviour, data, *, lambda_, rho_clip, c_clip):
    """Espeholt et al., Eq. 1: a sum of temporal differences, each under a product of traces."""
    values, ended = data[1], data[-1]
    targets = torch.zeros_like(values)
    for t, b, a in torch.cartesian_prod(*(torch.arange(n) for n in (T, B, A))).tolist():
        ratio = [float((logp[k, b, a] - behaviour[k, b, a]).exp()) for k in range(T)]
        total = float(values[t, b, a])
        for k in range(t, T):
            product = 1.0
            for i in range(t, k):
                product *= lambda_ * min(c_clip, ratio[i])
            total += GAMMA ** (k - t) * product * min(rho_clip, ratio[k]) * td_error(data, k, b, a)
            if ended[k, b]:
                break
        targets[t, b, a] = total
    return targets


@pytest.mark.parametrize("lambda_", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize(("rho_clip", "c_clip"), [(1.0, 1.0), (2.0, 0.7), (1e9, 1e9)])
def test_vtrace_is_its_definition(lambda_, rho_clip, c_clip):
    data, (logp, behaviour) = rollout(), log_probs()
    rewards, values, next_values, terminated, ended = data
    clips = {"rho_clip": rho_clip, "c_clip": c_clip}
    got = vtrace(logp, behaviour, *data, gamma=GAMMA, lambda_=lambda_, **clips)
    targets = slow_targets(logp, behaviour, data, lambda_=lambda_, **clips)
    torch.testing.assert_close(got.targets, targets, rtol=0, atol=1e-12)
    for t, b, a in torch.cartesian_prod(*(torch.arange(n) for n in (T, B, A))).tolist():
        onward = 0.0 if terminated[t, b] else float(next_values[t, b, a])
        if not ended[t, b]:
            onward = (1 - lambda_) * onward + lambda_ * float(targets[t + 1, b, a])
        rho = min(rho_clip, float((logp[t, b, a] - behaviour[t, b, a]).exp()))
        advantage = rho * (float(rewards[t, b, a]) + GAMMA * onward - float(values[t, b, a]))
        assert float(got.advantages[t, b, a]) == pytest.approx(advantage, abs=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, LAMBDA, 1.0])
def test_on_policy_vtrace_is_the_lambda_return_and_gae(lambda_):
    data, (logp, _) = rollout(2), log_probs()
    got = vtrace(logp, logp, *data, gamma=GAMMA, lambda_=lambda_, rho_clip=1.0, c_clip=1.0)
    returns = lambda_returns(*data, gamma=GAMMA, lambda_=lambda_)
    advantages = gae(*data, gamma=GAMMA, lambda_=lambda_)
    torch.testing.assert_close(got.targets, returns, rtol=0, atol=1e-12)
    torch.testing.assert_close(advantages + data[1], returns, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.advantages, advantages, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, LAMBDA, 1.0])
def test_lambda_returns_are_weighted_n_step_returns(lambda_):
    rewards, _values, next_values, terminated, ended = data = rollout(5)
    got = lambda_returns(*data, gamma=GAMMA, lambda_=lambda_)

    def n_step(t, b, n):
        """Up to n rewards from step t, then the value of where they led; and whether the episode went on."""
        total = 0.0
        for k in range(n):
            total = total + GAMMA**k * rewards[t + k, b]
            if ended[t + k, b] or k == n - 1:
                future = 0 if terminated[t + k, b] else next_values[t + k, b]
                return total + GAMMA ** (k + 1) * future, not ended[t + k, b]

    for t in range(T):
        for b in range(B):
            expected, weight, n = torch.zeros(A, dtype=torch.float64), 1.0, 1
            while True:
                value, goes_on = n_step(t, b, n)
                if not goes_on:
                    break
                expected, weight, n = expected + weight * (1 - lambda_) * value, weight * lambda_, n + 1
            torch.testing.assert_close(got[t, b], expected + weight * value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho_clip", [1.0, 3.0])
def test_with_one_agent_vtrace_is_rllibs(rho_clip):
    from ray.rllib.algorithms.impala.torch.vtrace_torch_v2 import vtrace_torch

    rewards, values, next_values, terminated, ended = rollout(7)
    rewards, values, next_values = (x[..., :1] for x in (rewards, values, next_values))
    ended = terminated.clone()  # RLlib's knows of one end, by a discount of 0, and of chunks of equal length
    ended[-1] = True
    next_values[:-1] = values[1:]
    logp, behaviour = (x[..., :1] for x in log_probs())
    targets, advantages = vtrace_torch(
        target_action_log_probs=logp[..., 0],
        behaviour_action_log_probs=behaviour[..., 0],
        discounts=GAMMA * (~terminated).double(),
        rewards=rewards[..., 0],
        values=values[..., 0],
        bootstrap_values=next_values[-1, :, 0],
        clip_rho_threshold=rho_clip,
        clip_pg_rho_threshold=rho_clip,
    )
    got = vtrace(
        logp, behaviour, rewards, values, next_values, terminated, ended,
        gamma=GAMMA, lambda_=1.0, rho_clip=rho_clip, c_clip=1.0,
    )  # fmt: skip
    torch.testing.assert_close(got.targets[..., 0], targets, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.advantages[..., 0], advantages, rtol=0, atol=1e-12)


def test_a_teammates_ratio_does_not_count():
    data, (logp, behaviour) = rollout(), log_probs()
    settings = {"gamma": GAMMA, "lambda_": LAMBDA, "rho_clip": 1.0, "c_clip": 1.0}
    whole = vtrace(logp, behaviour, *data, **settings)
    logp[..., 1:] += 2
    moved = vtrace(logp, behaviour, *data, **settings)
    for one, other in zip(whole, moved, strict=True):
        assert torch.equal(one[..., 0], other[..., 0])
        assert not torch.equal(one[..., 1], other[..., 1])


def test_what_follows_an_end_does_not_reach_vtrace():
    rewards, values, next_values, terminated, ended = rollout()
    logp, behaviour = log_probs()
    settings = {"gamma": GAMMA, "lambda_": 1.0, "rho_clip": 1.0, "c_clip": 1.0}
    clean = vtrace(logp, behaviour, rewards, values, next_values, terminated, ended, **settings)
    wild = next_values.masked_fill(terminated[..., None], torch.nan)
    dirty = vtrace(logp, behaviour, rewards, values, wild, terminated, ended, **settings)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))
    b = next(b for b in range(B) if ended[:-1, b].any())
    end = int(ended[:, b].nonzero()[0])
    rewards[end + 1 :, b] += 5
    later = vtrace(logp, behaviour, rewards, values, next_values, terminated, ended, **settings)
    assert torch.equal(later.targets[: end + 1, b], clean.targets[: end + 1, b])
    assert not torch.equal(later.targets[end + 1 :, b], clean.targets[end + 1 :, b])
