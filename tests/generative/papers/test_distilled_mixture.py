"""A 2-D mixture: a chain of small networks from 64 steps to 4, beside DDIM of the model that it starts from."""

import copy
import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from generative import process
from generative.oracle import MixtureOracle
from generative.papers.progressive_distillation import stages, student_target, student_times, weighted_error
from generative.schedules import Cosine

COSINE = Cosine()
RING = torch.stack([fn(torch.arange(8, dtype=torch.float64) * math.pi / 4) for fn in (torch.cos, torch.sin)], 1)
DATA = MixtureOracle(torch.ones(8), RING, torch.full((8, 2), 0.01, dtype=torch.float64))
"""Eight spots of standard deviation 0.1 on the unit circle."""


class Velocity(nn.Module):
    """A network that predicts v from z and the angle of the noise level."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [2 + 9, 128, 128, 128]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*layers, nn.Linear(128, 2))

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        angle = torch.atan(torch.exp(-log_snr / 2)).to(z) * 2 / math.pi
        waves = [fn(angle * math.pi * 2**n) for n in range(4) for fn in (torch.sin, torch.cos)]
        return process.x0_from_v(z, self.net(torch.cat([z, torch.stack([angle, *waves], 1)], 1)), log_snr)


def learn(student: nn.Module, teacher: Any, num_steps: int, updates: int, generator: torch.Generator) -> None:
    """Algorithm 2 on fresh data, or, with num_steps = 0, training at all times."""
    optimiser = torch.optim.Adam(student.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, updates)
    for _ in range(updates):
        x0 = DATA.sample(512, generator)[0].float()
        t = torch.rand(512, generator=generator, dtype=torch.float64)
        t = student_times(t, num_steps) if num_steps else t
        log_snr = COSINE(t)
        z = process.diffuse(x0, log_snr, torch.randn(512, 2, generator=generator))
        target = student_target(teacher, z, t, num_steps, COSINE) if num_steps else x0
        loss = weighted_error(target, student(z, log_snr), log_snr, "truncated_snr").mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()


@torch.no_grad()
def ddim(denoise: Any, z: Tensor, num_steps: int) -> Tensor:
    """The last step gives the answer itself."""
    for i in range(num_steps, 1, -1):
        t, s = (COSINE(torch.full((len(z),), place / num_steps, dtype=torch.float64)) for place in (i, i - 1))
        z = process.ddim_step(z, denoise(z, t), s, t)
    return denoise(z, COSINE(torch.full((len(z),), 1 / num_steps, dtype=torch.float64)))


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 64) -> float:
    """The 2-Wasserstein distance of equally many points, root mean square over directions: sorted, it is exact."""
    angle = torch.arange(directions, dtype=torch.float64) * math.pi / directions
    axes = torch.stack([angle.cos(), angle.sin()])
    return float(((a.double() @ axes).sort(0).values - (b.double() @ axes).sort(0).values).square().mean().sqrt())


def test_four_distilled_steps_are_three_times_nearer_to_the_data_than_four_of_ddim() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Velocity()
    learn(model, None, 0, 2400, generator)
    student: nn.Module = model
    for num_steps in stages(64, 4):
        before, student = student, copy.deepcopy(student)
        learn(student, before, num_steps, 500, generator)
    data, z = DATA.sample(20_000, generator)[0], torch.randn(20_000, 2, generator=generator)
    few, distilled, whole = (
        sliced_wasserstein(ddim(denoise, z, steps), data) for denoise, steps in ((model, 4), (student, 4), (model, 64))
    )
    assert 3 * distilled <= few
    assert distilled < 1.2 * whole
