"""The samplers' common call, their papers' formulas, and the likelihood. test_sampler_accuracy.py has the rates."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from generative import noise, process, samplers
from generative.denoiser import Denoise, Denoiser
from generative.oracle import GaussianOracle
from tests.generative.known import cosine, even, gaussian, mixture


class FromOracle(nn.Module):
    """A perfect net of one prediction type."""

    def __init__(self, oracle: Denoise, prediction: str) -> None:
        super().__init__()
        self.oracle, self.prediction = oracle, prediction

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        x0 = self.oracle(z, log_snr)
        if self.prediction == "x0":
            return x0
        convert = process.eps_from_x0 if self.prediction == "eps" else process.v_from_x0
        return convert(z, x0, log_snr)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_prediction_types_give_the_same_samples(name: str) -> None:
    z = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    runs = [
        samplers.SAMPLERS[name](
            Denoiser(FromOracle(mixture(), prediction), prediction),
            z,
            cosine(30),
            generator=noise.per_example(0, range(8)),
        )
        for prediction in ("x0", "eps", "v")
    ]
    assert_close(runs[1], runs[0], rtol=0, atol=1e-10)
    assert_close(runs[2], runs[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_a_constant_x0_is_reached_in_one_step(name: str) -> None:
    """For known data the posterior mean and the flow are exact at any step size."""
    x0 = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    point = GaussianOracle(x0[0], torch.zeros(2))
    z = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    levels = torch.tensor([-15.0, 25.0], dtype=torch.float64)
    result = samplers.SAMPLERS[name](point, z, levels, generator=torch.Generator())
    assert_close(result, x0.expand(5, 2), rtol=0, atol=3e-5)
    if name != "ancestral":
        assert_close(result, point.flow(z, *levels), rtol=0, atol=1e-13)


def test_dpm_solver_against_the_papers_form() -> None:
    """Lu et al. 2022, Algorithm 2, written out with lambda = log(alpha / sigma) on uneven levels."""
    oracle, levels = mixture(), cosine(12)
    z = start = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    lam, (alpha, sigma) = levels / 2, process.alpha_sigma(levels)
    guesses: list[Tensor] = []
    for i in range(1, 13):
        guesses.append(oracle(z, levels[i - 1].expand(4)))
        h, data = lam[i] - lam[i - 1], guesses[-1]
        if i > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            data = (1 + 1 / (2 * r)) * guesses[-1] - 1 / (2 * r) * guesses[-2]
        z = sigma[i] / sigma[i - 1] * z - alpha[i] * (torch.exp(-h) - 1) * data
    assert_close(samplers.sample_dpm_solver_pp(oracle, start, levels), z, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(3,), (1, 3, 1)])
def test_log_likelihood_of_a_gaussian(shape: tuple[int, ...]) -> None:
    flat = gaussian()
    oracle = GaussianOracle(flat.mean.reshape(shape), flat.covariance)
    levels = even(240, -24, 8)
    z = oracle.sample(6, torch.Generator().manual_seed(7))
    exact = oracle.log_prob(z, levels[-1])
    assert_close(samplers.log_likelihood(oracle, z, levels), exact, rtol=0, atol=1e-4)


def test_hutchinson_estimates_have_the_exact_mean() -> None:
    oracle, levels = gaussian(), even(60, -24, 8)
    z = oracle.sample(6, torch.Generator().manual_seed(7))
    exact = samplers.log_likelihood(oracle, z, levels)
    generator = torch.Generator().manual_seed(8)
    drawn = samplers.log_likelihood(oracle, z.repeat(2500, 1), levels, generator=generator, probes=1).reshape(2500, 6)
    spread = drawn.std(0)
    assert (spread > 0.01).all()  # from the off-diagonal part of the covariance
    assert ((drawn.mean(0) - exact).abs() < 4 * spread / 50).all()


def test_log_likelihood_of_a_mixture() -> None:
    oracle, levels = mixture(), even(120, -24, 8)
    z, _ = oracle.sample(8, torch.Generator().manual_seed(9))
    assert_close(samplers.log_likelihood(oracle, z, levels), oracle.log_prob(z, levels[-1]), rtol=0, atol=1e-3)
    cond = torch.zeros(8, dtype=torch.int64)
    exact = oracle.log_prob(z, levels[-1], cond)
    assert_close(samplers.log_likelihood(oracle, z, levels, cond=cond), exact, rtol=0, atol=1e-3)


def test_log_likelihood_averages_its_probes() -> None:
    """With the signs drawn one after another, two probes are the mean of the two single estimates."""
    oracle, levels = gaussian(), even(20, -10, 5)
    z = oracle.sample(4, torch.Generator().manual_seed(10))
    generator = torch.Generator().manual_seed(11)
    single = [samplers.log_likelihood(oracle, z, levels, generator=generator, probes=1) for _ in range(2)]
    both = samplers.log_likelihood(oracle, z, levels, generator=torch.Generator().manual_seed(11), probes=2)
    assert_close(both, (single[0] + single[1]) / 2)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_samples_do_not_depend_on_the_batch(name: str) -> None:
    oracle, levels = mixture(), even(10)

    def draw(numbers: list[int]) -> Tensor:
        source = noise.per_example(0, numbers)
        z = noise.normal(source, (len(numbers), 2), device="cpu", dtype=torch.float64)
        return samplers.SAMPLERS[name](oracle, z, levels, generator=source)

    assert_close(torch.cat([draw([0, 1, 2]), draw([3])]), draw([0, 1, 2, 3]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "heun"])
def test_slices_of_the_levels_make_the_whole(name: str) -> None:
    oracle, levels = mixture(), even(10)
    z = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(12))
    whole = samplers.SAMPLERS[name](oracle, z, levels, generator=torch.Generator().manual_seed(13))
    generator = torch.Generator().manual_seed(13)
    for i in range(10):
        z = samplers.SAMPLERS[name](oracle, z, levels[i : i + 2], generator=generator)
    assert torch.equal(z, whole)


def test_the_corrector_asks_at_the_new_level_with_the_same_condition() -> None:
    asked: list[float] = []

    def denoise(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        assert cond == "passed on"
        asked.append(log_snr[0].item())
        return z

    levels: Any = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    common: Any = {"cond": "passed on", "generator": torch.Generator()}
    samplers.sample_ancestral(denoise, torch.zeros(1, 2), levels, corrector_delta=0.1, **common)
    assert asked == [-1, 0, 0, 2]


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_callback_dtype_and_calls(name: str) -> None:
    """The callback sees each step; float32 stays float32; the number of calls is what the docstring says."""
    calls: list[Tensor] = []

    def denoise(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        assert z.dtype == torch.float32
        assert log_snr.shape == (3,)
        assert log_snr.dtype == torch.float64
        assert cond == "passed on"
        calls.append(log_snr[0])
        return torch.full_like(z, 0.5, requires_grad=True)

    seen: list[dict[str, Any]] = []
    levels = even(5)
    result = samplers.SAMPLERS[name](
        denoise, torch.randn(3, 1, 2, 2), levels, cond="passed on", generator=torch.Generator(), callback=seen.append
    )
    assert [s["step"] for s in seen] == [0, 1, 2, 3, 4]
    assert torch.equal(torch.stack([s["log_snr"] for s in seen]), levels[1:])
    assert torch.equal(seen[-1]["z"], result)
    assert (seen[0]["x0_hat"] == 0.5).all()
    assert result.dtype == torch.float32
    assert not result.requires_grad
    asked = levels[:-1] if name != "heun" else torch.stack([levels[:-1], levels[1:]], 1).flatten()
    assert torch.equal(torch.stack(calls), asked)


def test_float32_sampling_follows_float64() -> None:
    oracle, levels = mixture(), cosine(60)
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(14)).float()
    for name in ("ddim", "heun", "dpm++"):
        exact = samplers.SAMPLERS[name](oracle, z.double(), levels)
        assert_close(samplers.SAMPLERS[name](oracle, z, levels).double(), exact, rtol=0, atol=2e-3)


def test_levels_run_from_noise_to_data() -> None:
    levels = samplers.levels(lambda t: 10 - 20 * t, 4)
    assert levels.tolist() == [-10, -5, 0, 5, 10]
    assert levels.dtype == torch.float64
    weight = torch.tensor(20.0, requires_grad=True)
    assert not samplers.levels(lambda t: 10 - weight * t, 4).requires_grad
    with pytest.raises(ValueError, match="at least one step, got 0"):
        samplers.levels(lambda t: -t, 0)


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 1.0], [3.0, 1.0], [[0.0, 1.0]], [0.0, math.nan]])
def test_levels_must_rise(wrong: list[Any]) -> None:
    for sample in (*samplers.SAMPLERS.values(), samplers.log_likelihood):
        with pytest.raises(ValueError, match="two or more rising levels"):
            sample(gaussian(), torch.zeros(2, 3), torch.tensor(wrong), generator=torch.Generator())


def test_wrong_arguments_are_refused() -> None:
    oracle, z, levels = gaussian(), torch.zeros(2, 3), even(2)
    with pytest.raises(ValueError, match="pass generator"):
        samplers.sample_ancestral(oracle, z, levels)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        samplers.sample_ancestral(oracle, z, levels, generator=torch.Generator(), variance=1.5)
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        samplers.langevin(oracle, z, levels[0], delta=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="probes must be at least 1"):
        samplers.log_likelihood(oracle, z, levels, probes=0)
    with pytest.raises(ValueError, match="pass generator"):
        samplers.log_likelihood(oracle, z, levels, probes=2)
