"""Gaussian data, schedules with the same ends, and what the bound of VDM costs there, in closed form.

For x0 ~ N(0, diag lam) with the exact denoiser, eps - eps_hat is N(0, diag v) with
v = lam SNR / (1 + lam SNR), so E||eps - eps_hat||^2 = sum v and E||eps - eps_hat||^4 = (sum v)^2 + 2 sum v^2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generative.oracle import GaussianOracle
from generative.papers.vdm import level
from generative.schedules import Betas, Cosine, LearnedSchedule, Linear, Rescaled, Schedule

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
