"""A schedule trained to lower the variance of the loss, on Gaussian data with the best denoiser."""

from typing import Any

import pytest
import torch
from torch import Tensor

from generative import noise
from generative.papers.vdm import VarianceGradient, diffusion_nats, level
from generative.schedules import LearnedSchedule, Schedule
from tests.generative.papers.closed_form import (
    CLOSED_FORM,
    HIGH,
    LOW,
    ORACLE,
    expected_diffusion,
    expected_squared_loss,
    fourth_power,
    learned,
    smallest_squared_loss,
)


def mean_loss_and_square(schedule: LearnedSchedule, scale_of_answer: Tensor, hook: bool) -> tuple[Tensor, Tensor]:
    """(mean of L, mean of L^2), L from a denoiser with one parameter; with common random numbers."""
    generator = torch.Generator().manual_seed(3)
    x = ORACLE.sample(64, generator)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    t = noise.low_discrepancy_times(generator, 64, device="cpu")

    def denoise(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        return scale_of_answer * ORACLE(z, log_snr)

    gradient = VarianceGradient()
    log_snr, weight = gradient.level(schedule, t) if hook else level(schedule, t)
    losses = diffusion_nats(denoise, x, eps, log_snr, weight) / 7  # as in bits per dimension, another unit
    gradient.see(losses)
    return losses.mean(), losses.square().mean()


def test_one_backward_pass_has_both_gradients() -> None:
    """Of E[L^2] for the interior, of E[L] for the ends and the network."""
    schedule, answer = learned(8, learn_endpoints=True), torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    interior = list(schedule.interior.parameters())
    others = [schedule.log_snr_max, schedule.raw_span, answer]
    hooked, _ = mean_loss_and_square(schedule, answer, hook=True)
    found = torch.autograd.grad(hooked, [*interior, *others])
    loss, square = mean_loss_and_square(schedule, answer, hook=False)
    assert hooked.item() == pytest.approx(loss.item(), rel=1e-12)
    of_square = torch.autograd.grad(square, interior, retain_graph=True)
    of_loss = torch.autograd.grad(loss, others)
    for got, expected in zip(found, [*of_square, *of_loss], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        assert got.abs().max() > 1e-4


def test_the_interiors_gradient_is_that_of_a_finite_difference() -> None:
    schedule, answer = learned(8), torch.tensor(0.9, dtype=torch.float64)
    interior = list(schedule.interior.parameters())
    hooked, _ = mean_loss_and_square(schedule, answer, hook=True)
    for parameter, gradient in zip(interior, torch.autograd.grad(hooked, interior), strict=True):
        place = gradient.abs().argmax()
        with torch.no_grad():
            parameter.view(-1)[place] += 1e-5
            _, up = mean_loss_and_square(schedule, answer, hook=False)
            parameter.view(-1)[place] -= 2e-5
            _, down = mean_loss_and_square(schedule, answer, hook=False)
            parameter.view(-1)[place] += 1e-5
        assert gradient.view(-1)[place].item() == pytest.approx((up - down).item() / 2e-5, rel=1e-5)


@torch.no_grad()
def unevenness(schedule: Schedule) -> float:
    """How far speed times sqrt(E||eps - eps_hat||^4) is from the constant that it is at the optimum."""
    log_snr, speed = level(schedule, torch.linspace(0.02, 0.85, 97, dtype=torch.float64))
    product = speed * fourth_power(log_snr).sqrt()
    return (product.std() / product.mean()).item()


def test_training_finds_the_schedule_of_least_variance() -> None:
    """From the straight line to the Euler-Lagrange optimum, drawing pictures, times and noise as in training."""
    schedule, generator = LearnedSchedule(HIGH, LOW, hidden=64), torch.Generator().manual_seed(0)
    assert unevenness(schedule) > 0.3
    before, best = expected_squared_loss(schedule), smallest_squared_loss()
    parameters = list(schedule.interior.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for _ in range(200):
        x = ORACLE.sample(512, generator)
        hook = VarianceGradient()
        t = noise.low_discrepancy_times(generator, 512, device="cpu")
        losses = diffusion_nats(ORACLE, x, noise.normal_like(generator, x), *hook.level(schedule, t))
        hook.see(losses)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        decay.step()
    after = expected_squared_loss(schedule)
    assert after - CLOSED_FORM**2 < 0.8 * (before - CLOSED_FORM**2)  # the variance
    assert after < 1.05 * best
    assert unevenness(schedule) < 0.05
    assert expected_diffusion(schedule) == pytest.approx(CLOSED_FORM, abs=1e-4)
