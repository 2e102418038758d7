"""The bound of VDM on Gaussian data with the best denoiser, against closed forms.

Monte Carlo only shows that the code draws what the formula means.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from generative.papers.vdm import diffusion_nats, level, prior_nats
from generative.schedules import Schedule
from tests.generative.papers.closed_form import (
    CLOSED_FORM,
    HIGH,
    LAM,
    LOW,
    ORACLE,
    SCHEDULES,
    expected_diffusion,
    expected_discrete,
    expected_squared_loss,
    smallest_squared_loss,
)


def drawn(schedule: Schedule, count: int, num_steps: int = 0, seed: int = 0) -> Tensor:
    """diffusion_nats [count] of pictures, times and noise drawn as in training, but independently."""
    generator = torch.Generator().manual_seed(seed)
    x = ORACLE.sample(count, generator)
    t = torch.rand(count, generator=generator, dtype=torch.float64)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return diffusion_nats(ORACLE, x, eps, *level(schedule, t, num_steps))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_diffusion_loss_depends_on_the_ends_alone(name: str) -> None:
    schedule = SCHEDULES[name]()
    assert ORACLE.diffusion_loss(HIGH, LOW).item() == pytest.approx(CLOSED_FORM, abs=5e-6)
    assert expected_diffusion(schedule) == pytest.approx(ORACLE.diffusion_loss(HIGH, LOW).item(), abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_drawn_losses_have_that_mean_and_the_variance_of_their_schedule(name: str) -> None:
    schedule = SCHEDULES[name]()
    losses = drawn(schedule, 40_000)
    se = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - CLOSED_FORM) < 3 * se
    assert se < 0.05 * CLOSED_FORM  # so that the line above says something
    squares = losses.square()
    assert abs(squares.mean() - expected_squared_loss(schedule)) < 3 * squares.std() / math.sqrt(len(squares))


def test_schedules_differ_in_variance_and_none_is_below_the_optimum() -> None:
    found = {name: expected_squared_loss(make()) for name, make in SCHEDULES.items()}
    assert min(found.values()) > smallest_squared_loss() > CLOSED_FORM**2
    assert found["cosine"] > 1.5 * found["linear"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_whole_bound_is_entropy_plus_the_distance_to_the_prior(name: str) -> None:
    """With the exact decoder p(x | z_0) = N(., lam / (1 + lam SNR_0)) there is no other gap."""
    high, low = torch.tensor([HIGH, LOW], dtype=torch.float64)
    prior = prior_nats(LAM.sqrt()[None], low).item()  # linear in x^2, whose mean is lam
    reconstruction = 0.5 * (2 * math.pi * math.e * LAM / (1 + LAM * high.exp())).log().sum().item()
    variance = torch.sigmoid(low) * LAM + torch.sigmoid(-low)
    distance = 0.5 * (variance - 1 - variance.log()).sum().item()
    total = prior + expected_diffusion(SCHEDULES[name]()) + reconstruction
    assert total == pytest.approx(ORACLE.entropy().item() + distance, abs=1e-9)


@pytest.mark.parametrize(("num_steps", "expected"), [(64, 27.779), (1024, 24.480), (65_536, 24.283)])
def test_discrete_time_costs_what_the_steps_cost(num_steps: int, expected: float) -> None:
    schedule = SCHEDULES["linear"]()
    found = expected_discrete(schedule, num_steps)
    assert found == pytest.approx(expected, abs=6e-4)
    edges = schedule(torch.linspace(0, 1, num_steps + 1, dtype=torch.float64))
    assert found == pytest.approx(ORACLE.discrete_diffusion_loss(edges).item(), rel=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_more_steps_cost_less_and_infinitely_many_the_integral(name: str) -> None:
    schedule = SCHEDULES[name]()
    with torch.no_grad():
        costs = [expected_discrete(schedule, 2**power) for power in range(17)]
    assert all(b < a for a, b in pairwise(costs))
    gap = [cost - CLOSED_FORM for cost in costs]
    assert 0 < gap[-1] < 0.01 * CLOSED_FORM
    assert gap[-2] / gap[-1] == pytest.approx(2, rel=0.03)  # first order in 1 / T


def test_drawn_discrete_losses_have_that_mean() -> None:
    schedule = SCHEDULES["cosine"]()
    losses = drawn(schedule, 40_000, num_steps=64)
    se = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - expected_discrete(schedule, 64)) < 3 * se
    assert se < 0.05 * losses.mean()


@pytest.mark.parametrize("num_steps", [1, 3, 7, 10, 1000])
def test_a_time_belongs_to_the_step_that_ends_after_it(num_steps: int) -> None:
    schedule = SCHEDULES["linear"]()
    inside = torch.tensor([0.0, 1e-9, 0.3, 0.5, 1 - 2**-53], dtype=torch.float64)
    log_snr, weight = level(schedule, inside, num_steps)
    end = (inside * num_steps).floor() + 1
    torch.testing.assert_close(log_snr, schedule(end / num_steps))
    assert end.max() == num_steps
    step = (HIGH - LOW) / num_steps
    torch.testing.assert_close(weight, torch.full_like(weight, num_steps * math.expm1(step)))
