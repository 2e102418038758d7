"""Closed-form denoisers against quadrature, autograd, torch.distributions and matrix algebra."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from generative import noise, process, samplers
from generative.oracle import GaussianOracle, MixtureOracle, ObservedOracle
from tests.generative.known import affine, even

LEVELS = (-20.0, -4.0, -0.5, 0.0, 1.5, 6.0, 20.0)


def gaussian(dims: int = 3, seed: int = 0) -> tuple[GaussianOracle, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(dims, dims, dtype=torch.float64, generator=generator)
    mean = torch.randn(dims, dtype=torch.float64, generator=generator)
    covariance = 0.3 * root @ root.T + 0.05 * torch.eye(dims, dtype=torch.float64)
    return GaussianOracle(mean, covariance), mean, covariance


def mixture() -> MixtureOracle:
    parts = [gaussian(2, seed) for seed in (1, 2, 3)]
    return MixtureOracle(
        torch.tensor([0.2, 0.5, 0.3]), torch.stack([p[1] for p in parts]) * 2, torch.stack([p[2] for p in parts])
    )


def marginal(mean: Tensor, covariance: Tensor, log_snr: float) -> MultivariateNormal:
    """q(z) of a Gaussian, assembled as a matrix."""
    alpha2 = 1 / (1 + math.exp(-log_snr))
    noise_part = (1 - alpha2 if log_snr < 3 else 1 / (1 + math.exp(log_snr))) * torch.eye(len(mean)).double()
    return MultivariateNormal(math.sqrt(alpha2) * mean, alpha2 * covariance + noise_part)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_gaussian_denoiser_is_conditioning_in_matrix_form(log_snr: float) -> None:
    oracle, mean, covariance = gaussian()
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    q = marginal(mean, covariance, log_snr)
    alpha = math.sqrt(1 / (1 + math.exp(-log_snr)))
    gain = alpha * covariance @ torch.linalg.inv(q.covariance_matrix)
    level = torch.full((5,), log_snr, dtype=torch.float64)
    assert_close(oracle(z, level), mean + (z - q.mean) @ gain.T, rtol=0, atol=1e-11)
    assert_close(oracle.log_prob(z, level), q.log_prob(z), rtol=1e-11, atol=1e-11)
    assert_close(oracle.log_prob(z, level[0]), q.log_prob(z), rtol=1e-11, atol=1e-11)


def test_gaussian_density_entropy_and_samples() -> None:
    oracle, mean, covariance = gaussian()
    law = MultivariateNormal(mean, covariance)
    x0 = oracle.sample(200_000, torch.Generator().manual_seed(5))
    assert_close(oracle.log_prob(x0), law.log_prob(x0))
    assert_close(oracle.entropy(), law.entropy())
    assert_close(x0.mean(0), mean, rtol=0, atol=0.01)
    assert_close(x0.T.cov(), covariance, rtol=0, atol=0.02)


def test_diagonal_and_full_covariances_agree_in_any_shape() -> None:
    variances = torch.tensor([[0.5, 0.0], [2.0, 0.1]], dtype=torch.float64)  # a direction may have no variance
    mean = torch.tensor([[0.3, -1.0], [0.0, 2.0]], dtype=torch.float64)
    z = torch.randn(6, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    level = torch.linspace(-5, 5, 6, dtype=torch.float64)
    full = GaussianOracle(mean, variances.flatten().diag())
    for other in (GaussianOracle(mean, variances), GaussianOracle(mean, variances.flatten())):
        assert_close(other(z, level), full(z, level))
        assert_close(other.log_prob(z, level), full.log_prob(z, level))
        assert_close(other.flow(z, level, level + 1), full.flow(z, level, level + 1))
        assert other.sample(3, torch.Generator()).shape == (3, 2, 2)
    assert_close(full(z, level)[:, 0, 1], torch.full((6,), -1.0, dtype=torch.float64))
    assert full(z.float(), level).dtype == torch.float32
    for i in range(6):  # a level per example
        assert_close(full(z, level)[i], full(z[i : i + 1], level[i : i + 1])[0])


def test_expected_squared_error_is_the_posterior_variance() -> None:
    oracle, _, covariance = gaussian()
    for log_snr in LEVELS:
        snr = math.exp(log_snr)
        posterior = torch.linalg.inv(torch.linalg.inv(covariance) + snr * torch.eye(3).double())
        level = torch.tensor(log_snr, dtype=torch.float64)
        assert_close(oracle.expected_squared_error(level), posterior.trace(), rtol=1e-8, atol=0)
    assert oracle.expected_squared_error(torch.zeros(4)).shape == (4,)


def test_diffusion_loss_is_the_integral_over_snr() -> None:
    """0.5 integral of the error d SNR, by Simpson's rule in log_snr; and the entropy identity of the whole bound."""
    oracle, mean, covariance = gaussian()
    high, low = 9.0, -4.0
    grid = torch.linspace(low, high, 4001, dtype=torch.float64)
    values = 0.5 * grid.exp() * oracle.expected_squared_error(grid)
    weights = torch.ones(4001, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    assert_close(
        oracle.diffusion_loss(high, low), (weights * values).sum() * (high - low) / 4000 / 3, rtol=1e-9, atol=0
    )
    # prior + diffusion + exact reconstruction = entropy + KL(q(z_1) || N(0, I)).
    alpha2, sigma2 = 1 / (1 + math.exp(-low)), 1 / (1 + math.exp(low))
    prior = 0.5 * (alpha2 * (covariance.trace() + mean.square().sum()) + 3 * (sigma2 - math.log(sigma2) - 1))
    given_z0 = torch.linalg.inv(torch.linalg.inv(covariance) + math.exp(high) * torch.eye(3).double())
    reconstruction = MultivariateNormal(torch.zeros(3).double(), given_z0).entropy()
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    gap = torch.distributions.kl_divergence(marginal(mean, covariance, low), standard)
    assert_close(prior + oracle.diffusion_loss(high, low) + reconstruction, oracle.entropy() + gap, rtol=1e-12, atol=0)


def test_discrete_loss_falls_to_the_continuous_one() -> None:
    oracle, _, _ = gaussian()
    exact = oracle.diffusion_loss(13.3, -5.0)
    excess = []
    for steps in (64, 256, 1024, 4096):
        levels = torch.linspace(13.3, -5.0, steps + 1, dtype=torch.float64)
        slow = sum(
            0.5 * (levels[i - 1].exp() - levels[i].exp()) * oracle.expected_squared_error(levels[i])
            for i in range(1, steps + 1)
        )
        assert_close(oracle.discrete_diffusion_loss(levels), torch.as_tensor(slow))
        excess.append(float(slow - exact))
    assert all(0 < later < earlier for earlier, later in pairwise(excess))
    assert excess[-2] / excess[-1] == pytest.approx(4, rel=0.01)  # first order in the step


def test_flow_solves_the_ode_and_carries_the_marginal() -> None:
    """dz / d log_snr = (alpha / 2)(x0_hat - alpha z), by central differences; and q pushed forward is q."""
    oracle, _, _ = gaussian()
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    start, h = torch.tensor([-3.0, 0.0, 1.0, 5.0], dtype=torch.float64), 1e-5
    slope = (oracle.flow(z, start, start + h) - oracle.flow(z, start, start - h)) / (2 * h)
    alpha, _ = process.alpha_sigma(start[:, None])
    assert_close(slope, alpha / 2 * (oracle(z, start) - alpha * z), rtol=1e-6, atol=1e-9)
    there = oracle.flow(z, start, start + 2)
    assert_close(oracle.flow(there, start + 2, start), z)
    jacobian = torch.func.jacrev(lambda one: oracle.flow(one[None], start[:1], start[:1] + 2)[0])(z[0])
    change = oracle.log_prob(z, start)[0] - jacobian.det().abs().log()
    assert_close(oracle.log_prob(there, start + 2)[0], change)


@pytest.mark.parametrize("log_snr", [-4.0, -0.5, 1.5, 6.0])
def test_mixture_denoiser_against_quadrature(log_snr: float) -> None:
    """One dimension: integrals of p(x) q(z | x) and x p(x) q(z | x) on a fine grid."""
    oracle = MixtureOracle(torch.tensor([1.0, 3.0]), torch.tensor([[-1.0], [0.8]]), torch.tensor([[0.04], [0.3]]))
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    x = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    density = 0.25 * torch.exp(-((x + 1) ** 2) / 0.08) / math.sqrt(2 * math.pi * 0.04)
    density += 0.75 * torch.exp(-((x - 0.8) ** 2) / 0.6) / math.sqrt(2 * math.pi * 0.3)
    alpha, sigma = (math.sqrt(1 / (1 + math.exp(s * log_snr))) for s in (-1, 1))
    joint = density * torch.exp(-((z[:, None] - alpha * x) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    evidence = torch.trapezoid(joint, x)
    level = torch.full((13,), log_snr, dtype=torch.float64)
    # The variances are given in float32, so 0.3 there is 1e-8 off.
    assert_close(oracle.log_prob(z[:, None], level), evidence.log(), rtol=0, atol=1e-6)
    assert_close(oracle(z[:, None], level)[:, 0], torch.trapezoid(joint * x, x) / evidence, rtol=0, atol=1e-6)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_mixture_denoiser_is_tweedie_of_its_density(log_snr: float) -> None:
    """x0_hat = (z + sigma^2 score) / alpha, with the score from autograd."""
    oracle = mixture()
    level = torch.full((7,), log_snr, dtype=torch.float64)
    x0, _ = oracle.sample(7, torch.Generator().manual_seed(8))
    z = process.diffuse(x0, level, torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9)))
    z.requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_prob(z, level).sum(), z)
    alpha, sigma = process.alpha_sigma(level[:, None])
    tweedie = (z + sigma**2 * score) / alpha
    assert_close(oracle(z, level), tweedie, rtol=0, atol=1e-13 / float(alpha[0]) + 1e-10)
    assert_close(process.score(z, oracle(z, level), level), score, rtol=1e-4, atol=1e-6)


def test_mixture_density_and_samples_against_torch() -> None:
    oracle = mixture()
    parts = MultivariateNormal(oracle.means, oracle.covariances)
    law = MixtureSameFamily(Categorical(oracle.weights.double()), parts)
    x0, label = oracle.sample(100_000, torch.Generator().manual_seed(10))
    assert_close(oracle.log_prob(x0[:500]), law.log_prob(x0[:500]))
    assert_close(label.bincount() / 100_000, oracle.weights, rtol=0, atol=0.006)
    for k in range(3):
        assert_close(x0[label == k].mean(0), oracle.means[k], rtol=0, atol=0.03)
        assert_close(x0[label == k].T.cov(), oracle.covariances[k], rtol=0, atol=0.05)


def test_a_known_component_is_that_gaussian() -> None:
    oracle = mixture()
    z = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    level = torch.tensor([-2.0, 0.0, 1.0, 4.0], dtype=torch.float64)
    cond = torch.tensor([0, 1, 2, -1])
    known = torch.stack([part(z, level)[i] for i, part in enumerate(oracle.components)])
    assert_close(oracle(z, level, cond), torch.cat([known, oracle(z, level)[3:]]))
    density = torch.stack([part.log_prob(z, level)[i] for i, part in enumerate(oracle.components)])
    assert_close(oracle.log_prob(z, level, cond), torch.cat([density, oracle.log_prob(z, level)[3:]]))


def test_samples_with_their_own_generators_do_not_depend_on_the_batch() -> None:
    oracle = mixture()
    whole, labels = oracle.sample(6, noise.per_example(0, range(6)))
    part, part_labels = oracle.sample(2, noise.per_example(0, [3, 4]))
    assert torch.equal(part, whole[3:5])
    assert torch.equal(part_labels, labels[3:5])


def test_wrong_oracles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"covariance must be \[2, 2\] or \[2\] for a mean of 2, got \(3,\)"):
        GaussianOracle(torch.zeros(2), torch.ones(3))
    with pytest.raises(ValueError, match="negative variance, -1"):
        GaussianOracle(torch.zeros(2), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="symmetric"):
        GaussianOracle(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="one positive weight, mean and covariance"):
        MixtureOracle(torch.ones(2), torch.zeros(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="component's number"):
        mixture()(torch.zeros(1, 2), torch.zeros(1), {"label": torch.zeros(1)})


def test_samples_given_an_observation_have_its_exact_mean_and_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Super-resolution in miniature: four pixels of which the means of pairs are told, with and without noise. The
    conditional Gaussian by inverting the joint precision; the sampler's, exactly, from its affine map."""
    root = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    covariance, mean = 0.2 * root @ root.T + 0.02 * torch.eye(4), torch.tensor([0.5, -0.2, 0.1, 0.3]).double()
    pairs = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    y = torch.tensor([0.4, -0.3], dtype=torch.float64)
    for variance in (1e-4, 0.1):
        oracle = ObservedOracle(mean, covariance.double(), pairs, variance)
        precision = torch.linalg.inv(covariance.double()) + pairs.T @ pairs / variance
        expected = torch.linalg.inv(precision)
        centre = expected @ (torch.linalg.inv(covariance.double()) @ mean + pairs.T @ y / variance)
        assert_close(oracle.mean_given(y[None])[0], centre, rtol=1e-7, atol=1e-7)
        assert_close(oracle.residual.covariance, expected, rtol=1e-7, atol=1e-7)

        def run(z: torch.Tensor, oracle: ObservedOracle = oracle) -> torch.Tensor:
            return samplers.sample_heun(oracle, z, even(1500, -20, 20), cond=y.expand(len(z), 2))

        offset, matrix, _ = affine(run, 4, 0, monkeypatch)
        alpha, _ = process.alpha_sigma(torch.tensor(20.0, dtype=torch.float64))
        assert_close(offset / alpha, centre, rtol=0, atol=1e-4)
        assert_close(matrix @ matrix.T / alpha**2, expected, rtol=0, atol=1e-4)


def test_an_observation_without_noise_is_kept() -> None:
    oracle = ObservedOracle(torch.zeros(2), torch.tensor([[1.0, 0.3], [0.3, 0.5]]), torch.tensor([[0.5, 0.5]]))
    x0 = oracle(torch.randn(50, 2, dtype=torch.float64), torch.zeros(50), torch.full((50, 1), 0.7))
    assert_close(x0.mean(1), torch.full((50,), 0.7, dtype=torch.float64))
    with pytest.raises(ValueError, match="cond must be what is observed"):
        oracle(torch.zeros(1, 2), torch.zeros(1))
