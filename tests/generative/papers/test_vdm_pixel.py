"""The bound of VDM on one pixel with a few levels and the best denoiser: it comes down to the entropy."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from generative import process
from generative.nets.vdm_unet import VDMUNetConfig
from generative.papers.vdm import VDM, VDMConfig, diffusion_nats, level, prior_nats
from generative.pixels import reconstruction_nats, scale
from generative.schedules import Linear, ScheduleConfig

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
