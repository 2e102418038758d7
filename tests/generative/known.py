"""Data whose answer is known, noise levels, and the exact mean and covariance that a sampler gives on a Gaussian.

A Gaussian's denoiser is affine, so a sampler with it is an affine map of the first z and of each noise it draws. The
maps are read off by feeding unit vectors, and means and covariances follow without drawing anything.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from generative import noise, process
from generative.oracle import GaussianOracle, MixtureOracle


def even(num_steps: int, low: float = -12.0, high: float = 10.0) -> Tensor:
    """Levels at equal steps of log_snr."""
    return torch.linspace(low, high, num_steps + 1, dtype=torch.float64)


def cosine(num_steps: int) -> Tensor:
    """log_snr = -2 log tan of an angle, from -20 to 20."""
    end = math.atan(math.exp(-10))
    angle = torch.linspace(math.pi / 2 - end, end, num_steps + 1, dtype=torch.float64)
    return -2 * torch.log(torch.tan(angle))


def gaussian() -> GaussianOracle:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    covariance = 0.2 * root @ root.T + 0.02 * torch.eye(3, dtype=torch.float64)
    return GaussianOracle(torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64), covariance)


def mixture() -> MixtureOracle:
    means = torch.tensor([[1.0, 0.5], [-0.8, -0.2], [0.0, 1.2]], dtype=torch.float64)
    covariances = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]], [[0.2, -0.05], [-0.05, 0.1]]])
    return MixtureOracle(torch.tensor([0.5, 0.3, 0.2]), means, covariances.double())


def moments(oracle: GaussianOracle, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """The exact mean and covariance of z."""
    alpha, sigma = process.alpha_sigma(log_snr)
    return alpha * oracle.mean, alpha**2 * oracle.covariance + sigma**2 * torch.eye(len(oracle.mean)).double()


def affine(
    run: Callable[[Tensor], Tensor], dims: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The offset [D], the matrix on z [D, D] and one matrix per draw of noise, of an affine sampler."""
    size, count = 1 + dims * (1 + draws), 0

    def unit(source: noise.Source, like: Tensor) -> Tensor:
        nonlocal count
        count += 1
        out = torch.zeros_like(like)
        out[1 + dims * count : 1 + dims * (count + 1)] = torch.eye(dims, dtype=like.dtype)
        return out

    start = torch.zeros(size, dims, dtype=torch.float64)
    start[1 : 1 + dims] = torch.eye(dims)
    with monkeypatch.context() as patch:
        patch.setattr(noise, "normal_like", unit)
        rows = run(start)
    assert count == draws
    first, *others = (block.T for block in (rows[1:] - rows[0]).split(dims))
    return rows[0], first, others


def pushed(
    run: Callable[[Tensor], Tensor], mean: Tensor, covariance: Tensor, draws: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """Mean and covariance after an affine sampler."""
    offset, matrix, others = affine(run, len(mean), draws, monkeypatch)
    fresh = torch.stack([m @ m.T for m in others]).sum(0) if others else 0
    return matrix @ mean + offset, matrix @ covariance @ matrix.T + fresh


def kl(mean: Tensor, covariance: Tensor, to_mean: Tensor, to_covariance: Tensor) -> float:
    first = torch.distributions.MultivariateNormal(mean, covariance)
    return torch.distributions.kl_divergence(
        first, torch.distributions.MultivariateNormal(to_mean, to_covariance)
    ).item()
