"""The bound of VDM on data whose best denoiser is known: Gaussians, and a few levels of one pixel.

E[...] over data and noise is in closed form or a sum over a grid of noise; Monte Carlo only shows that the code draws
what the formula means. For x0 ~ N(0, diag lam) with the exact denoiser, eps - eps_hat is N(0, diag v) with
v = lam SNR / (1 + lam SNR), so E||eps - eps_hat||^2 = sum v and E||eps - eps_hat||^4 = (sum v)^2 + 2 sum v^2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generative import noise, process
from generative.nets.vdm_unet import VDMUNetConfig
from generative.oracle import GaussianOracle
from generative.papers.vdm import VDM, VarianceGradient, VDMConfig, diffusion_nats, level, prior_nats
from generative.pixels import reconstruction_nats, scale
from generative.schedules import Betas, Cosine, LearnedSchedule, Linear, Rescaled, Schedule, ScheduleConfig

HIGH, LOW = 13.3, -5.0
LAM = torch.tensor([4.0, 1.0, 0.25, 0.01], dtype=torch.float64)
ORACLE = GaussianOracle(torch.zeros(4, dtype=torch.float64), LAM)
CLOSED_FORM = 24.27997
"""0.5 sum log((1 + lam exp(13.3)) / (1 + lam exp(-5))), nats."""


@dataclass(frozen=True)
class Cubic:
    """A schedule that the library does not have."""

    def __call__(self, t: Tensor) -> Tensor:
        place = 4 * (t.double() - 0.5) ** 3 + 0.5
        return HIGH + (LOW - HIGH) * (0.9 * place + 0.1 * t.double())


def learned(hidden: int = 64, **options: bool) -> LearnedSchedule:
    """With its parameters moved at random."""
    schedule, generator = LearnedSchedule(HIGH, LOW, hidden=hidden, **options), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in schedule.interior.parameters():
            parameter += 0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return schedule


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear": lambda: Linear(log_snr_max=HIGH, log_snr_min=LOW),
    "cosine": lambda: Cosine(log_snr_max=HIGH, log_snr_min=LOW),
    "cubic": Cubic,
    "betas": lambda: Rescaled(schedule=Betas(num_steps=100, beta_end=0.2), log_snr_max=HIGH, log_snr_min=LOW),
    "learned": learned,
}


def squared_error(log_snr: Tensor) -> Tensor:
    """E||eps - eps_hat||^2 = SNR E||x0 - x0_hat||^2."""
    return log_snr.exp() * ORACLE.expected_squared_error(log_snr)


def fourth_power(log_snr: Tensor) -> Tensor:
    """E||eps - eps_hat||^4."""
    v = LAM * log_snr.exp()[:, None] / (1 + LAM * log_snr.exp()[:, None])
    return v.sum(1) ** 2 + 2 * (v**2).sum(1)


def times_and_weights() -> tuple[Tensor, Tensor]:
    """Gauss-Legendre over [0, 1], piece by piece: the betas have a kink wherever one of their 99 steps ends, and the
    cosine is steep at the ends."""
    nodes, weights = map(torch.tensor, np.polynomial.legendre.leggauss(12))
    small = 2.0 ** -torch.arange(1, 12, dtype=torch.float64) / 99
    edges = torch.cat([torch.arange(100, dtype=torch.float64) / 99, small, 1 - small]).sort().values
    width = edges.diff()[:, None]
    return (edges[:-1, None] + width * (nodes + 1) / 2).flatten(), (width * weights / 2).flatten()


@torch.no_grad()
def expected_diffusion(schedule: Schedule) -> float:
    """The integral over t of 0.5 weight E||eps - eps_hat||^2."""
    t, share = times_and_weights()
    log_snr, weight = level(schedule, t)
    return (0.5 * share * weight * squared_error(log_snr)).sum().item()


@torch.no_grad()
def expected_squared_loss(schedule: Schedule) -> float:
    """E[L^2] of one noise level."""
    t, share = times_and_weights()
    log_snr, weight = level(schedule, t)
    return (0.25 * share * weight**2 * fourth_power(log_snr)).sum().item()


def smallest_squared_loss() -> float:
    """E[L^2] of the best schedule: the integral over t of (d log_snr / dt)^2 M with M = E||eps - eps_hat||^4 / 4 is
    smallest, by the Euler-Lagrange equation, where d log_snr / dt is proportional to 1 / sqrt(M), and is then the
    square of the integral of sqrt(M) over log_snr."""
    place, share = times_and_weights()
    log_snr = LOW + (HIGH - LOW) * place
    return ((HIGH - LOW) * 0.5 * share * fourth_power(log_snr).sqrt()).sum().item() ** 2


def expected_discrete(schedule: Schedule, num_steps: int) -> float:
    """The mean over steps of 0.5 weight E||eps - eps_hat||^2."""
    t = (torch.arange(num_steps, dtype=torch.float64) + 0.5) / num_steps
    log_snr, weight = level(schedule, t, num_steps)
    return (0.5 * weight * squared_error(log_snr)).mean().item()


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


K = 16
SHARES = torch.softmax(torch.sin(torch.arange(K, dtype=torch.float64) * 2.3) * 1.5, 0)
ENTROPY = -(SHARES * SHARES.log()).sum().item()


def exact(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
    """E[x0 | z] for one pixel with K levels of these shares."""
    alpha, sigma = process.alpha_sigma(log_snr.double()[:, None])
    values = scale(torch.arange(K), K).double()
    logits = SHARES.log() - 0.5 * ((z.double() - alpha * values) / sigma) ** 2
    return (logits.softmax(1) * values).sum(1, keepdim=True).to(z.dtype)


def bound_of_one_pixel(high: float, num_steps: int) -> float:
    """Prior, discrete diffusion and reconstruction, nats, exact but for a grid of 81 values of the noise."""
    schedule = Linear(log_snr_max=high, log_snr_min=-8.0)
    eps = torch.linspace(-8, 8, 81, dtype=torch.float64)
    density = torch.exp(-0.5 * eps**2) / math.sqrt(2 * math.pi) * 0.2
    k = torch.arange(K).repeat_interleave(81)[:, None]
    x, noises = scale(k, K).double(), eps.repeat(K)[:, None]
    share = SHARES.repeat_interleave(81) * density.repeat(K)
    ends = schedule(torch.tensor([0.0, 1.0], dtype=torch.float64))
    total = prior_nats(x, ends[1])
    total = total + reconstruction_nats(k, process.diffuse(x, ends[0], noises), ends[0], K)
    for step in range(num_steps):
        log_snr, weight = level(schedule, torch.tensor([(step + 0.5) / num_steps]).double(), num_steps)
        rows = log_snr.expand(len(x)), weight.expand(len(x))
        total = total + diffusion_nats(exact, x, noises, *rows) / num_steps
    return (share * total).sum().item()


def test_the_bound_of_a_pixel_is_above_its_entropy_and_comes_down_to_it() -> None:
    gaps = []
    for high in (3.0, 7.0, 9.0):
        few, more, most = (bound_of_one_pixel(high, num_steps) - ENTROPY for num_steps in (80, 160, 320))
        assert few > more > most > 0
        gaps.append((8 * most - 6 * more + few) / 3)  # a parabola in 1 / T: what is left at T = infinity
    # A cleaner z_0 leaves the decoder, which takes all levels as equally likely, less to get wrong.
    assert all(b < a for a, b in pairwise(gaps))
    assert gaps[-1] == pytest.approx(0, abs=1e-3)


class Exact(torch.nn.Module):
    """`exact` for pictures of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))  # a model asks a parameter for its device

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        return exact(z.flatten(1), log_snr).reshape(z.shape)


def model_of_one_pixel(high: float, num_steps: int) -> VDM:
    ends = ScheduleConfig(kind="linear", log_snr_max=high, log_snr_min=-8.0)
    net = VDMUNetConfig(channels=4, blocks=1)
    model = VDM(VDMConfig(net=net, schedule=ends, num_steps=num_steps), (1, 1, 1), K)
    model.denoise = Exact()  # pyright: ignore[reportAttributeAccessIssue]
    return model


def test_elbo_of_a_pixel_is_that_bound() -> None:
    count = 200
    model, k = model_of_one_pixel(5.0, 20), torch.arange(K).repeat_interleave(count)
    elbo = model.elbo(k.reshape(-1, 1, 1, 1), times=20, chunk=400)
    by_level = elbo.bits.reshape(K, count) * math.log(2)
    se = (SHARES**2 * by_level.var(1) / count).sum().sqrt().item()
    found, expected = (SHARES * by_level.mean(1)).sum().item(), bound_of_one_pixel(5.0, 20)
    assert abs(found - expected) < 3 * se
    assert se < 0.02 * expected


def test_samples_of_a_pixel_have_its_shares() -> None:
    """Chi-squared with 15 degrees of freedom: above 37.7 in one of 1000 cases."""
    found = model_of_one_pixel(9.0, 0).sample(1000, steps=60, chunk=1000)
    counts = torch.bincount(found.flatten().long(), minlength=K)
    expected = 1000 * SHARES
    assert ((counts - expected) ** 2 / expected).sum() < 37.7


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
