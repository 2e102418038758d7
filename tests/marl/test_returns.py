"""Advantages against the definition, summed slowly."""

import pytest
import torch

from marl.batch import advantages_of
from marl.returns import gae, standardise

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


@pytest.mark.parametrize("mask", [torch.zeros(4, A, dtype=torch.bool), torch.ones(4, A, dtype=torch.bool)])
def test_standardise_of_nothing_or_of_equal_numbers_is_0(mask):
    assert (standardise(torch.full((4, A), 5.0), mask) == 0).all()
