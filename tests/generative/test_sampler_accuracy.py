"""Orders of convergence, pinned divergences and exact moments of the samplers and the Langevin corrector."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from generative import samplers
from generative.denoiser import guided
from generative.oracle import GaussianOracle
from tests.generative.known import affine, cosine, even, gaussian, kl, mixture, moments, pushed

ORDERS = {"ancestral": 1, "ddim": 1, "heun": 2, "dpm++": 2}


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_mean_and_covariance_converge_at_the_order_of_the_method(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, errors = gaussian(), []
    for num_steps in (64, 128, 256):
        levels = even(num_steps)

        def run(z: Tensor, levels: Tensor = levels) -> Tensor:
            return samplers.SAMPLERS[name](oracle, z, levels, generator=torch.Generator())

        draws = num_steps if name == "ancestral" else 0
        mean, covariance = pushed(run, *moments(oracle, levels[0]), draws, monkeypatch)
        true_mean, true_covariance = moments(oracle, levels[-1])
        errors.append(((covariance - true_covariance).norm() + (mean - true_mean).norm()).item())
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(ORDERS[name], abs=0.12), errors
    assert errors[-1] < (0.1 if ORDERS[name] == 1 else 1e-3)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++"])
def test_deterministic_samplers_converge_to_the_exact_flow(name: str) -> None:
    """The map itself, not only its moments; uneven steps too."""
    oracle = gaussian()
    z = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for make in (even, lambda n: even(n) + torch.sin(even(n) / 3)):  # rising, with steps of 2/3 to 4/3
        errors = []
        for num_steps in (100, 200, 400):
            levels = make(num_steps)
            exact = oracle.flow(z, levels[0], levels[-1])
            errors.append((samplers.SAMPLERS[name](oracle, z, levels) - exact).norm().item())
        assert math.log2(errors[1] / errors[2]) == pytest.approx(ORDERS[name], abs=0.1), errors


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++"])
def test_mixture_samples_converge(name: str) -> None:
    oracle = mixture()
    z = torch.randn(32, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    reference = samplers.sample_dpm_solver_pp(oracle, z, even(800))
    errors = []
    for num_steps in (48, 96, 192):
        errors.append((samplers.SAMPLERS[name](oracle, z, even(num_steps)) - reference).norm().item())
    assert math.log2(errors[1] / errors[2]) == pytest.approx(ORDERS[name], abs=0.25), errors


def test_ancestral_samples_have_the_mixture_density() -> None:
    """The mean log density of samples is minus the entropy, by Monte Carlo on both sides (4 standard errors)."""
    oracle, levels = mixture(), even(150)
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(2000, 2, dtype=torch.float64, generator=generator)
    drawn = oracle.log_prob(samplers.sample_ancestral(oracle, z, levels, generator=generator), levels[-1])
    true = oracle.log_prob(oracle.sample(40_000, generator)[0])
    assert abs(drawn.mean() - true.mean()) < 4 * (drawn.var() / 2000 + true.var() / 40_000).sqrt() + 0.02


KL_STEPS = (16, 64, 256, 1024)


# Nats from N(0.7, 0.25^2) with the cosine schedule, from a separate moment recursion that shares no code with this one.
KL_TABLE = {
    0.0: (6.0e-2, 7.8e-3, 6.9e-4, 5.0e-5),
    0.3: (2.6e-2, 3.1e-3, 2.6e-4, 1.9e-5),
    1.0: (2.3e-2, 1.3e-3, 8.2e-5, 5.1e-6),
}


@pytest.mark.parametrize("variance", KL_TABLE)
def test_ancestral_variance_table(variance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """g = 0 comes out too narrow, g = 1 too wide; both converge."""
    truth = torch.tensor([0.7], dtype=torch.float64), torch.tensor([[0.25**2]], dtype=torch.float64)
    oracle = GaussianOracle(*truth)
    for num_steps, expected in zip(KL_STEPS, KL_TABLE[variance], strict=True):
        levels = cosine(num_steps)
        mean, covariance = torch.zeros(1).double(), torch.eye(1).double()
        for i in range(num_steps):

            def run(z: Tensor, step: Tensor = levels[i : i + 2]) -> Tensor:
                return samplers.sample_ancestral(oracle, z, step, generator=torch.Generator(), variance=variance)

            mean, covariance = pushed(run, mean, covariance, 1, monkeypatch)
        assert f"{kl(mean, covariance, *truth):.1e}" == f"{expected:.1e}"
        assert (covariance.sqrt().item() > 0.25) == (variance == 1)


def test_variance_ends_are_the_posterior_and_the_transition(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step by hand: g = 0 is c sigma_s^2, g = 1 is c sigma_t^2, g = 0.5 their geometric mean."""
    oracle, levels = gaussian(), torch.tensor([-1.0, 0.5], dtype=torch.float64)
    alpha_t, sigma_t, alpha_s, sigma_s = (
        f(x).sqrt() for x in levels for f in (torch.sigmoid, lambda x: (-x).sigmoid())
    )
    c = 1 - (alpha_t * sigma_s / (sigma_t * alpha_s)) ** 2
    for variance, expected in ((0.0, sigma_s**2), (0.5, sigma_s * sigma_t), (1.0, sigma_t**2)):

        def run(z: Tensor, variance: float = variance) -> Tensor:
            return samplers.sample_ancestral(oracle, z, levels, generator=torch.Generator(), variance=variance)

        _, _, (matrix,) = affine(run, 3, 1, monkeypatch)
        assert_close(matrix, (c * expected).sqrt() * torch.eye(3).double())


def test_langevin_keeps_the_marginal_up_to_delta_squared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The covariance changes by exactly delta^2 sigma^4 / 4 times its inverse, the mean not at all."""
    oracle, log_snr = gaussian(), torch.tensor(0.8, dtype=torch.float64)
    mean, covariance = moments(oracle, log_snr)
    sigma2 = torch.sigmoid(-log_snr)
    for delta in (0.01, 0.1):

        def run(z: Tensor, delta: float = delta) -> Tensor:
            return samplers.langevin(oracle, z, log_snr, delta=delta, generator=torch.Generator())

        new_mean, new_covariance = pushed(run, mean, covariance, 1, monkeypatch)
        assert_close(new_mean, mean)
        assert_close(
            new_covariance - covariance, delta**2 * sigma2**2 / 4 * torch.linalg.inv(covariance), rtol=1e-9, atol=0
        )


def test_langevin_pulls_towards_the_marginal(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, log_snr = gaussian(), torch.tensor(0.0, dtype=torch.float64)
    truth = moments(oracle, log_snr)

    def run(z: Tensor) -> Tensor:
        return samplers.langevin(oracle, z, log_snr, delta=0.1, generator=torch.Generator())

    for wrong in ((truth[0] + 0.3, truth[1]), (truth[0], 0.8 * truth[1]), (truth[0], 1.3 * truth[1])):
        before = after = wrong
        for _ in range(3):
            before, after = after, pushed(run, *after, 1, monkeypatch)
            assert kl(*after, *truth) < kl(*before, *truth)


def test_the_corrector_brings_ancestral_sampling_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, levels = gaussian(), even(24)
    divergence = []
    for delta, draws in ((0.0, 24), (0.1, 48), (0.3, 48)):

        def run(z: Tensor, delta: float = delta) -> Tensor:
            return samplers.sample_ancestral(oracle, z, levels, generator=torch.Generator(), corrector_delta=delta)

        divergence.append(
            kl(*pushed(run, *moments(oracle, levels[0]), draws, monkeypatch), *moments(oracle, levels[-1]))
        )
    assert divergence[2] < divergence[1] < divergence[0], divergence


@pytest.mark.parametrize(("weight", "mean", "std"), [(2, 1.1736, 0.3162), (5, 1.2099, 0.1828)])
def test_guided_sampling_of_two_gaussians(
    weight: float, mean: float, std: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N(1, 0.5^2) against N(0, 1.2^2): what guidance gives is not the tilted density (1.0951, 0.3700 at weight 2)."""
    one = torch.ones(1, dtype=torch.float64)
    known, unknown = GaussianOracle(one, 0.25 * one), GaussianOracle(0 * one, 1.44 * one)

    def denoise(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        return torch.where(cond[:, None] == 1, known(z, log_snr), unknown(z, log_snr))

    steered, levels = guided(denoise, weight, torch.zeros(())), cosine(4096)
    first, second = torch.zeros(1).double(), torch.eye(1).double()
    for i in range(0, 4096, 64):  # 64 steps at a time

        def run(z: Tensor, part: Tensor = levels[i : i + 65]) -> Tensor:
            return samplers.sample_ancestral(steered, z, part, cond=torch.ones(len(z)), generator=torch.Generator())

        first, second = pushed(run, first, second, 64, monkeypatch)
    assert first.item() == pytest.approx(mean, abs=1e-4)
    assert second.sqrt().item() == pytest.approx(std, abs=1e-4)
